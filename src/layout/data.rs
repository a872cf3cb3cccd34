//! The data segment: header lines and slots. The one live writer stores to it, nobody else.

use crate::sync::{AtomicU32, AtomicU64};

/// Positions are below this: they share their word with two bits of state.
pub const POSITION_LIMIT: u64 = 1 << 62;
/// Nor does any ring get as far as this: a segment that begins there is a forgery.
pub const FIRST_POSITION_LIMIT: u64 = 1 << 61;

/// First line of the header. Stored once, before [`magic`](Self::magic), and never again.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Immutable {
    /// [`MAGIC`](Self::MAGIC), stored last: whoever sees it sees the other fields.
    pub magic: AtomicU64,
    /// [`ABI_VERSION`](Self::ABI_VERSION).
    pub abi_version: AtomicU32,
    /// Bytes before the first slot.
    pub header_bytes: AtomicU32,
    /// Size of the whole segment.
    pub segment_bytes: AtomicU64,
    /// Number of slots.
    pub slot_count: AtomicU64,
    /// Bytes from one slot to the next.
    pub slot_stride: AtomicU64,
    /// Largest message in bytes.
    pub payload_capacity: AtomicU64,
    /// What this ring can do, as bits; readers refuse bits they do not know.
    pub features: AtomicU64,
    /// Random number of the ring, the same for its control segment and after a rollover.
    pub ring_id: AtomicU64,
    /// When this segment was made, nanoseconds since 1970 (for operators only).
    pub created_ns: AtomicU64,
    /// Position of the oldest message this segment ever held.
    pub first_position: AtomicU64,
    /// Message sequence at `first_position`.
    pub first_sequence: AtomicU64,
    /// How many segments this ring had before (moves to other slots).
    pub segment_number: AtomicU64,
    /// Checksum over the fields above, `magic` excepted.
    pub checksum: AtomicU64,
}

impl Immutable {
    /// `QADSRING` in memory order.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"QADSRING");
    /// Layout version: changes whenever an older library could misread a segment.
    pub const ABI_VERSION: u32 = 3;
    /// Feature: messages can be held (leases and gates).
    pub const HOLDS: u64 = 1;
}

/// Second line: what every publish moves on.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Live {
    /// One past the last published position.
    pub published: AtomicU64,
    /// Sequence the next message will have: messages published since the ring began.
    pub message_count: AtomicU64,
    /// The futex word: moves on whenever the writer wakes sleepers.
    pub wake_sequence: AtomicU32,
    /// One past the last position whose slot was taken away from readers, or is about to be: a gate on what
    /// was in it comes too late.
    pub claimed: AtomicU64,
    /// Bytes of all messages published since the ring began, for operators. A writer that dies between a publish and
    /// this leaves out its last message.
    pub message_bytes: AtomicU64,
}

/// Third line: who writes.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Owner {
    /// Process id of the last writer, in its own pid namespace.
    pub pid: AtomicU32,
    /// A [`RingState`].
    pub state: AtomicU32,
    /// When that process started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: AtomicU64,
    /// How many writers this ring has had.
    pub epoch: AtomicU64,
}

/// Whether more messages may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RingState {
    /// A writer is, or may again be, at work.
    Open = 0,
    /// The writer ended the ring; another may reopen it.
    Closed = 1,
    /// Another segment has taken this one's name; drain this one, then attach to that.
    Superseded = 2,
}

impl RingState {
    /// The state with this number; `None` if the word was damaged.
    pub fn from_word(word: u32) -> Option<Self> {
        match word {
            0 => Some(Self::Open),
            1 => Some(Self::Closed),
            2 => Some(Self::Superseded),
            _ => None,
        }
    }
}

/// The header: three lines of 128 bytes, at the start of the segment.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Header {
    /// What never changes.
    pub immutable: Immutable,
    /// What every publish changes.
    pub live: Live,
    /// What a change of writer changes.
    pub owner: Owner,
}

/// What precedes the payload of a slot, in the same cache line as its first 40 bytes.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SlotHead {
    /// Position and state (see `ring::Generation`).
    pub generation: AtomicU64,
    /// Dense message number; in a skipped slot, the number of the next message.
    pub sequence: AtomicU64,
    /// Message length in bytes.
    pub length: AtomicU32,
    /// What the message is and where in the slot it starts (see `ring::MessageKind`).
    pub kind: AtomicU32,
}

/// One slot.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// Its first 24 bytes.
    pub head: &'a SlotHead,
    /// The rest, up to the next slot.
    pub payload: &'a [AtomicU64],
}

/// Where the slots are: mapped memory, or in models and tests any other.
pub trait SlotTable {
    /// Number of slots; not zero, and the same at every call.
    fn slot_count(&self) -> u64;
    /// Number of payload bytes in each slot.
    fn payload_bytes(&self) -> usize;
    /// The slot at `index`, which is below the count.
    fn slot(&self, index: u64) -> Slot<'_>;
    /// The header's live line.
    fn live(&self) -> &Live;
    /// First position and message sequence of this segment.
    fn origin(&self) -> (u64, u64);
    /// How many segments the ring had before this one.
    fn segment_number(&self) -> u64;
}

#[cfg(not(qads_loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Immutable>() == 128 && size_of::<Live>() == 128 && size_of::<Owner>() == 128);
    assert!(size_of::<Header>() == 384);
    assert!(offset_of!(Header, immutable) == 0);
    assert!(offset_of!(Header, live) == 128);
    assert!(offset_of!(Header, owner) == 256);
    assert!(offset_of!(Immutable, abi_version) == 8);
    assert!(offset_of!(Immutable, header_bytes) == 12);
    assert!(offset_of!(Immutable, segment_bytes) == 16);
    assert!(offset_of!(Immutable, slot_count) == 24);
    assert!(offset_of!(Immutable, slot_stride) == 32);
    assert!(offset_of!(Immutable, payload_capacity) == 40);
    assert!(offset_of!(Immutable, features) == 48);
    assert!(offset_of!(Immutable, ring_id) == 56);
    assert!(offset_of!(Immutable, created_ns) == 64);
    assert!(offset_of!(Immutable, first_position) == 72);
    assert!(offset_of!(Immutable, first_sequence) == 80);
    assert!(offset_of!(Immutable, segment_number) == 88);
    assert!(offset_of!(Immutable, checksum) == 96);
    assert!(offset_of!(Live, claimed) == 24 && offset_of!(Live, message_bytes) == 32);
    assert!(offset_of!(Live, message_count) == 8 && offset_of!(Live, wake_sequence) == 16);
    assert!(offset_of!(Owner, state) == 4 && offset_of!(Owner, start_ticks) == 8);
    assert!(offset_of!(Owner, epoch) == 16);
    assert!(size_of::<SlotHead>() == 24);
    assert!(offset_of!(SlotHead, sequence) == 8 && offset_of!(SlotHead, length) == 16);
    assert!(offset_of!(SlotHead, kind) == 20);
};
