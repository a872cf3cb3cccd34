//! What a reader works on: its place in the ring, how it waits, follows the ring, counts, and holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attach;
use super::registration::Registration;
use super::source::{Leasing, Source};
use super::{OnOverrun, ReaderOptions, ReaderStats};
use crate::Start;
use crate::error::{HoldsReason, QADataSwapError, Result};
use crate::layout::{DataSegment, EntryKind, RingState, SlotTable};
use crate::name::RingName;
use crate::ring::consume::{Cursor, Look};
use crate::ring::{Position, wake};
use crate::shm;
use crate::sync::{AtomicU64, Ordering, load_acquire, load_acquire_u32};
use crate::wait::{POLLS_PER_CLOCK, Step, Wait, futex_wait};

/// How often a reader that finds nothing looks whether its segment still is the ring's.
const ORPHAN_CHECK: Duration = Duration::from_millis(100);
/// Looks that find nothing between two looks at the clock, for readers that never wait.
const LOOKS_PER_ORPHAN_CLOCK: u32 = 1024;
/// Tries to set up a gate again before an evicted reader is told that it cannot be.
const REJOIN_TRIES: u32 = 1_000;

impl Drop for Inner {
    fn drop(&mut self) {
        // The entry may live on for its leases. In a forked child the gate is still the parent's.
        if let (Gate::Held, Ok(registration)) = (self.gate, &self.registration)
            && self.made_in == shm::fork_generation()
        {
            registration.leave();
        }
    }
}

/// Where a lossless reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// The reader is a lossy one.
    None,
    /// Nothing from its position on is overwritten.
    Held,
    /// The writer has given it up.
    Lost {
        /// Messages lost by that so far.
        lost: u64,
    },
}

/// What the `&self` methods work on. No method calls back into user code while it is borrowed.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: RingName,
    pub(super) options: ReaderOptions,
    pub(super) data: Arc<DataSegment>,
    pub(super) cursor: Cursor,
    registration: std::result::Result<Arc<Registration>, HoldsReason>,
    /// Whether writers of this segment look at the registration's control segment (see [`Self::attach_next`]).
    is_looked_at: bool,
    pub(super) gate: Gate,
    /// Position that the gate stands at.
    gate_position: Position,
    leasing: Leasing,
    consumed: u64,
    lost: u64,
    overruns: u64,
    timeouts: u64,
    evictions: u64,
    /// The fork generation it was made in.
    made_in: u64,
    /// When the segment was last found to be the ring's.
    checked: Instant,
    looks_since_check: u32,
}

impl Inner {
    pub(super) fn attach(name: RingName, options: ReaderOptions) -> Result<Self> {
        let (data, cursor, registration) = if options.lossless {
            let joined = attach::lossless(&name, &options)?;
            (joined.data, joined.cursor, Ok(joined.registration))
        } else {
            let data = attach::data_segment(&name, &options)?;
            let registration = attach::register(&name, &options, &data, EntryKind::Lossy);
            let cursor = attach::cursor(&name, &data, options.start, Position::new(0))?;
            (data, cursor, registration)
        };
        let inner = Self {
            name,
            gate: if options.lossless { Gate::Held } else { Gate::None },
            gate_position: cursor.position(),
            options,
            data: Arc::new(data),
            cursor,
            registration: registration.map(Arc::new),
            is_looked_at: true,
            leasing: Leasing::default(),
            consumed: 0,
            lost: 0,
            overruns: 0,
            timeouts: 0,
            evictions: 0,
            made_in: shm::fork_generation(),
            checked: Instant::now(),
            looks_since_check: 0,
        };
        inner.show();
        Ok(inner)
    }

