//! How a writer gets its ring: creation, takeover, rollover.
//!
//! *Creation*: the object is made with `O_EXCL`, locked, filled in, and its magic number stored last.
//! A creator that dies before that leaves an object without magic and without a lock; whoever comes
//! next removes it and starts over.
//!
//! *Takeover*: a ring whose lock can be had has no writer. The new one finds the place from the slots
//! and goes on with the next position.
//!
//! *Rollover*: the next segment is prepared under another name, with the retained messages in it, then
//! renamed over the ring's name; only then is the old one marked superseded. Killed before the rename,
//! the writer leaves the old ring untouched (and an object that the next writer removes); killed after
//! it, readers find that their segment has lost its name and follow (see [`super::attach`]).

use super::writer::{Inner, Writer};
use super::{WriterOptions, header_fault, if_had};
use crate::crash;
use crate::error::{QADataSwapError, Result};
use crate::layout::{
    ControlSegment, DataSegment, Geometry, HeaderFault, HoldTable, Identity, RingState, SlotTable,
};
use crate::name::RingName;
use crate::ring::publish::{self, Publisher};
use crate::ring::{Position, consume, wake};
use crate::shm::{self, Access, Lock, Process, Segment, SysError};
use crate::sync::Ordering;
use crate::wait::futex_wake_all;

/// What a writer works on. Replaced as a whole by a rollover.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) data: DataSegment,
    pub(super) publisher: Publisher,
    slot_memory: Vec<SlotMemory>,
    /// What was last stored to each slot by a template, if nothing else was since, and its position. Empty as long as
    /// there are no templates.
    slots: Vec<(Option<Stored>, Position)>,
}

/// Of which template a stream is, and of which of its layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) template: u64,
    pub(super) layout: u64,
}

/// What of a slot has memory.
#[derive(Clone, Copy, Debug)]
struct SlotMemory {
    /// Bytes from its start.
    bytes: u32,
    /// Whether the head of the slot after it has some too, as far as was asked for.
    has_next: bool,
}

impl Ring {
    fn new(data: DataSegment, publisher: Publisher, options: &WriterOptions) -> Self {
        let geometry = data.geometry();
        let known = match options.backing.prefault {
            true => SlotMemory { bytes: geometry.slot_stride as u32, has_next: true },
            false => SlotMemory { bytes: 0, has_next: false },
        };
        let slot_memory = vec![known; geometry.slot_count as usize];
        Self { data, publisher, slot_memory, slots: Vec::new() }
    }

    /// What is in the claimed slot, if it was stored there by a template, and nothing else was since.
    #[cfg(feature = "arrow")]
    pub(super) fn in_slot(&self) -> Option<Stored> {
        let next = self.publisher.position().get();
        let (stored, position) = *self.slots.get(self.publisher.index() as usize)?;
        stored.filter(|_| position.get() + self.data.slot_count() == next)
    }

    /// The claimed slot holds this.
    #[cfg(feature = "arrow")]
    pub(super) fn set_in_slot(&mut self, stored: Stored) {
        self.slots.resize(self.slot_memory.len(), (None, Position::new(0)));
        self.slots[self.publisher.index() as usize] = (Some(stored), self.publisher.position());
    }

    /// Whatever will be stored to the claimed slot need not be published.
    pub(super) fn forget_in_slot(&mut self) {
        if let Some(known) = self.slots.get_mut(self.publisher.index() as usize) {
            known.0 = None;
        }
    }

    /// Makes sure that the first `bytes` of the next slot have memory, and the head of the slot after
    /// it: readers poll that one as soon as they have consumed this message, and looking at a page
    /// that has no memory and cannot get any kills (SIGBUS).
    #[inline(always)]
    pub(super) fn allocate(&mut self, bytes: usize) -> Result<(), SysError> {
        if self.has_memory(bytes) { Ok(()) } else { self.allocate_next(bytes) }
    }

    /// Whether [`allocate`](Self::allocate) has nothing to do.
    #[inline(always)]
    pub(super) fn has_memory(&self, bytes: usize) -> bool {
        let memory = &self.slot_memory[self.publisher.index() as usize];
        memory.bytes >= bytes as u32 && memory.has_next
    }

