//! The model's ring and writer: queues, what is claimed, skipped, refused, moved.

use std::collections::VecDeque;
use std::rc::Rc;

use qadataswap::OnSlowReader;

use super::reader::{Gate, Reader};
use super::{Config, Message};

/// Why there was no slot for a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// A lossless reader is so many positions behind.
    WouldBlock {
        behind: u64,
    },
    AllSlotsLeased,
    TooLarge {
        needed_bytes: usize,
        available_bytes: usize,
    },
}

/// A writer's counters, and its ring as it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WriterCounts {
    pub slots: u64,
    pub capacity: usize,
    pub position: u64,
    pub sequence: u64,
    pub published: u64,
    pub published_bytes: u64,
    pub rollovers: u64,
    pub epoch: u64,
    pub lease_skips: u64,
    pub stalls: u64,
    pub evictions: u64,
}

/// A position that is in its slot.
#[derive(Clone, Debug)]
pub struct Kept {
    pub position: u64,
    /// Of the message; of the next one, if this was skipped.
    pub sequence: u64,
    /// `None` if it was skipped.
    pub message: Option<Rc<Message>>,
}

#[derive(Debug)]
pub struct Segment {
    pub slots: u64,
    pub capacity: usize,
    pub first: u64,
    pub kept: VecDeque<Kept>,
    /// One past the last position published.
    pub next: u64,
    /// Sequence of the message there.
    pub sequence: u64,
}

impl Segment {
    pub fn find(&self, position: u64) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.position == position)
    }

    /// The first that is there from a position on.
    pub fn oldest_from(&self, position: u64) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.position >= position)
    }
}

/// A slot that is leased.
#[derive(Debug)]
pub struct Leased {
    pub reader: u64,
    pub segment: usize,
    pub slot: u64,
}

pub struct Ring {
    pub config: Config,
    pub segments: Vec<Segment>,
    pub sequence: u64,
    pub closed: bool,
    /// Nobody finds it by its name any more.
    pub removed: bool,
    writer: Option<WriterCounts>,
    epoch: u64,
    /// Gates that were set up so far.
    pub joins: u64,
    /// A position for which the gates were passed, and `joins` then: they are not asked again for it.
    passed: Option<(u64, u64)>,
    pub readers: Vec<Reader>,
    pub reader_ids: u64,
    /// As many as are held, in the same order.
    pub leases: Vec<Leased>,
}

/// What one write has come to so far.
#[derive(Default)]
struct Attempt {
    given_up: Vec<u64>,
    /// Of these, so many are not counted yet: nothing was overwritten.
    uncounted: u64,
    stalled: bool,
    skipped: u64,
}

impl Ring {
    pub fn new(config: Config, slots: u64, capacity: usize) -> Self {
        let kept = VecDeque::new();
        Self {
            config,
            segments: vec![Segment { slots, capacity, first: 0, kept, next: 0, sequence: 0 }],
            sequence: 0,
            closed: false,
            removed: false,
            writer: None,
            epoch: 0,
            joins: 0,
            passed: None,
            readers: Vec::new(),
            reader_ids: 0,
            leases: Vec::new(),
        }
    }

    pub fn current(&self) -> &Segment {
        self.segments.last().expect("there always is one")
    }

