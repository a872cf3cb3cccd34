//! Mapped segments: made, checked, and handed out as typed views.

use std::ptr::NonNull;
use std::time::{SystemTime, UNIX_EPOCH};

use super::control::{ControlHeader, Entry, EntryKind, HoldTable, Holds, Waiters};
use super::data::{
    FIRST_POSITION_LIMIT, Header, Immutable, Live, POSITION_LIMIT, RingState, Slot, SlotHead,
    SlotTable,
};
use super::geometry::{Geometry, INLINE_OFFSET, STREAM_OFFSET};
use crate::crash;
use crate::error::Result;
use crate::shm::{Access, Backing, Lock, Process, Segment, SysError};
use crate::sync::{AtomicU64, Ordering, load_acquire};

/// Entries of a control segment: readers that can be registered at a time. The masks of [`Holds`] have a bit
/// for each.
pub const ENTRY_COUNT: usize = 64;
/// Byte whose lock says that a writer lives.
const WRITER_LOCK: u64 = 0;
const CONTROL_HEADER_BYTES: usize = 4096;
const CONTROL_BYTES: usize = CONTROL_HEADER_BYTES + ENTRY_COUNT * size_of::<Entry>();

/// Where a segment stands in the life of its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of the ring.
    pub ring_id: u64,
    /// Position of the oldest message that the segment will hold.
    pub first_position: u64,
    /// Its message sequence.
    pub first_sequence: u64,
    /// How many segments the ring had before this one.
    pub segment_number: u64,
    /// Whether messages can be held.
    pub holds: bool,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Not set up, or not yet.
    NotReady,
    /// Another layout version.
    Version(u32),
    /// A field that cannot be: its name, what was found, what would be right.
    Field(&'static str, u64, u64),
}

/// A mapped data segment whose header was checked.
#[derive(Debug)]
pub struct DataSegment {
    segment: Segment,
    geometry: Geometry,
    identity: Identity,
}

