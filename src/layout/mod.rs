//! The bytes of the two segments as typed views. Only this layer turns mapped bytes into references,
//! and all it gives out are atomics: another process may store to them at any time.
//!
//! What the fields mean and who stores to them when is the protocol, told in [`crate::ring`].

#![cfg_attr(qads_loom, allow(dead_code))] // the models have no mapped segments

mod control;
mod data;
#[cfg(not(qads_loom))]
mod geometry;
#[cfg(not(qads_loom))]
mod segment;

#[cfg(qads_loom)]
pub use control::Holds;
pub use control::{Entry, EntryKind, HoldTable, LEASES_PER_ENTRY, Waiters};
pub use data::{
    FIRST_POSITION_LIMIT, Header, Immutable, Live, POSITION_LIMIT, RingState, Slot, SlotHead,
    SlotTable,
};
#[cfg(not(qads_loom))]
pub use geometry::{Geometry, INLINE_BYTES, INLINE_OFFSET, MAX_PAYLOAD_BYTES, STREAM_OFFSET};
#[cfg(not(qads_loom))]
pub use segment::{ControlSegment, DataSegment, HeaderFault, Identity};