    #[cold]
    fn allocate_next(&mut self, bytes: usize) -> Result<(), SysError> {
        let (index, after) = (self.publisher.index(), self.publisher.index_after(&self.data));
        if self.slot_memory[index as usize].bytes < bytes as u32 {
            self.allocate_slot(index, bytes as u64)?;
        }
        if self.slot_memory[after as usize].bytes == 0 {
            self.allocate_slot(after, 1)?;
        }
        self.slot_memory[index as usize].has_next = true;
        Ok(())
    }

    #[cold]
    fn allocate_slot(&mut self, index: u64, bytes: u64) -> Result<(), SysError> {
        const PAGE: u64 = 4096;
        let geometry = self.data.geometry();
        let start = geometry.slot_offset(index);
        let from = start - start % PAGE;
        let to = (start + bytes).next_multiple_of(PAGE).min(geometry.segment_bytes);
        self.data.segment().allocate(from, to - from)?;
        let usable = (to - start).min(geometry.slot_stride);
        self.slot_memory[index as usize].bytes = usable as u32;
        Ok(())
    }
}

impl Writer {
    pub(super) fn create(name: RingName, options: WriterOptions) -> Result<Self> {
        let geometry = options.geometry()?;
        let (ring, control) = Self::open_ring(&name, &options, geometry)?;
        let (found, identity) = (*ring.data.geometry(), ring.data.identity());
        let capacity = found.payload_capacity.max(geometry.payload_capacity);
        let reshape = found.slot_count != geometry.slot_count
            || found.payload_capacity < capacity
            || identity.holds != options.holds
            || identity.holds && identity.segment_number < control.first_segment();
        let mut inner = Inner::new(name, options, ring, control);
        if reshape {
            inner.move_to(Geometry::new(geometry.slot_count, capacity)?)?;
        }
        Ok(Self::new(inner))
    }

    /// Creates the segments, or finds those of a writer that is gone.
    fn open_ring(
        name: &RingName,
        options: &WriterOptions,
        geometry: Geometry,
    ) -> Result<(Ring, ControlSegment)> {
        let on_ring = |error: SysError| error.on_ring(name.as_str());
        let object = name.data_object();
        loop {
            match Segment::create(&object) {
                Ok(segment) => {
                    crash::point("create: object made");
                    // Another process may have found the new object before it was locked, taken it
                    // for one whose creator died, and removed it.
                    let locked = DataSegment::lock_as_writer(&segment).map_err(on_ring)?;
                    crash::point("create: object locked");
                    if locked == Lock::Had && segment.is_named(&object).map_err(on_ring)? {
                        let own = segment.id().map_err(on_ring)?;
                        return create_ring(name, options, segment, geometry).inspect_err(|_| {
                            // Nothing is lost: it was empty. But the lock went with it, so that another
                            // creator may have put its own in the place.
                            if shm::id_of(&object) == Some(own) {
                                let _ = shm::unlink(&object);
                                let _ = shm::unlink(&name.control_object());
                            }
                        });
                    }
                }
                Err(error) if error.errno == libc::EEXIST => {
                    if let Some(ring) = Self::take_over(name, options)? {
                        return Ok(ring);
                    }
                }
                Err(error) => return Err(on_ring(error)),
            }
        }
    }

