//! What is seen of a ring: plain values, loaded once each.

use std::fmt;

use super::{Held, Observer};
use crate::error::HoldsReason;
use crate::layout::{
    self, ControlSegment, DataSegment, Entry, HeaderFault, HoldTable, Immutable, RingState, Slot,
};
use crate::ring::{Descriptor, Generation, State};
use crate::shm::{Process, Segment, SysError};
use crate::sync::{Ordering, load_acquire, load_acquire_u32};

/// A process, as it has written itself down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessId {
    /// Process id in its own pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
    /// Whether the process that has this pid here is that very one. (Not so if it has ended, or lives in another
    /// pid namespace.)
    pub is_here: bool,
}

impl ProcessId {
    fn new(pid: u32, start_ticks: u64) -> Self {
        let is_here = start_ticks != 0 && Process::start_of(pid) == start_ticks;
        Self { pid, start_ticks, is_here }
    }
}

/// Whether more messages may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// A writer is, or may again be, at work.
    Open,
    /// The writer ended the ring; another may reopen it.
    Closed,
    /// The ring has moved to another segment.
    Superseded,
    /// A word that means nothing.
    Unknown(u32),
}

/// The words of a data segment's header, as `docs/protocol.md` tells them. Of a damaged ring, whatever is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Layout version.
    pub abi_version: u32,
    /// Bytes before the first slot.
    pub header_bytes: u32,
    /// Bytes that the segment should have.
    pub segment_bytes: u64,
    /// Number of slots.
    pub slot_count: u64,
    /// Bytes from one slot to the next.
    pub slot_stride: u64,
    /// Largest message, in bytes.
    pub payload_capacity: u64,
    /// What the ring can do, as bits.
    pub features: u64,
    /// Whether messages can be held (leased, read without loss).
    pub holds: bool,
    /// Random number of the ring.
    pub ring_id: u64,
    /// When this segment was made, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Position of the oldest message this segment ever held.
    pub first_position: u64,
    /// Its sequence.
    pub first_sequence: u64,
    /// How many segments the ring had before this one.
    pub segment_number: u64,
    /// Checksum of the fields above, as it is stored.
    pub checksum: u64,
    /// One past the last published position.
    pub published: u64,
    /// Messages published since the ring began: the sequence of the next one.
    pub message_count: u64,
    /// Bytes of all those messages (without the last of a writer that was killed just after it).
    pub message_bytes: u64,
    /// One past the last position whose slot was taken away from readers.
    pub claimed: u64,
    /// The futex word: moves on whenever the writer wakes sleepers.
    pub wake_sequence: u32,
    /// Whether more messages may come.
    pub phase: Phase,
}

impl Header {
    pub(super) fn load(header: &layout::Header) -> Self {
        let (fixed, live) = (&header.immutable, &header.live);
        // Acquire, before the rest: a count of messages that is loaded later is not behind it.
        let published = load_acquire(&live.published);
        // Relaxed from here on: each is a value of its own.
        let features = fixed.features.load(Ordering::Relaxed);
        let state = load_acquire_u32(&header.owner.state);
        Self {
            abi_version: fixed.abi_version.load(Ordering::Relaxed),
            header_bytes: fixed.header_bytes.load(Ordering::Relaxed),
            segment_bytes: fixed.segment_bytes.load(Ordering::Relaxed),
            slot_count: fixed.slot_count.load(Ordering::Relaxed),
            slot_stride: fixed.slot_stride.load(Ordering::Relaxed),
            payload_capacity: fixed.payload_capacity.load(Ordering::Relaxed),
            features,
            holds: features & Immutable::HOLDS != 0,
            ring_id: fixed.ring_id.load(Ordering::Relaxed),
            created_ns: fixed.created_ns.load(Ordering::Relaxed),
            first_position: fixed.first_position.load(Ordering::Relaxed),
            first_sequence: fixed.first_sequence.load(Ordering::Relaxed),
            segment_number: fixed.segment_number.load(Ordering::Relaxed),
            checksum: fixed.checksum.load(Ordering::Relaxed),
            published,
            message_count: live.message_count.load(Ordering::Relaxed),
            message_bytes: live.message_bytes.load(Ordering::Relaxed),
            claimed: live.claimed.load(Ordering::Relaxed),
            wake_sequence: live.wake_sequence.load(Ordering::Relaxed),
            phase: match RingState::from_word(state) {
                Some(RingState::Open) => Phase::Open,
                Some(RingState::Closed) => Phase::Closed,
                Some(RingState::Superseded) => Phase::Superseded,
                None => Phase::Unknown(state),
            },
        }
    }

