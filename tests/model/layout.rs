//! The typed views that the ring layer works on, without the segments: what `crate::layout` is to the ring's
//! sources where a test takes them in.
#![allow(dead_code, unused_imports)]

#[path = "../../src/layout/control.rs"]
mod control;
#[path = "../../src/layout/data.rs"]
mod data;

pub use control::{Entry, EntryKind, HoldTable, Holds, LEASES_PER_ENTRY, Waiters};
pub use data::{
    FIRST_POSITION_LIMIT, Immutable, Live, POSITION_LIMIT, RingState, Slot, SlotHead, SlotTable,
};