    /// Takes over the ring of this name; `None` if it has gone meanwhile or was never finished (and is
    /// gone now).
    fn take_over(
        name: &RingName,
        options: &WriterOptions,
    ) -> Result<Option<(Ring, ControlSegment)>> {
        let on_ring = |error: SysError| error.on_ring(name.as_str());
        let object = name.data_object();
        let segment = match Segment::open(&object, Access::ReadWrite) {
            Ok(segment) => segment,
            Err(error) if error.errno == libc::ENOENT => return Ok(None),
            Err(error) => return Err(on_ring(error)),
        };
        let locked = DataSegment::lock_as_writer(&segment).map_err(on_ring)?;
        if !segment.is_named(&object).map_err(on_ring)? {
            return Ok(None);
        }
        let segment = if_had(locked, name, segment)?;
        crash::point("take over: locked");
        let data = match DataSegment::attach(segment, Access::ReadWrite, options.backing)
            .map_err(on_ring)?
        {
            Ok(data) => data,
            Err((HeaderFault::NotReady, still_locked)) => {
                // Its creator died. Nobody else may take it for theirs before its name is gone.
                shm::unlink(&object).map_err(on_ring)?;
                drop(still_locked);
                return Ok(None);
            }
            Err((fault, _)) => return Err(header_fault(name, fault)),
        };
        let recovered = Publisher::recover(&data, |index| data.slot_has_memory(index));
        let publisher = recovered.map_err(on_ring)?.map_err(|fault| QADataSwapError::Damaged {
            name: name.as_str().to_owned(),
            field: fault.field,
            found: fault.found,
            expected: fault.expected,
        })?;
        crash::point("take over: place found");
        // What a rollover that was cut short has left behind.
        let _ = shm::unlink(&name.next_object());
        let identity = data.identity();
        let next_segment = identity.segment_number.wrapping_add(1);
        let control = open_control(name, options, identity.ring_id, next_segment)?;
        let mut ring = Ring::new(data, publisher, options);
        ring.allocate(1).map_err(|error| error.on_allocation(name.as_str(), 4096))?;
        ring.data.set_owner(Process::current());
        crash::point("take over: owner stored");
        ring.publisher.announce_position(&ring.data);
        // What the last writer had claimed and not published is not claimed any more.
        ring.publisher.withdraw(&ring.data);
        // Nor does anybody wait for a gate. Relaxed: for who looks; a reader that sees it late makes a wake-up call that
        // nobody needs.
        control.holds().blocked.store(0, Ordering::Relaxed);
        crash::point("take over: position announced");
        // Release: readers that see the ring open again see its writer.
        ring.data.header().owner.state.store(RingState::Open as u32, Ordering::Release);
        crash::point("take over: opened");
        // A writer killed between its last publish and its wake-up call left readers asleep.
        wake_everybody(&ring.data);
        Ok(Some((ring, control)))
    }
}

/// The layout with slots for at least `needed_bytes` that a ring of layout `current` may move to.
#[cold]
pub(super) fn grown(
    options: &WriterOptions,
    current: &Geometry,
    needed_bytes: usize,
) -> Result<Geometry> {
    let too_large = || QADataSwapError::MessageTooLarge {
        needed_bytes,
        available_bytes: current.payload_capacity as usize,
    };
    let capacity = options
        .grown_capacity(current.payload_capacity, needed_bytes as u64)
        .ok_or_else(too_large)?;
    Geometry::new(current.slot_count, capacity)
        .or_else(|_| Geometry::new(current.slot_count, needed_bytes as u64))
        .map_err(|_| too_large())
}

/// Fills in a new, locked object.
fn create_ring(
    name: &RingName,
    options: &WriterOptions,
    segment: Segment,
    geometry: Geometry,
) -> Result<(Ring, ControlSegment)> {
    let identity = Identity {
        ring_id: shm::random_id(),
        first_position: 0,
        first_sequence: 0,
        segment_number: 0,
        holds: options.holds,
    };
    // Not before it is locked: whoever may open it could get in the way.
    segment.set_mode(options.mode).map_err(|error| error.on_ring(name.as_str()))?;
    let control = open_control(name, options, identity.ring_id, 0)?;
    crash::point("create: control segment made");
    let no_space = |error: SysError| error.on_allocation(name.as_str(), geometry.segment_bytes);
    let data =
        DataSegment::create(segment, geometry, identity, options.backing).map_err(no_space)?;
    let publisher = Publisher::new(&data, Position::new(0), 0);
    let mut ring = Ring::new(data, publisher, options);
    ring.allocate(1).map_err(no_space)?;
    ring.data.set_owner(Process::current());
    crash::point("create: header stored");
    ring.data.set_ready();
    crash::point("create: ready");
    Ok((ring, control))
}

/// The ring's control segment: the one that is there if it fits, else a new one, which is then for data
/// segments from number `first_segment` on.
fn open_control(
    name: &RingName,
    options: &WriterOptions,
    ring_id: u64,
    first_segment: u64,
) -> Result<ControlSegment> {
    let on_ring = |error: SysError| error.on_allocation(name.as_str(), 32768);
    let object = name.control_object();
    if let Ok(segment) = Segment::open(&object, Access::ReadWrite)
        && let Some(control) =
            ControlSegment::attach(segment, ring_id, Access::ReadWrite).map_err(on_ring)?
    {
        return Ok(control);
    }
    // Left by an earlier ring of this name, or never finished. Only the ring's writer comes here, and claims
    // nothing in a segment before `first_segment`: readers rest on that whose entries are in the old one.
    let _ = shm::unlink(&object);
    let segment = Segment::create(&object).map_err(on_ring)?;
    segment
        .set_mode(options.mode_of_control())
        .and_then(|()| ControlSegment::create(segment, ring_id, first_segment))
        .map_err(on_ring)
        .inspect_err(|_| {
            let _ = shm::unlink(&object);
        })
}