    /// Positions that the writer passed over since the ring began, because readers had leased their slots.
    pub fn lease_skips(&self) -> u64 {
        self.published.saturating_sub(self.message_count)
    }
}

/// Who writes, or wrote last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterView {
    /// Whether it lives, as the kernel knows by its lock.
    pub alive: bool,
    /// Which process it says it is. (While a new writer takes over, still the old one.)
    pub process: ProcessId,
    /// How many writers the ring has had.
    pub epoch: u64,
}

/// What a registered reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReaderKind {
    /// It may be lapped.
    Lossy,
    /// It is waited for.
    Lossless,
    /// Its owner has said nothing yet, or has gone.
    Free,
    /// A word that means nothing.
    Unknown(u32),
}

/// An entry of the control segment: a registered reader, or what is left of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderView {
    /// Number of the entry, below 64.
    pub index: usize,
    /// Whether its owner lives, as the kernel knows by its lock.
    pub alive: bool,
    /// What it is.
    pub kind: ReaderKind,
    /// Which process it says it is.
    pub process: ProcessId,
    /// Position that it consumes next.
    pub position: u64,
    /// Positions published and not yet consumed.
    pub lag: u64,
    /// Messages consumed.
    pub consumed: u64,
    /// Messages lost.
    pub lost: u64,
    /// Times it was lapped.
    pub overruns: u64,
    /// Reads that ended without a message.
    pub timeouts: u64,
    /// Position from which on nothing is overwritten, if it holds everything from one on.
    pub gate: Option<u64>,
    /// Whether it is about to choose its first message, and holds everything meanwhile.
    pub joining: bool,
    /// Indices of the slots that it has leased; of segment [`leases_segment`](Self::leases_segment).
    pub leases: [Option<u32>; 8],
    /// Number of the segment whose slots the leases are.
    pub leases_segment: u64,
}

impl ReaderView {
    fn load(index: usize, alive: bool, entry: &Entry, published: u64) -> Self {
        // Relaxed: values for operators, each of its own; whoever holds the entry may store to them at any time.
        let position = entry.position.load(Ordering::Relaxed);
        let gate = entry.gate.load(Ordering::Relaxed);
        let joining = gate & Entry::JOINING != 0;
        let pid = entry.pid.load(Ordering::Relaxed);
        Self {
            index,
            alive,
            kind: match entry.kind.load(Ordering::Relaxed) {
                0 => ReaderKind::Free,
                1 => ReaderKind::Lossy,
                2 => ReaderKind::Lossless,
                other => ReaderKind::Unknown(other),
            },
            process: ProcessId::new(pid, entry.start_ticks.load(Ordering::Relaxed)),
            position,
            lag: published.saturating_sub(position),
            consumed: entry.consumed.load(Ordering::Relaxed),
            lost: entry.lost.load(Ordering::Relaxed),
            overruns: entry.overruns.load(Ordering::Relaxed),
            timeouts: entry.timeouts.load(Ordering::Relaxed),
            gate: if joining { None } else { gate.checked_sub(1) },
            joining,
            leases: std::array::from_fn(|at| {
                entry.leases[at].load(Ordering::Relaxed).checked_sub(1)
            }),
            leases_segment: entry.segment_number.load(Ordering::Relaxed),
        }
    }

    /// Whether it lives and, if it is lossless, has found its place: it gets all that is published from now on.
    pub fn is_settled(&self) -> bool {
        self.alive
            && match self.kind {
                ReaderKind::Lossless => self.gate.is_some(),
                ReaderKind::Lossy => true,
                ReaderKind::Free | ReaderKind::Unknown(_) => false,
            }
    }