impl DataSegment {
    /// Gives a new object its size and header, all but the magic number.
    pub fn create(
        mut segment: Segment,
        geometry: Geometry,
        identity: Identity,
        backing: Backing,
    ) -> Result<Self, SysError> {
        segment.set_size(geometry.segment_bytes)?;
        if backing.prefault {
            segment.allocate(0, geometry.segment_bytes)?;
        } else {
            // The header and the head of the first slot that will be written: a reader may look at
            // those at once, and looking at a hole of a full file system kills (SIGBUS).
            segment.allocate(0, geometry.header_bytes)?;
        }
        segment.map(geometry.segment_bytes as usize, Access::ReadWrite)?;
        segment.apply(backing, Access::ReadWrite)?;
        let data = Self { segment, geometry, identity };
        let fixed = &data.header().immutable;
        // Relaxed: the magic number's Release store (`set_ready`) publishes all of these.
        fixed.abi_version.store(Immutable::ABI_VERSION, Ordering::Relaxed);
        fixed.header_bytes.store(geometry.header_bytes as u32, Ordering::Relaxed);
        fixed.segment_bytes.store(geometry.segment_bytes, Ordering::Relaxed);
        fixed.slot_count.store(geometry.slot_count, Ordering::Relaxed);
        fixed.slot_stride.store(geometry.slot_stride, Ordering::Relaxed);
        fixed.payload_capacity.store(geometry.payload_capacity, Ordering::Relaxed);
        let features = if identity.holds { Immutable::HOLDS } else { 0 };
        fixed.features.store(features, Ordering::Relaxed);
        fixed.ring_id.store(identity.ring_id, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        fixed.created_ns.store(now.as_nanos() as u64, Ordering::Relaxed);
        fixed.first_position.store(identity.first_position, Ordering::Relaxed);
        fixed.first_sequence.store(identity.first_sequence, Ordering::Relaxed);
        fixed.segment_number.store(identity.segment_number, Ordering::Relaxed);
        fixed.checksum.store(checksum(fixed), Ordering::Relaxed);
        data.live().published.store(identity.first_position, Ordering::Relaxed);
        data.live().claimed.store(identity.first_position, Ordering::Relaxed);
        data.live().message_count.store(identity.first_sequence, Ordering::Relaxed);
        Ok(data)
    }

    /// Stores the magic number: from here on others may attach.
    pub fn set_ready(&self) {
        // Release: pairs with the Acquire load in `check_header` of whoever attaches.
        self.header().immutable.magic.store(Immutable::MAGIC, Ordering::Release);
    }

    /// Maps an existing object and checks all that its header says. With a fault comes the segment, and with
    /// it any lock that is held on it.
    pub fn attach(
        mut segment: Segment,
        access: Access,
        backing: Backing,
    ) -> Result<std::result::Result<Self, (HeaderFault, Segment)>, SysError> {
        let size = segment.size()?;
        if size == 0 {
            return Ok(Err((HeaderFault::NotReady, segment)));
        }
        // The largest segment there can be, which also bounds the mapping.
        let largest = 1 << 40;
        let smallest = size_of::<Header>() as u64;
        if !(smallest..=largest).contains(&size) {
            return Ok(Err((HeaderFault::Field("segment size", size, smallest), segment)));
        }
        // Looking at a page that has no memory kills (SIGBUS) if the file system is full.
        if segment.next_data(0)? != Some(0) {
            return Ok(Err((HeaderFault::NotReady, segment)));
        }
        segment.map(size as usize, access)?;
        let (start, _) = segment.mapped();
        let (geometry, identity) = match check_header(header_at(&segment, start), size) {
            Ok(found) => found,
            Err(fault) => return Ok(Err((fault, segment))),
        };
        if !(backing.prefault && access == Access::ReadWrite) {
            segment.apply(backing, access)?;
        } else {
            segment.allocate(0, size)?;
            segment.apply(backing, access)?;
        }
        Ok(Ok(Self { segment, geometry, identity }))
    }

    /// The header's lines.
    #[inline(always)]
    pub fn header(&self) -> &Header {
        header_at(&self.segment, self.segment.mapped().0)
    }

    /// The header of a segment that [`attach`](Self::attach) refused, and all that is wrong with it. Nothing if
    /// there is none to look at.
    pub fn refused_header(segment: &Segment) -> Option<(&Header, Vec<HeaderFault>)> {
        let (start, len) = segment.mapped();
        if len < size_of::<Header>() {
            return None;
        }
        let header = header_at(segment, start);
        let mut faults = Vec::new();
        examine_header(header, len as u64, |fault| faults.push(fault));
        Some((header, faults))
    }

    /// Sizes and offsets.
    #[inline(always)]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Ring and first message, as they were when this process attached.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The object behind the mapping.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Becomes the ring's writer in the eyes of the kernel, if there is no live one.
    pub fn lock_as_writer(segment: &Segment) -> Result<Lock, SysError> {
        segment.try_lock(WRITER_LOCK)
    }

    /// Whether a writer lives (another handle than this one).
    pub fn has_live_writer(&self) -> Result<bool, SysError> {
        Self::is_writer_alive(&self.segment)
    }

    /// The same, of a segment that need not be sound.
    pub fn is_writer_alive(segment: &Segment) -> Result<bool, SysError> {
        segment.is_locked_elsewhere(WRITER_LOCK)
    }

    /// Says who writes from now on.
    pub fn set_owner(&self, process: Process) {
        let owner = &self.header().owner;
        // Relaxed: read by operators and in error messages only.
        owner.pid.store(process.pid, Ordering::Relaxed);
        owner.start_ticks.store(process.start_ticks, Ordering::Relaxed);
        let epoch = owner.epoch.load(Ordering::Relaxed);
        owner.epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);
    }

