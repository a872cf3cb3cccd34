//! A page that all workers of a run share: it says when the first message was due.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::Result;
use crate::spec::Spec;

const BYTES: usize = 4096;

/// The page, in a worker.
pub struct Board(MmapRaw);

#[repr(C)]
struct Words {
    began: AtomicU64,
}

/// Makes the page, for workers to inherit.
pub fn make() -> Result<OwnedFd> {
    let memory = memfd_create("qads-peers-board", MemfdFlags::empty())?;
    ftruncate(&memory, BYTES as u64)?;
    Ok(memory)
}

impl Board {
    pub fn new(spec: &Spec) -> Result<Self> {
        // SAFETY: the parent made it before this process began, and nobody here closes it.
        let memory = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(spec.board) });
        Ok(Self(MmapOptions::new().len(BYTES).map_raw(memory.as_raw_fd())?))
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping is page-aligned, zeroed when made, longer than the words, and lives as long as `self`;
        // every process only uses it by these atomics.
        unsafe { &*self.0.as_ptr().cast() }
    }

    /// Says when the run began, in ticks.
    pub fn begin(&self, ticks: u64) {
        self.words().began.store(ticks, Ordering::Release);
    }

    /// When the run began; known to whoever has received something.
    pub fn began(&self) -> u64 {
        self.words().began.load(Ordering::Acquire)
    }
}