    /// Number of slots that it has leased.
    pub fn lease_count(&self) -> usize {
        self.leases.iter().flatten().count()
    }
}

/// The words of the control segment that concern all readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Control {
    /// Whether a reader may be asleep until the writer wakes it.
    pub may_be_asleep: bool,
    /// Whether the writer waits for a lossless reader.
    pub writer_blocked: bool,
    /// How often a lossless reader has joined.
    pub joins: u64,
    /// Bits of the entries that may have a gate.
    pub gating: u64,
    /// Bits of the entries that may have leases.
    pub leasing: u64,
    /// Number of the first data segment whose holds are all here.
    pub first_segment: u64,
}

impl Control {
    fn load(control: &ControlSegment, has_writer: bool) -> Self {
        let holds = control.holds();
        // Relaxed: as for the entries. A writer that is killed while it waits leaves its word.
        Self {
            may_be_asleep: control.waiters().word.load(Ordering::Relaxed) != 0,
            writer_blocked: has_writer && holds.blocked.load(Ordering::Relaxed) != 0,
            joins: holds.joins.load(Ordering::Relaxed),
            gating: holds.gating.load(Ordering::Relaxed),
            leasing: holds.leasing.load(Ordering::Relaxed),
            first_segment: control.first_segment(),
        }
    }
}

/// A ring at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// The ring's name.
    pub name: String,
    /// Bytes of address space that the data segment has.
    pub bytes: u64,
    /// Bytes of memory that it takes.
    pub committed_bytes: u64,
    /// Its permissions, as in `0o600`.
    pub mode: u32,
    /// User id of its owner.
    pub owner: u32,
    /// What its header says; `None` where there is none to look at yet.
    pub header: Option<Header>,
    /// Who writes.
    pub writer: WriterView,
    /// Words of the control segment, or why it cannot be looked at.
    pub control: Result<Control, HoldsReason>,
    /// Readers that are registered, and what dead ones have left. Others can be anywhere, and are not seen.
    pub readers: Vec<ReaderView>,
    /// What is wrong with the header; empty for a ring that can be used. More is found by [`Observer::check`].
    pub faults: Vec<Inconsistency>,
}

impl Observation {
    /// The living lossless reader that is furthest behind: the one that the writer will have to wait for first.
    pub fn slowest_gating(&self) -> Option<&ReaderView> {
        self.readers.iter().filter(|reader| reader.alive && reader.gate.is_some()).max_by_key(
            |reader| {
                let published = self.header.map_or(0, |header| header.published);
                published.saturating_sub(reader.gate.unwrap_or(published))
            },
        )
    }
}

/// What a slot is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotState {
    /// Never written.
    Empty,
    /// The writer is storing a message, or died at it.
    Writing,
    /// It holds a message.
    Published,
    /// It was leased when its turn came.
    Skipped,
}

/// The head of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotView {
    /// Index of the slot.
    pub index: u64,
    /// What it is in the middle of.
    pub state: SlotState,
    /// Position that it was last taken for.
    pub position: u64,
    /// Sequence of its message.
    pub sequence: u64,
    /// Length of the message, in bytes.
    pub length: u32,
    /// What the message is and where it starts, as stored.
    pub kind_word: u32,
    /// What the message is; `None` if the word means nothing.
    pub kind: Option<super::MessageKind>,
}

impl SlotView {
    pub(super) fn load(index: u64, slot: Slot<'_>) -> Self {
        // Acquire: what is in the slot is as new as its generation.
        let generation = Generation::from_word(load_acquire(&slot.head.generation));
        // Relaxed: values of their own, of a slot that may be written again meanwhile.
        let kind_word = slot.head.kind.load(Ordering::Relaxed);
        Self {
            index,
            state: match generation.state() {
                State::Empty => SlotState::Empty,
                State::Writing => SlotState::Writing,
                State::Published => SlotState::Published,
                State::Skipped => SlotState::Skipped,
            },
            position: generation.position().get(),
            sequence: slot.head.sequence.load(Ordering::Relaxed),
            length: slot.head.length.load(Ordering::Relaxed),
            kind_word,
            kind: Descriptor::from_word(kind_word).map(|descriptor| descriptor.kind.into()),
        }
    }
}

