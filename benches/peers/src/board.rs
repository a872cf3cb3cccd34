//! A page that all workers of a run share: it says when the first message was due, and which is the last.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::spec::Spec;
use crate::{Result, clock};

const BYTES: usize = 4096;

/// The page, in a worker.
pub struct Board(MmapRaw);

#[repr(C)]
struct Words {
    began: AtomicU64,
    /// Number of the last message plus one; 0 as long as there is none.
    end: AtomicU64,
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

    /// Before message `number` is sent: that it is the last.
    pub fn end_with(&self, number: u64) {
        self.words().end.store(number + 1, Ordering::Release);
    }

    /// Whether one of the messages that are sent from now on, or have been sent and not received, is the last.
    #[inline(always)]
    pub fn has_end(&self) -> bool {
        self.words().end.load(Ordering::Acquire) != 0
    }

    /// Whether message `number`, which has been received, was the last.
    #[inline(always)]
    pub fn ends_with(&self, number: u64) -> bool {
        self.words().end.load(Ordering::Acquire) == number + 1
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

/// Decides which message is the last: the one of that number, or the one at which time is up.
pub struct Limit<'a> {
    board: &'a Board,
    last: u64,
    deadline: u64,
}

impl<'a> Limit<'a> {
    /// As `spec` says, from now on.
    pub fn new(board: &'a Board, spec: &Spec) -> Self {
        let budget = (spec.budget_ns as f64 / spec.ns_per_tick) as u64;
        Self { board, last: spec.total() - 1, deadline: clock::now() + budget }
    }

    /// Before message `number` is sent: whether it is to be the last. Time is not up before anything was measured.
    #[inline(always)]
    pub fn is_last(&self, spec: &Spec, number: u64, now: impl FnOnce() -> u64) -> bool {
        let is_last = number == self.last || number > spec.warm_up as u64 && now() > self.deadline;
        if is_last {
            self.board.end_with(number);
        }
        is_last
    }
}