    #[inline(always)]
    pub(super) fn source(&self) -> Source<'_> {
        Source {
            name: &self.name,
            data: &self.data,
            registration: &self.registration,
            is_looked_at: self.is_looked_at,
            leasing: &self.leasing,
            max_leases: self.options.max_leases,
        }
    }

    /// Before a message is leased: whether that can be.
    pub(super) fn prepare_to_lease(&mut self) -> Result<()> {
        // Nothing was leased from this segment yet.
        if !self.leasing.has_begun() {
            self.register_again()?;
        }
        self.source().check_can_lease()
    }

    pub(super) fn stats(&self) -> ReaderStats {
        let position = self.cursor.position().get();
        ReaderStats {
            consumed: self.consumed,
            lost: self.lost,
            overruns: self.overruns,
            timeouts: self.timeouts,
            position,
            sequence: self.cursor.sequence(),
            lag: self.published().saturating_sub(position),
            registered: self.registration.is_ok(),
            leases: self.registration.as_ref().map_or(0, |r| r.lease_count() as u64),
            evictions: self.evictions,
        }
    }

    /// After a look that found nothing: waits a little. `false` if the time is up, which the caller counts.
    #[inline(always)]
    pub(super) fn wait(&mut self, wait: &mut Wait) -> Result<bool> {
        // The look may have passed over skipped positions.
        if self.gate_position != self.cursor.position() {
            self.move_gate();
        }
        let step = wait.step(self.registration.is_ok());
        if step == Step::Poll {
            self.cursor.watch(&*self.data, POLLS_PER_CLOCK);
            return Ok(true);
        }
        self.wait_slowly(step)
    }

    fn wait_slowly(&mut self, step: Step) -> Result<bool> {
        if self.follow(step)? {
            return Ok(true);
        }
        match step {
            Step::Poll | Step::PollAll => {}
            Step::Expired => return Ok(false),
            Step::Yield => std::thread::yield_now(),
            Step::Sleep(limit) => {
                let live = self.data.live();
                let token = match &self.registration {
                    Ok(registration) => wake::announce(live, registration.waiters()),
                    Err(_) => load_acquire_u32(&live.wake_sequence),
                };
                // Published, ended or superseded since the last look? All of these move the word on
                // after this, if not before.
                if self.state()? == RingState::Open
                    && wake::may_sleep(&*self.data, &mut self.cursor)
                {
                    futex_wait(&live.wake_sequence, token, limit);
                }
            }
        }
        Ok(true)
    }

    /// One past the last position published, in whatever segment.
    fn published(&self) -> u64 {
        if let Ok(RingState::Superseded) = self.state()
            && let Ok(next) = attach::try_data_segment(&self.name, &self.options)
            && next.identity().ring_id == self.data.identity().ring_id
        {
            return load_acquire(&next.live().published);
        }
        load_acquire(&self.data.live().published)
    }

    fn state(&self) -> Result<RingState> {
        // Acquire: whoever sees the ring ended sees all that was published before.
        let word = load_acquire_u32(&self.data.header().owner.state);
        RingState::from_word(word).ok_or_else(|| QADataSwapError::Damaged {
            name: self.name.as_str().to_owned(),
            field: "state",
            found: word.into(),
            expected: RingState::Superseded as u64,
        })
    }

    /// Looks at what changes rarely. `true` if there may be a message after all; an error if there will
    /// be none.
    fn follow(&mut self, step: Step) -> Result<bool> {
        match self.state()? {
            RingState::Open => self.check_orphan(step),
            ended => {
                // What was published before the end is visible by now.
                if !matches!(self.cursor.look(&*self.data), Look::Nothing) {
                    return Ok(true);
                }
                match ended {
                    RingState::Superseded => self.attach_next(),
                    _ => Err(QADataSwapError::Closed),
                }
            }
        }
    }

    /// Every now and then: whether the segment still is the ring's.
    fn check_orphan(&mut self, step: Step) -> Result<bool> {
        // A reader that polls without waiting should not pay for the clock each time.
        self.looks_since_check += 1;
        if step == Step::Expired && self.looks_since_check < LOOKS_PER_ORPHAN_CLOCK {
            return Ok(false);
        }
        self.looks_since_check = 0;
        if self.checked.elapsed() < ORPHAN_CHECK {
            return Ok(false);
        }
        self.checked = Instant::now();
        self.register_again()?;
        let on_ring = |error: shm::SysError| error.on_ring(self.name.as_str());
        let unlinked = self.data.segment().is_unlinked().map_err(on_ring)?;
        if !unlinked || self.data.has_live_writer().map_err(on_ring)? {
            return Ok(false);
        }
        // Its last writer may have published just before it died.
        if !matches!(self.cursor.look(&*self.data), Look::Nothing) {
            return Ok(true);
        }
        self.attach_next()
    }

    /// Takes an entry in the control segment that is there now, if the reader has none or lost its own.
    fn register_again(&mut self) -> Result<()> {
        if self.registration.as_ref().is_ok_and(|registration| !registration.is_orphaned()) {
            return Ok(());
        }
        let kind = if self.gate == Gate::None { EntryKind::Lossy } else { EntryKind::Gating };
        match attach::register(&self.name, &self.options, &self.data, kind) {
            Ok(mut registration) => {
                if let Ok(before) = &self.registration {
                    registration.follow(before);
                }
                self.registration = Ok(Arc::new(registration));
                self.is_looked_at = true;
            }
            // The old entry is good for this segment. (The ring may have been removed, with all that is in it.)
            Err(_) if self.registration.is_ok() && self.is_looked_at => return Ok(()),
            // A gate that nobody looks at any more is worth nothing, but nothing is lost yet either.
            Err(_) if self.gate == Gate::Held => return Ok(()),
            Err(reason) => self.registration = Err(reason),
        }
        self.leasing = Leasing::default();
        self.show();
        if self.gate == Gate::Held {
            let before = self.lost;
            self.set_up_gate()?;
            let lost = self.lost - before;
            if lost > 0 {
                self.lost = before;
                return Err(self.evict(lost));
            }
        }
        Ok(())
    }

    /// Goes on in the segment that has the ring's name now.
    fn attach_next(&mut self) -> Result<bool> {
        // Marked superseded and not superseded: a damaged mark. Whoever takes the ring over puts it right.
        let on_ring = |error: shm::SysError| error.on_ring(self.name.as_str());
        if !self.data.segment().is_unlinked().map_err(on_ring)? {
            return Ok(false);
        }
        let next = match attach::try_data_segment(&self.name, &self.options) {
            // Removed, or removed and made anew: either way this ring has ended.
            Err(QADataSwapError::NotFound { .. }) => return Err(QADataSwapError::Closed),
            Err(QADataSwapError::ReadTimeout) => return Ok(false),
            result => result?,
        };
        if next.identity().ring_id != self.data.identity().ring_id {
            return Err(QADataSwapError::Closed);
        }
        if self.gate == Gate::Held && !next.identity().holds {
            return Err(HoldsReason::Disabled.on_ring(&self.name));
        }
        self.data = Arc::new(next);
        self.leasing = Leasing::default();
        // A control segment that has its name after the data segment was opened by its own is the one that
        // writers of that data segment look at: whoever makes another moves to another data segment first.
        self.is_looked_at = self.registration.as_ref().is_ok_and(|r| !r.is_orphaned());
        self.checked = Instant::now();
        // The ring may have moved more than once meanwhile, so that this segment begins later.
        let known = self.data.identity().first_position..=load_acquire(&self.data.live().published);
        if !known.contains(&self.cursor.position().get()) {
            let oldest = attach::cursor(&self.name, &self.data, Start::Oldest, Position::new(0))?;
            let lost = self.cursor.jump(oldest.position(), oldest.sequence());
            match self.gate {
                Gate::None => self.count_overrun(lost).map_or(Ok(()), Err)?,
                Gate::Held if lost > 0 => return Err(self.evict(lost)),
                Gate::Held | Gate::Lost { .. } => self.lost = self.lost.saturating_add(lost),
            }
        }
        // A writer that found no sound control segment has made another, and another data segment with it.
        self.register_again()?;
        Ok(true)
    }

    /// After many overruns in a row without progress: leaves a ring that has ended. Nobody writes into it any
    /// more, so that what cannot be read now never can.
    #[cold]
    pub(super) fn leave_ended(&mut self) -> Result<bool> {
        let ended = self.state()?;
        if ended == RingState::Open {
            return Ok(false);
        }
        // The looks so far may have been before the end: what is there now stays.
        if let Look::Message(found) = self.cursor.look(&*self.data)
            && found.is_intact()
        {
            return Ok(true);
        }
        if let Some(lost) = self.cursor.resume(&*self.data) {
            return self.count_overrun(lost).map_or(Ok(true), Err);
        }
        match ended {
            RingState::Superseded => self.attach_next(),
            _ => Err(QADataSwapError::Closed),
        }
    }

    /// After many overruns in a row without progress: whether the slot can be true at all.
    #[cold]
    pub(super) fn check_lapping(&mut self) -> Result<()> {
        let slot_count = self.data.slot_count();
        let slot = self.data.slot(self.cursor.position().index(slot_count));
        let word = load_acquire(&slot.head.generation);
        let published = load_acquire(&self.data.live().published);
        if published >= Position::LIMIT.get() {
            return Err(QADataSwapError::Damaged {
                name: self.name.as_str().to_owned(),
                field: "published",
                found: published,
                expected: self.cursor.position().get(),
            });
        }
        // A writer is at most one lap of skipped slots ahead of what it announced.
        let limit = published.saturating_add(slot_count);
        if word >> 2 > limit {
            return Err(QADataSwapError::Damaged {
                name: self.name.as_str().to_owned(),
                field: "slot generation",
                found: word,
                expected: limit << 2,
            });
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn count_consumed(&mut self, missing: u64) {
        self.consumed += 1;
        self.lost = self.lost.saturating_add(missing);
        if self.gate == Gate::Held {
            self.move_gate();
        }
        if let Ok(registration) = &self.registration {
            let entry = registration.entry();
            // Relaxed: for operators.
            entry.position.store(self.cursor.position().get(), Ordering::Relaxed);
            entry.consumed.store(self.consumed, Ordering::Relaxed);
        }
    }

    pub(super) fn count_overrun(&mut self, lost: u64) -> Option<QADataSwapError> {
        if lost == 0 {
            return None;
        }
        self.lost = self.lost.saturating_add(lost);
        self.overruns += 1;
        self.show();
        (self.options.on_overrun == OnOverrun::Error).then_some(QADataSwapError::Overrun { lost })
    }

    pub(super) fn count_timeout(&mut self) {
        self.timeouts += 1;
        if let Ok(registration) = &self.registration {
            registration.entry().timeouts.store(self.timeouts, Ordering::Relaxed);
        }
    }

    /// Gives up what is before the cursor.
    #[inline(always)]
    fn move_gate(&mut self) {
        self.gate_position = self.cursor.position();
        if let (Gate::Held, Ok(registration)) = (self.gate, &self.registration) {
            registration.move_gate(self.gate_position);
        }
    }

    /// The writer has overwritten what this reader's gate covered: it was given up.
    #[cold]
    pub(super) fn count_evicted(&mut self) -> QADataSwapError {
        // The writer may go round the ring while this looks; what it then takes is counted by `rejoin`.
        let resumed = (0..REJOIN_TRIES).find_map(|_| self.cursor.resume_at_oldest(&*self.data));
        let lost = resumed.unwrap_or(0);
        self.evict(lost)
    }

    fn evict(&mut self, lost: u64) -> QADataSwapError {
        self.gate = Gate::Lost { lost };
        self.evictions += 1;
        self.lost = self.lost.saturating_add(lost);
        if let Ok(registration) = &self.registration {
            registration.leave();
        }
        self.show();
        QADataSwapError::Evicted { lost }
    }

    /// Makes an evicted reader lossless again. Returns how many messages that lost besides.
    pub(super) fn rejoin(&mut self) -> Result<u64> {
        let before = self.lost;
        let on_ring = |error: shm::SysError| error.on_ring(self.name.as_str());
        if self.data.segment().is_unlinked().map_err(on_ring)? {
            self.attach_next()?;
        }
        self.register_again()?;
        if let Err(reason) = &self.registration {
            return Err(reason.on_ring(&self.name));
        }
        if !self.data.identity().holds {
            return Err(HoldsReason::Disabled.on_ring(&self.name));
        }
        self.set_up_gate()?;
        Ok(self.lost - before)
    }

    /// Sets up the gate at the cursor, or at the oldest message after it that is still there, and counts what
    /// was lost by that. Without success there is no gate.
    fn set_up_gate(&mut self) -> Result<()> {
        let result = self.try_to_set_up_gate();
        if result.is_err() {
            // One that is half set up would hold the writer up.
            if let Ok(registration) = &self.registration {
                registration.leave();
            }
            if self.gate == Gate::Held {
                self.evict(0);
            }
        }
        result
    }

    fn try_to_set_up_gate(&mut self) -> Result<()> {
        for _ in 0..REJOIN_TRIES {
            let Ok(registration) = self.registration.clone() else { break };
            let floor = registration.join(&self.data).max(self.cursor.position());
            attach::check_claimed(&self.name, &self.data)?;
            let found = attach::cursor(&self.name, &self.data, Start::Oldest, floor)?;
            // The header may lag behind what was consumed.
            let at = found.position().max(self.cursor.position());
            let settled = registration.settle_gate(&self.data, at);
            // As in `attach::lossless`.
            let on_ring = |error: shm::SysError| error.on_ring(self.name.as_str());
            if self.data.segment().is_unlinked().map_err(on_ring)? {
                self.attach_next()?;
                continue;
            }
            if !settled {
                continue;
            }
            if at == found.position() {
                let lost = self.cursor.jump(at, found.sequence());
                self.lost = self.lost.saturating_add(lost);
            }
            self.gate = Gate::Held;
            self.gate_position = self.cursor.position();
            self.show();
            return Ok(());
        }
        let Gate::Lost { lost } = self.gate else {
            return Err(QADataSwapError::Evicted { lost: 0 });
        };
        Err(QADataSwapError::Evicted { lost })
    }

    /// Gives up the message just passed, which cannot be what was published.
    #[cold]
    pub(super) fn count_corrupt(
        &mut self,
        missing: u64,
        field: &'static str,
        found: u64,
    ) -> QADataSwapError {
        self.lost = self.lost.saturating_add(missing + 1);
        if self.gate == Gate::Held {
            self.move_gate();
        }
        self.show();
        let position = self.cursor.position().get() - 1;
        QADataSwapError::CorruptMessage { position, field, found }
    }

    /// Brings the reader's entry up to date.
    fn show(&self) {
        let Ok(registration) = &self.registration else { return };
        let entry = registration.entry();
        let shown: [(&AtomicU64, u64); 5] = [
            (&entry.position, self.cursor.position().get()),
            (&entry.consumed, self.consumed),
            (&entry.lost, self.lost),
            (&entry.overruns, self.overruns),
            (&entry.timeouts, self.timeouts),
        ];
        for (word, value) in shown {
            // Relaxed: for operators.
            word.store(value, Ordering::Relaxed);
        }
    }
}