/// Where an inconsistency was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The header of the data segment.
    Header,
    /// The slot of this index.
    Slot(u64),
    /// The header of the control segment.
    Control,
    /// The reader entry of this number.
    Entry(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Slot(index) => write!(f, "slot {index}"),
            Self::Control => f.write_str("control segment"),
            Self::Entry(index) => write!(f, "entry {index}"),
        }
    }
}

/// Something that cannot be, or should not be there.
///
/// ```
/// # let name = format!("doc-inconsistency-{}", std::process::id());
/// # qadataswap::create_writer(&name, 4)?.close()?;
/// // Somebody cuts the shared memory short.
/// let segment = std::fs::OpenOptions::new().write(true).open(format!("/dev/shm/qads_{name}"))?;
/// segment.set_len(8192)?;
/// let seen = qadataswap::observe::Observer::open(&name)?.look()?;
/// assert!(seen.faults[0].to_string().starts_with("header: segment size is 8192"));
/// # qadataswap::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inconsistency {
    /// Where it is.
    pub place: Place,
    /// The field, or what the two numbers are.
    pub field: &'static str,
    /// What was found.
    pub found: u64,
    /// What would be right, or the limit that was passed.
    pub expected: u64,
}

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, field, found, expected } = self;
        write!(f, "{place}: {field} is {found}, which does not go with {expected}")
    }
}

impl From<HeaderFault> for Inconsistency {
    fn from(fault: HeaderFault) -> Self {
        let (field, found, expected) = match fault {
            HeaderFault::NotReady => ("magic", 0, Immutable::MAGIC),
            HeaderFault::Version(found) => {
                ("abi_version", found.into(), Immutable::ABI_VERSION.into())
            }
            HeaderFault::Field(field, found, expected) => (field, found, expected),
        };
        Self { place: Place::Header, field, found, expected }
    }
}

impl Observer {
    pub(super) fn observation(&self) -> Result<Observation, SysError> {
        let segment = self.segment();
        let facts = segment.facts()?;
        let (header, faults) = match &self.held {
            Held::Sound(data) => (Some(data.header()), Vec::new()),
            Held::Refused(segment, fault) => match DataSegment::refused_header(segment) {
                Some((header, faults)) if !faults.is_empty() => (Some(header), faults),
                Some((header, _)) => (Some(header), vec![*fault]),
                None => (None, vec![*fault]),
            },
        };
        let owner = header.map(|header| &header.owner);
        let header = header.map(Header::load);
        let mut writer =
            WriterView { alive: DataSegment::is_writer_alive(segment)?, ..WriterView::default() };
        if let Some(owner) = owner {
            // Relaxed: for operators.
            let pid = owner.pid.load(Ordering::Relaxed);
            writer.process = ProcessId::new(pid, owner.start_ticks.load(Ordering::Relaxed));
            writer.epoch = owner.epoch.load(Ordering::Relaxed);
        }
        let mut readers = Vec::new();
        if let (Ok(control), Some(header)) = (&self.control, &header) {
            for index in 0..control.entry_count() {
                let alive = control.is_entry_owned(index)?;
                let reader = ReaderView::load(index, alive, control.entry(index), header.published);
                if alive || reader.kind != ReaderKind::Free {
                    readers.push(reader);
                }
            }
        }
        Ok(Observation {
            name: self.name.as_str().to_owned(),
            bytes: facts.bytes,
            committed_bytes: facts.committed_bytes,
            mode: facts.mode,
            owner: facts.owner,
            header,
            writer,
            control: match &self.control {
                Ok(control) => Ok(Control::load(control, writer.alive)),
                Err(reason) => Err(*reason),
            },
            readers,
            faults: faults.into_iter().map(Inconsistency::from).collect(),
        })
    }

    fn segment(&self) -> &Segment {
        match &self.held {
            Held::Sound(data) => data.segment(),
            Held::Refused(segment, _) => segment,
        }
    }
}
