//! How a writer deals with slots that readers hold: passes over leases, waits for gates, and takes away what
//! the dead held. The protocol is told in [`crate::ring::hold`].

use std::time::{Duration, Instant};

use super::OnSlowReader;
use super::create::{Ring, roll_over};
use super::writer::Inner;
use crate::crash;
use crate::error::{QADataSwapError, Result};
use crate::layout::{ControlSegment, Entry, Geometry, HoldTable, LEASES_PER_ENTRY, SlotTable};
use crate::ring::Position;
use crate::ring::hold::{self, EntryMask};
use crate::ring::publish::Claim;
use crate::sync::Ordering;
use crate::wait::futex_wait;

/// How long a writer polls a gate before it sleeps.
const POLL: Duration = Duration::from_micros(20);
/// After so many stalls in a row in which that was in vain it sleeps at once, as the reader may be waiting for the same
/// core.
const POLLS_IN_VAIN: u32 = 4;
/// Of such stalls one in so many is polled again, in case that it helps by now.
const STALLS_PER_POLL: u32 = 16;
/// Longest sleep: whatever happens to the reader, or to its wake-up call, is noticed after this.
const SLICE: Duration = Duration::from_millis(1);
/// Looks at a lease between two questions to the kernel whether its owner lives (0.5 us each).
const LOOKS_PER_QUESTION: u8 = 64;
/// Most entries that one write takes from the dead: more there can be only if somebody forges them.
const MOST_RECLAIMED: u32 = 128;

/// Most positions that one write passes over: many times as many as there can be leases.
const MOST_SKIPS: u64 = 16 * 64 * LEASES_PER_ENTRY as u64;
/// Publishes between two questions whether the owner of an entry that costs them something lives.
const PUBLISHES_PER_QUESTION: u64 = 1024;

/// What holds have made this writer do.
#[derive(Debug)]
pub(super) struct HoldStats {
    pub(super) lease_skips: u64,
    pub(super) stalls: u64,
    /// Stalls in a row, the last ones, in which the writer slept.
    slept: u32,
    pub(super) evictions: u64,
    pub(super) reclaimed: u64,
    /// By entry: looks at its leases before the kernel is asked again.
    looks_left: [u8; 64],
    /// Position from which on the next entry is asked about.
    ask_from: Position,
    /// The entry that was asked about last.
    asked: usize,
}

impl HoldStats {
    pub(super) fn new() -> Self {
        Self {
            lease_skips: 0,
            stalls: 0,
            slept: 0,
            evictions: 0,
            reclaimed: 0,
            looks_left: [0; 64],
            ask_from: Position::new(0),
            asked: 0,
        }
    }

    /// How long to poll a gate before sleeping.
    fn poll(&self) -> Duration {
        let is_worth_it = self.slept < POLLS_IN_VAIN || self.slept.is_multiple_of(STALLS_PER_POLL);
        if is_worth_it { POLL } else { Duration::ZERO }
    }

    /// Whether it is time to ask about an entry, for a claim of position `next`.
    #[inline(always)]
    pub(super) fn is_time_to_ask(&self, next: Position) -> bool {
        next >= self.ask_from
    }
}

/// One write that met a hold.
#[derive(Debug)]
struct Attempt {
    /// Entries whose gates are not waited for any longer.
    given_up: EntryMask,
    /// Those of them that have not been counted: nothing was overwritten yet.
    uncounted: EntryMask,
    /// When it first met a gate.
    stalled: Option<Instant>,
    /// When it first met the last of those that it met, and all of these.
    met: (Option<Instant>, EntryMask),
    /// Whether a reader that reaches the position in `blocked` will wake this writer.
    armed: bool,
    /// Whether it slept.
    slept: bool,
    skipped: u64,
    reclaimed: u32,
}

impl Attempt {
    fn new() -> Self {
        Self {
            given_up: EntryMask::NONE,
            uncounted: EntryMask::NONE,
            stalled: None,
            met: (None, EntryMask::NONE),
            armed: false,
            slept: false,
            skipped: 0,
            reclaimed: 0,
        }
    }
}

impl Attempt {
    /// How long ago it met the last of the entries that it has met, `by` among them.
    fn since_met(&mut self, by: EntryMask) -> Duration {
        let known = self.met.1;
        self.met.1 = known.union(by);
        if self.met.1 != known {
            self.met.0 = None;
        }
        self.met.0.get_or_insert_with(Instant::now).elapsed()
    }
}

impl Inner {
    /// Claims a slot with memory for `bytes` from its start, past whatever is in the way.
    #[cold]
    pub(super) fn claim_past_holds(&mut self, bytes: usize) -> Result<()> {
        self.attempt(|inner, attempt| inner.claim_with(attempt, bytes))
    }

    /// Moves the ring to larger slots and claims one.
    #[cold]
    pub(super) fn claim_in_larger_segment(&mut self, bytes: usize, wanted: Geometry) -> Result<()> {
        self.attempt(|inner, attempt| {
            inner.move_with(attempt, wanted)?;
            inner.claim_with(attempt, bytes)
        })
    }

