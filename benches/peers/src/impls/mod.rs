//! One file for each implementation.

pub mod futex;
pub mod iceoryx;
pub mod memcpy;
pub mod pipe;
pub mod qads;
pub mod raw;
pub mod shaq;
pub mod socket;

mod stream;

/// Slots of every ring, so that all have the same room.
pub const SLOTS: usize = 16;
/// Slots for messages so large that memory for more would be all of it.
pub const FEW_SLOTS: usize = 4;
/// From here on messages are large.
pub const LARGE_BYTES: usize = 16 << 20;

/// Slots for messages of up to so many bytes.
pub fn slots(capacity: usize) -> usize {
    if capacity >= LARGE_BYTES { FEW_SLOTS } else { SLOTS }
}