/// Moves the ring to a segment of layout `wanted`. On failure nothing has changed.
pub(super) fn roll_over(
    name: &RingName,
    options: &WriterOptions,
    ring: &mut Ring,
    wanted: Geometry,
) -> Result<()> {
    let prepared = prepare_next(name, options, ring, wanted).and_then(|next| {
        // Removed by hand, the name may by now belong to another ring.
        if !ring.data.segment().is_named(&name.data_object()).unwrap_or(false) {
            return Err(QADataSwapError::NotFound { name: name.as_str().to_owned() });
        }
        crash::point("roll over: ready");
        shm::rename(&name.next_object(), &name.data_object())
            .map_err(|error| error.on_ring(name.as_str()))?;
        crash::point("roll over: renamed");
        Ok(next)
    });
    let next = prepared.inspect_err(|_| {
        let _ = shm::unlink(&name.next_object());
    })?;
    let old = std::mem::replace(ring, next);
    end(&old.data, RingState::Superseded);
    crash::point("roll over: marked");
    Ok(())
}

/// Says that nothing more will be published into `data`, and wakes whoever waits for it.
pub(super) fn end(data: &DataSegment, state: RingState) {
    // Release: a reader that sees this sees all that was published before.
    data.header().owner.state.store(state as u32, Ordering::Release);
    crash::point("end: state stored");
    wake_everybody(data);
}

fn wake_everybody(data: &DataSegment) {
    wake::move_on(data.live());
    futex_wake_all(&data.live().wake_sequence);
}

/// The next segment, complete, under its own name.
fn prepare_next(
    name: &RingName,
    options: &WriterOptions,
    old: &Ring,
    wanted: Geometry,
) -> Result<Ring> {
    let no_space = |error: SysError| error.on_allocation(name.as_str(), wanted.segment_bytes);
    let _ = shm::unlink(&name.next_object());
    let on_ring = |error: SysError| error.on_ring(name.as_str());
    let segment = Segment::create(&name.next_object()).map_err(on_ring)?;
    let locked = DataSegment::lock_as_writer(&segment).map_err(on_ring)?;
    let segment = if_had(locked, name, segment)?;
    segment.set_mode(options.mode).map_err(on_ring)?;
    crash::point("roll over: object made");
    let (next, sequence) = (old.publisher.position(), old.publisher.sequence());
    // One slot of the new segment stays free for the next message.
    let retained = old.data.slot_count().min(wanted.slot_count - 1);
    let oldest = next.back(retained, Position::new(old.data.origin().0));
    // A damaged slot must not become the new header's: it would be refused by all who open it.
    let (first, first_sequence) = (oldest.get()..next.get())
        .map(Position::new)
        .filter_map(|from| consume::oldest(&old.data, from, from.next()))
        .find(|(position, found)| {
            let messages = sequence.checked_sub(*found);
            *found <= position.get()
                && messages.is_some_and(|messages| messages <= next.get() - position.get())
        })
        .unwrap_or((next, sequence));
    let identity = Identity {
        ring_id: old.data.identity().ring_id,
        first_position: first.get(),
        first_sequence,
        segment_number: old.data.identity().segment_number.wrapping_add(1),
        holds: options.holds,
    };
    let data = DataSegment::create(segment, wanted, identity, options.backing).map_err(no_space)?;
    let publisher = old.publisher.moved_to(&data);
    let mut ring = Ring::new(data, publisher, options);
    for position in (first.get()..next.get()).map(Position::new) {
        let bytes = publish::carried_bytes(&old.data, position);
        ring.allocate_slot(position.index(wanted.slot_count), bytes).map_err(no_space)?;
        publish::carry_over(&old.data, &ring.data, position);
    }
    ring.allocate(1).map_err(no_space)?;
    ring.publisher.announce_position(&ring.data);
    ring.publisher.withdraw(&ring.data);
    ring.data.copy_records(&old.data);
    crash::point("roll over: messages carried over");
    ring.data.set_ready();
    Ok(ring)
}