    /// Moves the ring to a segment of layout `wanted`. On failure nothing has changed.
    pub(super) fn move_to(&mut self, wanted: Geometry) -> Result<()> {
        self.attempt(|inner, attempt| inner.move_with(attempt, wanted))
    }

    /// One write or move, after which nobody need think that the writer waits.
    fn attempt(&mut self, act: impl FnOnce(&mut Self, &mut Attempt) -> Result<()>) -> Result<()> {
        let mut attempt = Attempt::new();
        let done = act(self, &mut attempt);
        if attempt.stalled.is_some() {
            // Relaxed: what a reader sees of it too late is a wake-up that nobody needs.
            self.control.holds().blocked.store(0, Ordering::Relaxed);
            self.holds.slept = if attempt.slept { self.holds.slept.wrapping_add(1) } else { 0 };
        }
        done
    }

    fn move_with(&mut self, attempt: &mut Attempt, wanted: Geometry) -> Result<()> {
        if self.ring.data.identity().holds {
            while let Err(gated) = self.ring.publisher.pass_gates_to_move(
                &self.ring.data,
                &self.control,
                wanted.slot_count,
                attempt.given_up,
            ) {
                self.wait_for_gates(attempt, gated)?;
            }
        }
        crash::point("roll over: gates passed");
        let moved = roll_over(&self.name, &self.options, &mut self.ring, wanted);
        if moved.is_err() {
            self.ring.publisher.withdraw(&self.ring.data);
        }
        if moved.is_ok() {
            self.rollovers += 1;
            self.count_evictions(attempt);
        }
        moved
    }

    fn claim_with(&mut self, attempt: &mut Attempt, bytes: usize) -> Result<()> {
        loop {
            self.allocate(bytes)?;
            let Ring { data, publisher, .. } = &mut self.ring;
            if !data.identity().holds {
                publisher.claim_unheld(data);
                return Ok(());
            }
            match publisher.claim(data, &self.control, attempt.given_up) {
                Claim::Claimed => {
                    self.count_evictions(attempt);
                    return Ok(());
                }
                Claim::Gated(by) => self.wait_for_gates(attempt, by)?,
                Claim::Leased(by) => self.pass_over(attempt, by)?,
                Claim::Skipped => {
                    self.holds.lease_skips += 1;
                    self.count_skip(attempt)?;
                }
            }
        }
    }

    /// Passes over the next position, which `by` lease, unless they are dead or nothing else is left.
    fn pass_over(&mut self, attempt: &mut Attempt, by: EntryMask) -> Result<()> {
        let mut asked = EntryMask::NONE;
        for index in by.iter() {
            match self.holds.looks_left[index].checked_sub(1) {
                Some(left) => self.holds.looks_left[index] = left,
                None => asked = asked.union(EntryMask::of(index)),
            }
        }
        if self.reclaim(attempt, asked) {
            return Ok(());
        }
        let (data, control) = (&self.ring.data, &self.control);
        if attempt.skipped == 0 && hold::all_leases(data, control).0 >= data.slot_count() {
            return self.refuse_leased(attempt);
        }
        self.ring.publisher.skip(&self.ring.data);
        self.holds.lease_skips += 1;
        self.count_skip(attempt)
    }

    /// After a position was passed over: gives up when every slot was.
    fn count_skip(&mut self, attempt: &mut Attempt) -> Result<()> {
        // What was in the slot is lost to whoever was given up.
        self.count_evictions(attempt);
        attempt.skipped += 1;
        let slot_count = self.ring.data.slot_count();
        let whole_lap = attempt.skipped.is_multiple_of(slot_count);
        // Leases that move along with the writer may be met in turn, with a slot free at any time.
        if whole_lap && hold::all_leases(&self.ring.data, &self.control).0 >= slot_count
            || attempt.skipped >= MOST_SKIPS
        {
            return self.refuse_leased(attempt);
        }
        Ok(())
    }

    fn count_evictions(&mut self, attempt: &mut Attempt) {
        self.holds.evictions += attempt.uncounted.iter().count() as u64;
        attempt.uncounted = EntryMask::NONE;
    }

    /// Refuses a write for which there is no slot, unless one of those who lease them is dead.
    fn refuse_leased(&mut self, attempt: &mut Attempt) -> Result<()> {
        let (_, by) = hold::all_leases(&self.ring.data, &self.control);
        if self.reclaim(attempt, by) {
            return Ok(());
        }
        self.ring.publisher.withdraw(&self.ring.data);
        let mut pids: Vec<u32> = by.iter().map(|index| pid_of(&self.control, index)).collect();
        pids.sort_unstable();
        pids.dedup();
        Err(QADataSwapError::AllSlotsLeased { name: self.name.as_str().to_owned(), pids })
    }

