//! How large a data segment with given slots is, and where each slot lies.

use crate::error::{QADataSwapError, Result};
use crate::layout::SlotHead;

/// Most slots a ring may have.
pub const MAX_SLOTS: u64 = 1 << 24;
/// Largest message a ring may be made for: lengths are 32 bits wide, and slots whole lines.
pub const MAX_PAYLOAD_BYTES: u64 = u32::MAX as u64 - 4095;
/// Most bytes of one segment (address space, not memory).
const MAX_SEGMENT_BYTES: u64 = 1 << 40;
/// Bytes before the first slot: a page, so that header and slots never share one.
const HEADER_BYTES: u64 = 4096;
/// Slots start at multiples of this: two cache lines, because processors fetch lines in pairs.
const SLOT_ALIGN: u64 = 128;

/// Where in a slot a plain message starts: right behind the head.
pub const INLINE_OFFSET: usize = size_of::<SlotHead>();
/// Messages of up to this many bytes share the cache line of their slot's generation.
pub const INLINE_BYTES: usize = 64 - INLINE_OFFSET;
/// Where in a slot an Arrow stream starts: at the next cache line, so that buffers aligned within the
/// stream are aligned in memory.
pub const STREAM_OFFSET: usize = 64;

/// Sizes and offsets of a data segment, all derived from two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of slots.
    pub slot_count: u64,
    /// Largest message in bytes, wherever in the slot it starts.
    pub payload_capacity: u64,
    /// Bytes from one slot to the next.
    pub slot_stride: u64,
    /// Bytes before the first slot.
    pub header_bytes: u64,
    /// Size of the whole segment.
    pub segment_bytes: u64,
}

impl Geometry {
    /// The layout for `slot_count` slots that each take a message of `payload_capacity` bytes.
    pub fn new(slot_count: u64, payload_capacity: u64) -> Result<Self> {
        if !(1..=MAX_SLOTS).contains(&slot_count) {
            return Err(QADataSwapError::InvalidOption {
                option: "slot_count",
                value: slot_count,
                rule: "a ring has 1 to 16777216 slots",
            });
        }
        if !(1..=MAX_PAYLOAD_BYTES).contains(&payload_capacity) {
            return Err(QADataSwapError::InvalidOption {
                option: "slot_capacity",
                value: payload_capacity,
                rule: "a slot takes 1 to 4294963200 bytes",
            });
        }
        let mut slot_stride =
            (STREAM_OFFSET as u64 + payload_capacity).next_multiple_of(SLOT_ALIGN);
        if slot_stride.is_multiple_of(4096) {
            // Slots at the same offset within their pages would all fall into the same few sets of
            // the caches.
            slot_stride += SLOT_ALIGN;
        }
        // No overflow: 2^24 slots of at most 2^32 + 2^8 bytes, and a page.
        let segment_bytes = HEADER_BYTES + slot_count * slot_stride;
        if segment_bytes > MAX_SEGMENT_BYTES {
            return Err(QADataSwapError::InvalidOption {
                option: "slot_count * slot_capacity",
                value: segment_bytes,
                rule: "a ring has at most 1 TiB of address space; use fewer or smaller slots",
            });
        }
        Ok(Self {
            slot_count,
            payload_capacity,
            slot_stride,
            header_bytes: HEADER_BYTES,
            segment_bytes,
        })
    }

    /// Offset of a slot from the start of the segment.
    #[inline(always)]
    pub fn slot_offset(&self, index: u64) -> u64 {
        self.header_bytes + index * self.slot_stride
    }
}
