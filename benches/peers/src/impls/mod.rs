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

use crate::spec::{Mode, Spec};

/// Slots of a ring for one message at a time.
const SLOTS: usize = 16;
/// Slots for messages so large that memory for more would be all of it.
pub const FEW_SLOTS: usize = 4;
/// Fewest and most slots of a ring that is to bridge pauses. A warm-up goes round all of them.
pub const BRIDGING_SLOTS: (usize, usize) = (64, 1024);
/// From here on messages are large.
const LARGE_BYTES: usize = 16 << 20;
/// Bytes that a ring may take which is to bridge pauses of its readers, and one that is to stay in a cache.
const BRIDGING_BYTES: usize = 8 << 20;
const CACHED_BYTES: usize = 512 << 10;

/// Slots of every implementation's ring, so that all have the same room.
pub fn slots(spec: &Spec) -> usize {
    slots_for(spec.mode, spec.capacity)
}

/// The same, for messages of so many bytes.
pub fn slots_for(mode: Mode, capacity: usize) -> usize {
    match mode {
        _ if capacity >= LARGE_BYTES => FEW_SLOTS,
        Mode::OpenLoop => {
            let (fewest, most) = BRIDGING_SLOTS;
            (BRIDGING_BYTES / capacity).next_power_of_two().clamp(fewest, most)
        }
        Mode::Throughput => (CACHED_BYTES / capacity).next_power_of_two().clamp(16, 256),
        _ => SLOTS,
    }
}