    /// After the gates of `by` refused the next position: waits a little, and comes back for another look,
    /// or does what the options say.
    fn wait_for_gates(&mut self, attempt: &mut Attempt, by: EntryMask) -> Result<()> {
        let first = attempt.stalled.is_none();
        let waited = match attempt.stalled {
            Some(since) => since.elapsed(),
            None => {
                attempt.stalled = Some(Instant::now());
                Duration::ZERO
            }
        };
        // The kernel is asked at first and after each sleep, not while polling.
        let poll = self.holds.poll();
        if (first || waited >= poll) && self.reclaim(attempt, by) {
            return Ok(());
        }
        // Each reader has a grace period of its own, and each write one limit.
        let (limit_ms, waited) = match self.options.on_slow_reader {
            OnSlowReader::Wait { limit_ms } => (limit_ms, waited),
            OnSlowReader::Evict { grace_ms } => (grace_ms, attempt.since_met(by)),
            OnSlowReader::Refuse => (0, waited),
        };
        if first && limit_ms > 0 {
            self.holds.stalls += 1;
        }
        let left = Duration::from_millis(limit_ms).saturating_sub(waited);
        if left.is_zero() {
            if let OnSlowReader::Evict { .. } = self.options.on_slow_reader {
                attempt.given_up = attempt.given_up.union(by);
                attempt.uncounted = attempt.uncounted.union(by);
                return Ok(());
            }
            return Err(self.would_block(by));
        }
        let Ring { data, publisher, .. } = &self.ring;
        let wanted = hold::wanted(publisher.position(), data.slot_count());
        let blocked = &self.control.holds().blocked;
        if waited < poll {
            std::hint::spin_loop();
        } else if !attempt.armed {
            // Relaxed: H1 puts it before the look that comes next. A reader that still misses it costs a
            // slice.
            blocked.store(wanted, Ordering::Relaxed);
            crash::point("wait for gate: blocked stored");
            attempt.armed = true;
        } else {
            futex_wait(blocked, wanted, left.min(SLICE));
            (attempt.armed, attempt.slept) = (false, true);
        }
        Ok(())
    }

    /// Asks about the next of the entries that cost each publish something: those that may lease, and those with a
    /// gate. One that is never in the way would otherwise not be found dead.
    #[cold]
    pub(super) fn ask_about_next_entry(&mut self) {
        let next = self.ring.publisher.position().get();
        self.holds.ask_from = Position::new(next + PUBLISHES_PER_QUESTION);
        let entries = hold::holding(&self.control);
        let next = entries.iter().find(|index| *index > self.holds.asked);
        if let Some(index) = next.or_else(|| entries.iter().next()) {
            self.holds.asked = index;
            let mut attempt = Attempt::new();
            self.reclaim(&mut attempt, EntryMask::of(index));
        }
    }

    /// Takes from the dead among these what they held; whether there was one.
    fn reclaim(&mut self, attempt: &mut Attempt, entries: EntryMask) -> bool {
        let mut any = false;
        for index in entries.iter() {
            if attempt.reclaimed >= MOST_RECLAIMED {
                break;
            }
            // An entry that cannot be asked about counts as alive: waiting for it is bounded.
            if self.control.reclaim_entry(index).unwrap_or(false) {
                attempt.reclaimed += 1;
                self.holds.reclaimed += 1;
                any = true;
            } else {
                self.holds.looks_left[index] = LOOKS_PER_QUESTION;
            }
        }
        any
    }

    /// The error that names the slowest of the readers in the way.
    fn would_block(&self, by: EntryMask) -> QADataSwapError {
        // Relaxed: for the message only.
        let gate = |index: usize| self.control.entry(index).gate.load(Ordering::Relaxed);
        // One that has left meanwhile, or just joins, is behind by nothing.
        let behind = |word: u64| match word {
            0 | Entry::JOINING.. => 0,
            word => self.ring.publisher.position().get().saturating_sub(word - 1),
        };
        let seen = by.iter().map(|index| (behind(gate(index)), index));
        let (behind, slowest) = seen.max_by_key(|(behind, _)| *behind).unwrap_or_default();
        let pid = pid_of(&self.control, slowest);
        QADataSwapError::WouldBlock { name: self.name.as_str().to_owned(), pid, behind }
    }
}

/// What an entry says of its owner; for messages only.
fn pid_of(control: &ControlSegment, index: usize) -> u32 {
    control.entry(index).pid.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_polled_as_long_as_that_helps_and_tried_again_now_and_then() {
        let mut stats = HoldStats::new();
        let mut polled_after = |slept: u32| {
            stats.slept = slept;
            stats.poll() == POLL
        };
        assert!((0..POLLS_IN_VAIN).all(&mut polled_after));
        let later: Vec<_> = (POLLS_IN_VAIN..100).filter(|slept| polled_after(*slept)).collect();
        assert_eq!(later, [16, 32, 48, 64, 80, 96]);
    }
}
