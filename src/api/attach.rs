//! How a reader gets its ring, and how it follows the ring to another segment.
//!
//! *Attach*: the object is opened read-only (unless a writable mapping is asked for) and its header checked; while there is no object, or none
//! that is ready, the reader tries again until its time is up.
//!
//! *Following*: a rollover gives the ring's name to another segment of the same ring. A reader that has
//! consumed everything in a superseded segment attaches by name again and goes on at the same position.
//! If the writer was killed between the rename and the mark, the reader finds on one of its slower
//! checks that its segment has lost the name.
//!
//! *Registering*: an entry of the control segment. A lossy reader that may not write there, or finds the
//! table full, does without.
//!
//! *Joining*: a lossless reader chooses its first message while the writer may not overwrite anything (see
//! [`crate::ring::hold`]). If the ring has moved to another segment meanwhile, it starts over there.

use std::time::{Duration, Instant};

use super::registration::Registration;
use super::{ReaderOptions, header_fault};
use crate::error::{HoldsReason, QADataSwapError, Result};
use crate::layout::{DataSegment, EntryKind, HeaderFault, SlotTable};
use crate::name::RingName;
use crate::ring::Position;
use crate::ring::consume::{Cursor, Start};
use crate::shm::{self, Access, Segment, SysError};
use crate::sync::{Ordering, load_acquire};

/// Pause between two tries to attach.
const ATTACH_PAUSE: Duration = Duration::from_millis(1);
/// Tries of a lossless reader to join between two looks at the clock. (A writer that polls because it has to
/// wait makes about every second fail.)
const JOIN_TRIES: u32 = 64;

/// Attaches to the data segment of `name`, trying until `timeout_ms` have passed.
pub(super) fn data_segment(name: &RingName, options: &ReaderOptions) -> Result<DataSegment> {
    let started = Instant::now();
    let limit = Duration::from_millis(options.attach_timeout_ms);
    loop {
        let error = match try_data_segment(name, options) {
            Err(error @ (QADataSwapError::NotFound { .. } | QADataSwapError::ReadTimeout)) => error,
            result => return result,
        };
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(error);
        }
        std::thread::sleep(left.min(ATTACH_PAUSE));
    }
}

/// One try.
pub(super) fn try_data_segment(name: &RingName, options: &ReaderOptions) -> Result<DataSegment> {
    let on_ring = |error: SysError| error.on_ring(name.as_str());
    let object = name.data_object();
    let access = if options.writable_mapping { Access::ReadWritable } else { Access::Read };
    let segment = match Segment::open(&object, access) {
        // A creator gives its object the mode asked for after opening it (the umask may have taken it
        // away) and its size after that: without a size, the denial does not count yet.
        Err(error) if error.errno == libc::EACCES => {
            if shm::is_empty(&object) {
                return Err(QADataSwapError::ReadTimeout);
            }
            Segment::open(&object, access)
        }
        result => result,
    }
    .map_err(on_ring)?;
    let data = DataSegment::attach(segment, access, options.backing)
        .map_err(on_ring)?
        .map_err(|(fault, _)| header_fault(name, fault))?;
    check_published(&data).map_err(|fault| header_fault(name, fault))?;
    Ok(data)
}

/// Whether the header's `published` fits the slots: the last position published must still be in its
/// slot, or a later one.
pub(super) fn check_published(data: &DataSegment) -> std::result::Result<(), HeaderFault> {
    let (first, _) = data.origin();
    let published = load_acquire(&data.live().published); // R3, pairs with W3
    if published <= first {
        return Ok(());
    }
    let last = Position::new(published - 1);
    let word = data.slot(last.index(data.slot_count())).head.generation.load(Ordering::Relaxed);
    if crate::ring::Generation::from_word(word).position() < last {
        return Err(HeaderFault::Field("published", published, (word >> 2) + 1));
    }
    Ok(())
}

/// Checks that the header's `claimed` can be: it is at most a lap ahead of what was published.
pub(super) fn check_claimed(name: &RingName, data: &DataSegment) -> Result<()> {
    let claimed = load_acquire(&data.live().claimed);
    let limit = load_acquire(&data.live().published).saturating_add(1 + data.slot_count());
    if claimed > limit {
        return Err(header_fault(name, HeaderFault::Field("claimed", claimed, limit)));
    }
    Ok(())
}

/// A cursor at `start`, but at `floor` at the earliest. The writer may go round the ring while one is looked
/// for, though not often.
pub(super) fn cursor(
    name: &RingName,
    data: &DataSegment,
    start: Start,
    floor: Position,
) -> Result<Cursor> {
    /// Tries without any publish meanwhile, after which the slots must be said to contradict the header.
    const IDLE_TRIES: u32 = 1_000;
    let mut idle = 0;
    while idle < IDLE_TRIES {
        let before = load_acquire(&data.live().published);
        if let Some(cursor) = Cursor::attach(data, start, floor) {
            return Ok(cursor);
        }
        if load_acquire(&data.live().published) == before {
            // A large ring takes long to look through, and is as hopeless after a few tries.
            idle += 1 + (data.slot_count() / 64) as u32;
        } else {
            idle = 0;
        }
        std::hint::spin_loop();
    }
    let published = load_acquire(&data.live().published);
    Err(header_fault(name, HeaderFault::Field("slot generation", 0, published)))
}

/// What a lossless reader begins with.
pub(super) struct Joined {
    pub(super) data: DataSegment,
    pub(super) registration: Registration,
    pub(super) cursor: Cursor,
}

/// Attaches a lossless reader.
pub(super) fn lossless(name: &RingName, options: &ReaderOptions) -> Result<Joined> {
    let on_ring = |error: SysError| error.on_ring(name.as_str());
    let started = Instant::now();
    let limit = Duration::from_millis(options.attach_timeout_ms);
    'segment: loop {
        let data = data_segment(name, options)?;
        let registration = register(name, options, &data, EntryKind::Gating)
            .map_err(|reason| reason.on_ring(name))?;
        for _ in 0..JOIN_TRIES {
            let floor = registration.join(&data);
            check_claimed(name, &data)?;
            let cursor = cursor(name, &data, options.start, floor)?;
            let settled = registration.settle_gate(&data, cursor.position());
            // Seen linked after the gate was settled: no writer has begun on another segment without seeing
            // it.
            if data.segment().is_unlinked().map_err(on_ring)? {
                // Another has its name: that costs no time.
                continue 'segment;
            }
            if settled {
                return Ok(Joined { data, registration, cursor });
            }
        }
        if started.elapsed() >= limit {
            return Err(QADataSwapError::Evicted { lost: 0 });
        }
    }
}

/// Takes an entry for a reader of `data`, if that can be had.
pub(super) fn register(
    name: &RingName,
    options: &ReaderOptions,
    data: &DataSegment,
    kind: EntryKind,
) -> std::result::Result<Registration, HoldsReason> {
    if !options.register {
        return Err(HoldsReason::NotRegistered);
    }
    if kind == EntryKind::Gating && !data.identity().holds {
        return Err(HoldsReason::Disabled);
    }
    Registration::new(name, data, kind)
}
