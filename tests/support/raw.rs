//! The segments of a ring as plain files: what is in them, read and stored past the library.
//!
//! The offsets are those of `docs/protocol.md`, written down a second time on purpose: a change of the
//! layout that forgets the version number fails tests.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::RingName;

/// Bytes before the first slot.
pub const HEADER_BYTES: u64 = 4096;

/// Words of the data segment's header: name, offset, bytes.
pub const MAGIC: u64 = 0;
pub const ABI_VERSION: u64 = 8;
pub const HEADER_BYTES_WORD: u64 = 12;
pub const SEGMENT_BYTES: u64 = 16;
pub const SLOT_COUNT: u64 = 24;
pub const SLOT_STRIDE: u64 = 32;
pub const PAYLOAD_CAPACITY: u64 = 40;
pub const FEATURES: u64 = 48;
pub const RING_ID: u64 = 56;
pub const CREATED_NS: u64 = 64;
pub const FIRST_POSITION: u64 = 72;
pub const FIRST_SEQUENCE: u64 = 80;
pub const SEGMENT_NUMBER: u64 = 88;
pub const CHECKSUM: u64 = 96;
pub const PUBLISHED: u64 = 128;
pub const MESSAGE_COUNT: u64 = 136;
pub const WAKE_SEQUENCE: u64 = 144;
pub const CLAIMED: u64 = 152;
pub const PID: u64 = 256;
pub const STATE: u64 = 260;
pub const START_TICKS: u64 = 264;
pub const EPOCH: u64 = 272;

/// Words of a slot, from its start.
pub const GENERATION: u64 = 0;
pub const SEQUENCE: u64 = 8;
pub const LENGTH: u64 = 16;
pub const KIND: u64 = 20;
pub const PAYLOAD: u64 = 24;

/// Words of the control segment.
pub const CONTROL_MAGIC: u64 = 0;
pub const CONTROL_VERSION: u64 = 8;
pub const CONTROL_ENTRIES: u64 = 12;
pub const CONTROL_RING_ID: u64 = 16;
pub const CONTROL_FIRST_SEGMENT: u64 = 24;
pub const WAITERS: u64 = 128;
pub const JOINS: u64 = 256;
pub const GATING: u64 = 264;
pub const LEASING: u64 = 272;
pub const BLOCKED: u64 = 280;
pub const ENTRIES: u64 = 4096;
pub const ENTRY_BYTES: u64 = 256;

/// Words of a reader's entry, from its start.
pub const ENTRY_KIND: u64 = 0;
pub const ENTRY_PID: u64 = 4;
pub const ENTRY_SEGMENT_NUMBER: u64 = 16;
/// Eight words of 32 bits.
pub const ENTRY_LEASES: u64 = 24;
pub const ENTRY_GATE: u64 = 128;
pub const ENTRY_POSITION: u64 = 136;
pub const ENTRY_CONSUMED: u64 = 144;
pub const ENTRY_LOST: u64 = 152;
pub const ENTRY_OVERRUNS: u64 = 160;
pub const ENTRY_TIMEOUTS: u64 = 168;

/// A slot's states.
pub const WRITING: u64 = 1;
pub const PUBLISHED_STATE: u64 = 2;
pub const SKIPPED: u64 = 3;

/// One segment, opened for reading and writing.
pub struct Raw(File);

impl Raw {
    pub fn open(path: &str) -> Self {
        Self(OpenOptions::new().read(true).write(true).open(path).expect("segment is there"))
    }

    pub fn data(ring: &RingName) -> Self {
        Self::open(&ring.data_path())
    }

    pub fn control(ring: &RingName) -> Self {
        Self::open(&ring.control_path())
    }

    pub fn len(&self) -> u64 {
        self.0.metadata().unwrap().size()
    }

    /// Bytes of memory that the segment takes.
    pub fn allocated_bytes(&self) -> u64 {
        self.0.metadata().unwrap().blocks() * 512
    }

    pub fn set_len(&self, bytes: u64) {
        self.0.set_len(bytes).unwrap();
    }

    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    pub fn set_bytes(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }

    pub fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    pub fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    pub fn set_u32(&self, at: u64, value: u32) {
        self.set_bytes(at, &value.to_le_bytes());
    }

    pub fn set_u64(&self, at: u64, value: u64) {
        self.set_bytes(at, &value.to_le_bytes());
    }

    /// Offset of a word of the slot at `index`.
    pub fn slot(&self, index: u64, word: u64) -> u64 {
        HEADER_BYTES + index * self.u64(SLOT_STRIDE) + word
    }

    /// Makes the checksum fit what the header says: tampering that is not an accident.
    pub fn fix_checksum(&self) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |word: u64| {
            for byte in word.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        add(self.u32(ABI_VERSION).into());
        add(self.u32(HEADER_BYTES_WORD).into());
        for at in (SEGMENT_BYTES..CHECKSUM).step_by(8) {
            add(self.u64(at));
        }
        self.set_u64(CHECKSUM, hash);
    }
}

/// Offset of a word of the reader entry at `index` of a control segment.
pub fn entry(index: u64, word: u64) -> u64 {
    ENTRIES + index * ENTRY_BYTES + word
}

/// The generation word of `position` in `state`.
pub fn generation(position: u64, state: u64) -> u64 {
    position << 2 | state
}

/// Pseudo-random numbers (SplitMix64) that are the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}
