//! A reader's entry in the control segment, and what it holds through it.
//!
//! The entry is held by the kernel's lock on it, and outlives the reader as long as leases do: whoever has
//! the last reference gives it back.

use std::sync::Arc;

use crate::crash;
use crate::error::HoldsReason;
use crate::layout::{
    ControlSegment, DataSegment, Entry, EntryKind, HoldTable, LEASES_PER_ENTRY, Waiters,
};
use crate::name::RingName;
use crate::ring::{Position, hold};
use crate::shm::{self, Access, Process, Segment};
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::wait::futex_wake_all;

/// A reader's entry in the control segment.
#[derive(Debug)]
pub(super) struct Registration {
    control: ControlSegment,
    index: usize,
    /// The fork generation it was made in.
    made_in: u64,
    /// Whether a lease has a guard. (The shared words are not asked: others may store to them.)
    taken: [AtomicBool; LEASES_PER_ENTRY],
    /// And if so, of which position.
    positions: [AtomicU64; LEASES_PER_ENTRY],
    /// The reader's entry in a control segment that has been replaced, as long as it had leases there.
    before: Option<Arc<Registration>>,
}

impl Registration {
    /// Takes an entry.
    pub(super) fn new(
        name: &RingName,
        data: &DataSegment,
        kind: EntryKind,
    ) -> Result<Self, HoldsReason> {
        let segment = Segment::open(&name.control_object(), Access::ReadWrite)?;
        let control = ControlSegment::attach(segment, data.identity().ring_id, Access::ReadWrite)?
            .ok_or(HoldsReason::NoControlSegment)?;
        let index = control.take_entry()?.ok_or(HoldsReason::NoFreeEntry)?;
        let made_in = shm::fork_generation();
        let registration = Self {
            control,
            index,
            made_in,
            taken: Default::default(),
            positions: Default::default(),
            before: None,
        };
        let entry = registration.entry();
        let process = Process::current();
        // Relaxed: this process owns the entry now (its lock was had), and whoever reads these takes them
        // for information.
        for counter in [&entry.consumed, &entry.lost, &entry.overruns, &entry.timeouts] {
            counter.store(0, Ordering::Relaxed);
        }
        entry.pid.store(process.pid, Ordering::Relaxed);
        entry.start_ticks.store(process.start_ticks, Ordering::Relaxed);
        entry.kind.store(kind as u32, Ordering::Relaxed);
        crash::point("register: filled in");
        Ok(registration)
    }

    #[inline(always)]
    pub(super) fn entry(&self) -> &Entry {
        self.control.entry(self.index)
    }

    #[inline(always)]
    pub(super) fn waiters(&self) -> &Waiters {
        self.control.waiters()
    }

    /// Whether the control segment has been replaced, so that nobody looks at this entry any more.
    pub(super) fn is_orphaned(&self) -> bool {
        self.control.segment().is_unlinked().unwrap_or(true)
    }

    /// Begins to set up a gate (see [`hold::join`]).
    pub(super) fn join(&self, data: &DataSegment) -> Position {
        // Another number at every try, in every process.
        hold::join(data, &self.control, self.index, shm::random_id() >> 1)
    }

    /// Has the gate cover what is from `position` on (see [`hold::settle_gate`]).
    pub(super) fn settle_gate(&self, data: &DataSegment, position: Position) -> bool {
        let settled = hold::settle_gate(data, self.entry(), position);
        self.wake_writer();
        settled
    }

    /// Gives up what is before `position`.
    #[inline(always)]
    pub(super) fn move_gate(&self, position: Position) {
        hold::move_gate(self.entry(), position);
        crash::point("gate: moved");
        if hold::is_wanted(self.control.holds().blocked.load(Ordering::Relaxed), position) {
            self.wake_writer();
        }
    }

    /// Takes the gate away.
    pub(super) fn leave(&self) {
        hold::leave(&self.control, self.index);
        self.wake_writer();
    }

    /// Wakes a writer that waits for a gate. It sleeps in short slices, so that nothing depends on this
    /// being seen in time.
    #[inline(always)]
    fn wake_writer(&self) {
        let blocked = &self.control.holds().blocked;
        if blocked.load(Ordering::Relaxed) != 0 {
            blocked.store(0, Ordering::Relaxed);
            futex_wake_all(blocked);
        }
    }

    /// Lets the writer know that slots of `data` may be leased. Returns the first position that may be.
    pub(super) fn begin_leasing(&self, data: &DataSegment) -> Position {
        // Leases so far were of another segment, which is never stored to again; or of an earlier owner of the
        // entry, whose end the writer may learn from this store alone (Release, H3).
        for lease in &self.entry().leases {
            lease.store(0, Ordering::Release);
        }
        hold::begin_leasing(data, &self.control, self.index)
    }

    /// [`begin_leasing`](Self::begin_leasing) once more: the first position that may be leased now.
    pub(super) fn leasing_floor(&self, data: &DataSegment) -> Position {
        hold::begin_leasing(data, &self.control, self.index)
    }

    /// The reader had that entry before this one.
    pub(super) fn follow(&mut self, before: &Arc<Self>) {
        self.before = (before.lease_count() > 0).then(|| before.clone());
    }

    /// Number of the reader's leases that have a guard.
    pub(super) fn lease_count(&self) -> usize {
        let own = self.taken.iter().filter(|taken| taken.load(Ordering::Relaxed)).count();
        own + self.before.as_ref().map_or(0, |before| before.lease_count())
    }

    /// Whether the reader has fewer leases than `limit`.
    #[inline(always)]
    pub(super) fn has_free_lease(&self, limit: usize) -> bool {
        if self.before.is_some() {
            return self.lease_count() < limit;
        }
        // The lowest numbers are taken first.
        self.taken[..limit].iter().any(|taken| !taken.load(Ordering::Relaxed))
    }

    /// A lease number that no guard has, below `limit`, for the message at `position`. Called by the one reader
    /// only.
    #[inline(always)]
    pub(super) fn take_lease(&self, limit: usize, position: Position) -> Option<usize> {
        let (mut free, mut first) = (None, position.get());
        for (number, taken) in self.taken.iter().enumerate() {
            // Acquire: pairs with the Release in `return_lease`: what was read under that lease was read before the
            // writer is told below that nothing there is needed, and its last store to the word came before.
            if taken.load(Ordering::Acquire) {
                // Relaxed: stored by this reader.
                first = first.min(self.positions[number].load(Ordering::Relaxed));
            } else if free.is_none() {
                free = Some(number);
            }
        }
        let free = free.filter(|free| *free < limit)?;
        // Relaxed, both: this reader is the only one to ask.
        self.taken[free].store(true, Ordering::Relaxed);
        self.positions[free].store(position.get(), Ordering::Relaxed);
        hold::lease_from(self.entry(), Position::new(first));
        Some(free)
    }

    /// Ends the lease of this number; by whatever thread drops its guard.
    #[inline(always)]
    pub(super) fn return_lease(&self, number: usize) {
        hold::release(self.entry(), number);
        self.taken[number].store(false, Ordering::Release);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // In a forked child the entry is still the parent's.
        if self.made_in == shm::fork_generation() {
            self.control.give_back_entry(self.index);
            self.wake_writer();
        }
    }
}
