//! Apache Arrow between processes on one machine.
//!
//! One process publishes record batches or bytes into a ring of slots in shared memory; any number of
//! processes read them, each seeing every message. No daemon, no broker, no locks.
//!
//! ```
//! use std::sync::Arc;
//! use qadataswap::arrow_array::{Float64Array, RecordBatch};
//! use qadataswap::{create_reader, create_writer};
//!
//! # let name = format!("doc-lib-{}", std::process::id());
//! # let name = name.as_str();
//! # let batch = RecordBatch::try_from_iter([("price", Arc::new(Float64Array::from(vec![1.0])) as _)])?;
//! // In the producing process:
//! let writer = create_writer(name, 10)?; // ten slots
//! writer.write_arrow(&batch)?;
//!
//! // In any number of consuming processes:
//! let reader = create_reader(name)?;
//! if let Some(batch) = reader.read_arrow(5_000)? {
//!     // up to 5 s
//!     println!("{} rows", batch.num_rows());
//! }
//! # writer.unlink()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises
//!
//! * A message returned is byte for byte what was published, or it is not returned.
//! * A reader's counts are exact: consumed + lost = published since it attached.
//! * A lossy reader cannot slow, block or corrupt the writer or another reader, however it dies.
//! * A [lossless](ReaderOptions::lossless) reader loses nothing while it lives (unless the writer's options say
//!   that it may be evicted, and then it is told); when it dies, the writer goes on within a bounded time.
//! * A [lease](Lease) or zero-copy batch stays valid and unchanged until its last reference is dropped.
//! * kill -9 of anybody leaves a ring that the others go on using and a new writer can take over.
//!
//! # How it works
//!
//! The protocol is described at the top of `src/ring/mod.rs` and, with the byte layout, in
//! `docs/protocol.md`. Layers point one way: `shm` (system calls) -> `layout` (typed views) -> `ring`
//! (the protocol) -> `wait` -> `codec` (Arrow) -> `flat` (small batches, fast) -> `api` (the handles).
//!
//! # Features
//!
//! * `arrow` (default): [`Writer::write_arrow`], [`Reader::read_arrow`] and what goes with them.
//! * `typed` (default): [`Writer::write_value`], [`Reader::read_value`].
//!
//! Without default features the bytes ring builds with libc as its only dependency.

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("qadataswap needs 64-bit little-endian Linux (futex, open-file-description locks)");

#[cfg(not(qads_crash))]
mod crash;
#[cfg(qads_crash)]
#[doc(hidden)]
pub mod crash;
#[cfg(qads_loom)]
#[doc(hidden)]
pub mod layout;
#[cfg(qads_loom)]
#[doc(hidden)]
pub mod ring;
#[cfg(qads_loom)]
#[doc(hidden)]
pub mod sync;

#[cfg(not(qads_loom))]
mod api;
#[cfg(all(feature = "arrow", not(qads_loom)))]
mod codec;
#[cfg(not(qads_loom))]
mod error;
#[cfg(all(feature = "arrow", not(qads_loom)))]
mod flat;
#[cfg(not(qads_loom))]
mod layout;
#[cfg(not(qads_loom))]
mod name;
#[cfg(not(qads_loom))]
mod ring;
#[cfg(not(qads_loom))]
mod shm;
#[cfg(not(qads_loom))]
mod sync;
#[cfg(not(qads_loom))]
mod wait;

#[cfg(not(qads_loom))]
pub use crate::{
    api::{
        Lease, OnOverrun, OnSlowReader, Reader, ReaderOptions, ReaderStats, Reservation, Writer,
        WriterOptions, WriterStats, create_reader, create_writer, list, observe, unlink,
        unlink_by_force,
    },
    error::{HoldsReason, QADataSwapError, Result},
    layout::INLINE_BYTES,
    name::{MAX_NAME_BYTES, check_name},
    ring::consume::Start,
    wait::WaitStrategy,
};

#[cfg(all(feature = "arrow", not(qads_loom)))]
pub use {api::Batches, arrow_array, arrow_buffer, arrow_schema};

#[cfg(all(feature = "typed", not(qads_loom)))]
pub use zerocopy;

/// The examples of the API reference, run with the documentation tests.
#[cfg(all(doctest, feature = "arrow"))]
#[doc = include_str!("../docs/api-reference.md")]
struct ApiReference;

/// The example of the README, likewise.
#[cfg(all(doctest, feature = "arrow"))]
#[doc = include_str!("../README.md")]
struct Readme;