    /// Says that the writer of `other` writes here too (a rollover).
    pub fn copy_records(&self, other: &Self) {
        let bytes = other.live().message_bytes.load(Ordering::Relaxed);
        self.live().message_bytes.store(bytes, Ordering::Relaxed);
        let (from, to) = (&other.header().owner, &self.header().owner);
        // Relaxed: read by operators and in error messages only.
        to.pid.store(from.pid.load(Ordering::Relaxed), Ordering::Relaxed);
        to.start_ticks.store(from.start_ticks.load(Ordering::Relaxed), Ordering::Relaxed);
        to.epoch.store(from.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Index of the first slot at or after `index` whose first page has memory behind it.
    pub fn next_slot_with_memory(&self, mut index: u64) -> Result<Option<u64>, SysError> {
        while index < self.geometry.slot_count {
            let offset = self.geometry.slot_offset(index);
            let page = offset - offset % 4096;
            match self.segment.next_data(page)? {
                None => return Ok(None),
                Some(at) if at == page => return Ok(Some(index)),
                Some(at) => {
                    let beyond = at.saturating_sub(self.geometry.header_bytes);
                    index = beyond.div_ceil(self.geometry.slot_stride).max(index + 1);
                }
            }
        }
        Ok(None)
    }

    /// Whether the slot's first page has memory behind it, so that looking at it is safe.
    pub fn slot_has_memory(&self, index: u64) -> Result<bool, SysError> {
        let offset = self.geometry.slot_offset(index);
        let page = offset - offset % 4096;
        Ok(self.segment.next_data(page)? == Some(page))
    }
}

impl SlotTable for DataSegment {
    #[inline(always)]
    fn slot_count(&self) -> u64 {
        self.geometry.slot_count
    }

    #[inline(always)]
    fn payload_bytes(&self) -> usize {
        self.geometry.slot_stride as usize - INLINE_OFFSET
    }

    #[inline(always)]
    fn slot(&self, index: u64) -> Slot<'_> {
        assert!(index < self.geometry.slot_count, "slot index out of range");
        let (start, _) = self.segment.mapped();
        let words = self.payload_bytes() / size_of::<AtomicU64>();
        // SAFETY: the header check (or `create`) made sure that `slot_count` slots of `slot_stride`
        // bytes lie inside the mapping, and `index` is below the count.
        let head = unsafe { start.add(self.geometry.slot_offset(index) as usize) };
        // SAFETY: still inside the slot, whose stride is at least 128.
        let payload = unsafe { head.add(INLINE_OFFSET) }.cast::<AtomicU64>();
        // SAFETY: slots are aligned to 128 bytes; every bit pattern is a SlotHead; it holds atomics
        // only, so that others store to it at any time is allowed; the mapping lives as long as
        // `self`, which the result borrows.
        let head = unsafe { head.cast::<SlotHead>().as_ref() };
        // SAFETY: as above; `words` times eight is what follows the head up to the next slot, and 24
        // is a multiple of eight.
        let payload = unsafe { NonNull::slice_from_raw_parts(payload, words).as_ref() };
        Slot { head, payload }
    }

    #[inline(always)]
    fn live(&self) -> &Live {
        &self.header().live
    }

    fn origin(&self) -> (u64, u64) {
        (self.identity.first_position, self.identity.first_sequence)
    }

    fn segment_number(&self) -> u64 {
        self.identity.segment_number
    }
}

#[inline(always)]
fn header_at(_segment: &Segment, start: NonNull<u8>) -> &Header {
    // SAFETY: all callers pass the start of `_segment`'s mapping, which is page-aligned and at least
    // a header long; every bit pattern is a Header; it holds atomics only; the mapping lives as long
    // as the segment, which the result borrows.
    unsafe { start.cast::<Header>().as_ref() }
}

/// Checks everything in a header that can be checked; each field is read once.
fn check_header(header: &Header, size: u64) -> Result<(Geometry, Identity), HeaderFault> {
    let mut first = None;
    let found = examine_header(header, size, |fault| {
        first.get_or_insert(fault);
    });
    match (first, found) {
        (None, Some(found)) => Ok(found),
        (fault, _) => Err(fault.unwrap_or(HeaderFault::NotReady)),
    }
}

/// Tells all that is wrong with a header. Without a result, what was wrong last left nothing to go on with.
fn examine_header(
    header: &Header,
    size: u64,
    mut say: impl FnMut(HeaderFault),
) -> Option<(Geometry, Identity)> {
    use HeaderFault::Field;
    let fixed = &header.immutable;
    // Pairs with the Release store in `set_ready`.
    let fault = match load_acquire(&fixed.magic) {
        Immutable::MAGIC => None,
        0 => Some(HeaderFault::NotReady),
        other => Some(Field("magic", other, Immutable::MAGIC)),
    };
    // Relaxed from here on: ordered by the load of the magic number.
    let version = fixed.abi_version.load(Ordering::Relaxed);
    let other_version =
        (version != Immutable::ABI_VERSION).then_some(HeaderFault::Version(version));
    if let Some(fault) = fault.or(other_version) {
        say(fault);
        return None;
    }
    let slot_count = fixed.slot_count.load(Ordering::Relaxed);
    let payload_capacity = fixed.payload_capacity.load(Ordering::Relaxed);
    let Ok(geometry) = Geometry::new(slot_count, payload_capacity) else {
        say(Field("slot_count or payload_capacity", slot_count, payload_capacity));
        return None;
    };
    let features = fixed.features.load(Ordering::Relaxed);
    let must_be = [
        ("header_bytes", fixed.header_bytes.load(Ordering::Relaxed).into(), geometry.header_bytes),
        ("slot_stride", fixed.slot_stride.load(Ordering::Relaxed), geometry.slot_stride),
        ("segment_bytes", fixed.segment_bytes.load(Ordering::Relaxed), geometry.segment_bytes),
        ("segment size", size, geometry.segment_bytes),
        ("features", features & !Immutable::HOLDS, 0),
        ("checksum", fixed.checksum.load(Ordering::Relaxed), checksum(fixed)),
    ];
    for (field, found, expected) in must_be {
        if found != expected {
            say(Field(field, found, expected));
        }
    }
    let identity = Identity {
        ring_id: fixed.ring_id.load(Ordering::Relaxed),
        first_position: fixed.first_position.load(Ordering::Relaxed),
        first_sequence: fixed.first_sequence.load(Ordering::Relaxed),
        segment_number: fixed.segment_number.load(Ordering::Relaxed),
        holds: features & Immutable::HOLDS != 0,
    };
    if identity.first_position >= FIRST_POSITION_LIMIT {
        say(Field("first_position", identity.first_position, FIRST_POSITION_LIMIT));
    }
    // A position takes at most one message.
    if identity.first_sequence > identity.first_position {
        say(Field("first_sequence", identity.first_sequence, identity.first_position));
    }
    let published = load_acquire(&header.live.published);
    if !(identity.first_position..POSITION_LIMIT).contains(&published) {
        say(Field("published", published, identity.first_position));
    }
    let state = header.owner.state.load(Ordering::Relaxed);
    if RingState::from_word(state).is_none() {
        say(Field("state", state.into(), RingState::Superseded as u64));
    }
    Some((geometry, identity))
}

/// FNV-1a over the words of the immutable line: catches a header that was partly overwritten.
fn checksum(fixed: &Immutable) -> u64 {
    let words = [
        u64::from(fixed.abi_version.load(Ordering::Relaxed)),
        u64::from(fixed.header_bytes.load(Ordering::Relaxed)),
        fixed.segment_bytes.load(Ordering::Relaxed),
        fixed.slot_count.load(Ordering::Relaxed),
        fixed.slot_stride.load(Ordering::Relaxed),
        fixed.payload_capacity.load(Ordering::Relaxed),
        fixed.features.load(Ordering::Relaxed),
        fixed.ring_id.load(Ordering::Relaxed),
        fixed.created_ns.load(Ordering::Relaxed),
        fixed.first_position.load(Ordering::Relaxed),
        fixed.first_sequence.load(Ordering::Relaxed),
        fixed.segment_number.load(Ordering::Relaxed),
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

const _: () = assert!(STREAM_OFFSET.is_multiple_of(64) && INLINE_OFFSET.is_multiple_of(8));

/// A mapped control segment whose header was checked.
#[derive(Debug)]
pub struct ControlSegment {
    segment: Segment,
}

impl ControlSegment {
    /// Gives a new object its size and header. It is for data segments from number `first_segment` on.
    pub fn create(
        mut segment: Segment,
        ring_id: u64,
        first_segment: u64,
    ) -> Result<Self, SysError> {
        segment.set_size(CONTROL_BYTES as u64)?;
        segment.allocate(0, CONTROL_BYTES as u64)?;
        segment.map(CONTROL_BYTES, Access::ReadWrite)?;
        let control = Self { segment };
        let header = control.header();
        // Relaxed: published by the store of the magic number.
        header.abi_version.store(Immutable::ABI_VERSION, Ordering::Relaxed);
        header.entry_count.store(ENTRY_COUNT as u32, Ordering::Relaxed);
        header.ring_id.store(ring_id, Ordering::Relaxed);
        header.first_segment.store(first_segment, Ordering::Relaxed);
        // Release: pairs with the Acquire load in `attach`.
        header.magic.store(ControlHeader::MAGIC, Ordering::Release);
        Ok(control)
    }

    /// Maps an existing object; `None` if it is not the control segment of the ring `ring_id`. With
    /// [`Access::Read`] nothing may be stored to it.
    pub fn attach(
        mut segment: Segment,
        ring_id: u64,
        access: Access,
    ) -> Result<Option<Self>, SysError> {
        // Without memory (see `DataSegment::attach`) it was never finished.
        if segment.size()? != CONTROL_BYTES as u64 || segment.next_data(0)? != Some(0) {
            return Ok(None);
        }
        segment.map(CONTROL_BYTES, access)?;
        let control = Self { segment };
        let header = control.header();
        let fits = load_acquire(&header.magic) == ControlHeader::MAGIC
            && header.abi_version.load(Ordering::Relaxed) == Immutable::ABI_VERSION
            && header.entry_count.load(Ordering::Relaxed) == ENTRY_COUNT as u32
            && header.ring_id.load(Ordering::Relaxed) == ring_id;
        Ok(fits.then_some(control))
    }

    /// The object behind the mapping.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Number of the first data segment whose holds are all here.
    pub fn first_segment(&self) -> u64 {
        // Relaxed: stored before the magic number, which was checked.
        self.header().first_segment.load(Ordering::Relaxed)
    }

    /// Whether the entry at `index` has a living owner (another handle than this one).
    pub fn is_entry_owned(&self, index: usize) -> Result<bool, SysError> {
        self.segment.is_locked_elsewhere(entry_lock(index))
    }

    fn header(&self) -> &ControlHeader {
        // SAFETY: the mapping is CONTROL_BYTES long and page-aligned; every bit pattern is a
        // ControlHeader; it holds atomics only; the mapping lives as long as `self`.
        unsafe { self.segment.mapped().0.cast().as_ref() }
    }

    /// The line that says whether anyone may be asleep.
    #[inline(always)]
    pub fn waiters(&self) -> &Waiters {
        // SAFETY: the second line of a mapping of CONTROL_BYTES.
        let line = unsafe { self.segment.mapped().0.add(size_of::<ControlHeader>()) };
        // SAFETY: aligned to 128 bytes within a page-aligned mapping, atomics only, as in `header`.
        unsafe { line.cast().as_ref() }
    }

    /// Takes an entry that nobody alive holds; `None` if all are held.
    ///
    /// The owner lock decides, not what the entry says: an entry whose lock can be had is free,
    /// whether it was given back or its owner was killed. What a dead owner held is given up.
    pub fn take_entry(&self) -> Result<Option<usize>, SysError> {
        // Twice, because a writer takes the lock of a dead reader's entry for a moment (`reclaim_entry`).
        for index in (0..ENTRY_COUNT).chain(0..ENTRY_COUNT) {
            if self.segment.try_lock(entry_lock(index))? == Lock::Had {
                crash::point("register: entry taken");
                self.clear_entry(index);
                crash::point("register: entry cleared");
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Gives back an entry that this handle took, and all that it holds.
    pub fn give_back_entry(&self, index: usize) {
        self.clear_entry(index);
        crash::point("reclaim: entry cleared");
        // A failure leaves the lock to the end of the handle, when the kernel releases it.
        let _ = self.segment.unlock(entry_lock(index));
    }

    /// Gives up what the owner of the entry holds if it is dead; whether it was.
    ///
    /// Its lock is taken meanwhile, so that nobody else can begin to use the entry.
    pub fn reclaim_entry(&self, index: usize) -> Result<bool, SysError> {
        let dead = self.segment.try_lock(entry_lock(index))? == Lock::Had;
        if dead {
            crash::point("reclaim: entry locked");
            self.give_back_entry(index);
        }
        Ok(dead)
    }

    /// Withdraws all that the entry holds; the caller has its lock.
    fn clear_entry(&self, index: usize) {
        // Relaxed: for operators.
        self.entry(index).kind.store(EntryKind::Free as u32, Ordering::Relaxed);
        self.clear_holds(index);
    }
}

impl HoldTable for ControlSegment {
    #[inline(always)]
    fn holds(&self) -> &Holds {
        let offset = size_of::<ControlHeader>() + size_of::<Waiters>();
        // SAFETY: the third line of a mapping of CONTROL_BYTES.
        let line = unsafe { self.segment.mapped().0.add(offset) };
        // SAFETY: aligned to 128 bytes within a page-aligned mapping, atomics only, as in `header`.
        unsafe { line.cast().as_ref() }
    }

    fn entry_count(&self) -> usize {
        ENTRY_COUNT
    }

    #[inline(always)]
    fn entry(&self, index: usize) -> &Entry {
        assert!(index < ENTRY_COUNT, "entry index out of range");
        let offset = CONTROL_HEADER_BYTES + index * size_of::<Entry>();
        // SAFETY: inside a mapping of CONTROL_BYTES, because `index` is below the count.
        let entry = unsafe { self.segment.mapped().0.add(offset) };
        // SAFETY: entries are 256 bytes long and start at a page; atomics only, as in `header`.
        unsafe { entry.cast().as_ref() }
    }
}

fn entry_lock(index: usize) -> u64 {
    (CONTROL_HEADER_BYTES + index * size_of::<Entry>()) as u64
}