    fn current_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("there always is one")
    }

    pub fn has_writer(&self) -> bool {
        self.writer.is_some()
    }

    fn counts(&mut self) -> &mut WriterCounts {
        self.writer.as_mut().expect("asked for before")
    }

    pub fn writer(&self) -> Option<WriterCounts> {
        let current = self.current();
        self.writer.map(|counts| WriterCounts {
            slots: current.slots,
            capacity: current.capacity,
            position: current.next,
            sequence: self.sequence,
            epoch: self.epoch,
            ..counts
        })
    }

    /// Takes the next slot for a message of `len` bytes.
    pub fn claim(&mut self, len: usize) -> Result<(), Refusal> {
        let mut attempt = Attempt::default();
        let Segment { slots, capacity, .. } = *self.current();
        if len > capacity {
            if !self.config.rollover {
                return Err(Refusal::TooLarge { needed_bytes: len, available_bytes: capacity });
            }
            self.move_to(&mut attempt, slots, (2 * capacity).max(len.next_power_of_two()))?;
        }
        let index = self.segments.len() - 1;
        loop {
            let Segment { slots, next, .. } = *self.current();
            if self.passed != Some((next, self.joins)) {
                self.pass_gates(&mut attempt, |gate| gate + slots == next)?;
                let for_good = attempt.given_up.is_empty();
                self.passed = for_good.then_some((next, self.joins));
            }
            let mut leased: Vec<u64> =
                self.leases.iter().filter(|l| l.segment == index).map(|l| l.slot).collect();
            leased.sort_unstable();
            leased.dedup();
            if !leased.contains(&(next % slots)) {
                self.count_evictions(&mut attempt);
                self.overwrite();
                return Ok(());
            }
            let all = leased.len() as u64 == slots;
            if attempt.skipped == 0 && all {
                return Err(Refusal::AllSlotsLeased);
            }
            self.count_evictions(&mut attempt);
            self.overwrite();
            let (sequence, message) = (self.sequence, None);
            self.keep(Kept { position: next, sequence, message });
            self.counts().lease_skips += 1;
            attempt.skipped += 1;
            // All leases stay where they are.
            assert!(attempt.skipped < slots, "there is a slot that is not leased");
        }
    }

    fn count_evictions(&mut self, attempt: &mut Attempt) {
        self.counts().evictions += std::mem::take(&mut attempt.uncounted);
    }

    /// The message goes to the slot that was claimed.
    pub fn publish(&mut self, message: Rc<Message>) {
        let (position, sequence) = (self.current().next, self.sequence);
        let counts = self.counts();
        counts.published += 1;
        counts.published_bytes += message.bytes.len() as u64;
        self.sequence += 1;
        self.keep(Kept { position, sequence, message: Some(message) });
    }

    /// What was in the next slot is gone.
    fn overwrite(&mut self) {
        let Segment { slots, next, .. } = *self.current();
        let kept = &mut self.current_mut().kept;
        while kept.front().is_some_and(|kept| kept.position + slots <= next) {
            kept.pop_front();
        }
    }

    fn keep(&mut self, kept: Kept) {
        let sequence = self.sequence;
        let current = self.current_mut();
        current.kept.push_back(kept);
        current.next += 1;
        current.sequence = sequence;
    }

    /// Whether the gates that are in the way (of what is to be done, and `is_in_the_way` of their positions) can
    /// be passed.
    fn pass_gates(
        &mut self,
        attempt: &mut Attempt,
        is_in_the_way: impl Fn(u64) -> bool,
    ) -> Result<(), Refusal> {
        let next = self.current().next;
        let is_gate = |reader: &&Reader| {
            reader.gate == Gate::Held
                && is_in_the_way(reader.gate_position)
                && !attempt.given_up.contains(&reader.id)
        };
        let gated: Vec<(u64, u64)> =
            self.readers.iter().filter(is_gate).map(|r| (r.id, r.gate_position)).collect();
        let Some(slowest) = gated.iter().map(|(_, gate)| *gate).min() else { return Ok(()) };
        let (limit_ms, evicts) = match self.config.on_slow_reader {
            OnSlowReader::Wait { limit_ms } => (limit_ms, false),
            OnSlowReader::Evict { grace_ms } => (grace_ms, true),
            OnSlowReader::Refuse => (0, false),
        };
        if limit_ms > 0 && !attempt.stalled {
            self.counts().stalls += 1;
        }
        attempt.stalled = true;
        if !evicts {
            return Err(Refusal::WouldBlock { behind: next - slowest });
        }
        attempt.uncounted += gated.len() as u64;
        attempt.given_up.extend(gated.iter().map(|(id, _)| *id));
        Ok(())
    }

    /// The ring moves to a segment with these slots, which keeps one free.
    fn move_to(
        &mut self,
        attempt: &mut Attempt,
        slots: u64,
        capacity: usize,
    ) -> Result<(), Refusal> {
        let Segment { slots: before, next, .. } = *self.current();
        let passed = self.pass_gates(attempt, |gate| gate + slots <= next && next <= gate + before);
        self.passed = None;
        passed?;
        let oldest = next.saturating_sub(before.min(slots - 1));
        let old = self.current();
        let kept: VecDeque<Kept> =
            old.kept.iter().filter(|kept| kept.position >= oldest).cloned().collect();
        let first = kept.front().map_or(next, |kept| kept.position);
        let sequence = self.sequence;
        self.segments.push(Segment { slots, capacity, first, kept, next, sequence });
        self.counts().rollovers += 1;
        self.count_evictions(attempt);
        Ok(())
    }

    pub fn take_over(&mut self, slots: u64) -> Result<(), Refusal> {
        self.writer = Some(WriterCounts::default());
        self.epoch += 1;
        self.closed = false;
        self.passed = None;
        let Segment { slots: before, capacity, .. } = *self.current();
        if before != slots {
            let moved = self.move_to(&mut Attempt::default(), slots, capacity);
            if moved.is_err() {
                self.writer = None;
            }
            return moved;
        }
        Ok(())
    }

    pub fn close(&mut self) {
        self.writer = None;
        self.closed = true;
    }
}
