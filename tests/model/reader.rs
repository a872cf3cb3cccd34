//! The model's readers: what each look comes to, and what is counted.

use std::rc::Rc;

use qadataswap::{OnOverrun, Start};

use super::ring::{Leased, Ring, Segment};
use super::{How, Message, Seen, VALUE_BYTES, Way};

/// Where a lossless reader stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    None,
    Held,
    /// It was given up, and has lost so many messages by that.
    Lost(u64),
}

/// A reader's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReaderCounts {
    pub position: u64,
    pub sequence: u64,
    pub consumed: u64,
    pub lost: u64,
    pub overruns: u64,
    pub evictions: u64,
    pub timeouts: u64,
    pub leases: u64,
    /// Positions behind the writer.
    pub lag: u64,
}

#[derive(Debug)]
pub struct Reader {
    pub id: u64,
    how: How,
    segment: usize,
    /// The segment in which it has said that it may lease.
    leases_in: Option<usize>,
    pub gate: Gate,
    /// It moves with messages consumed, and when none is found.
    pub gate_position: u64,
    /// Number of the message that it began with.
    first: u64,
    counts: ReaderCounts,
}

impl Reader {
    fn jump(&mut self, (position, sequence): (u64, u64)) -> u64 {
        let lost = sequence - self.counts.sequence;
        (self.counts.position, self.counts.sequence) = (position, sequence);
        self.counts.lost += lost;
        lost
    }

    /// A lossy reader was lapped, and has lost so much.
    fn overrun(&mut self, lost: u64) -> Option<Seen> {
        if lost == 0 {
            return None;
        }
        self.counts.overruns += 1;
        (self.how.on_overrun == OnOverrun::Error).then_some(Seen::Overrun(lost))
    }

    fn evict(&mut self, lost: u64) -> Seen {
        self.gate = Gate::Lost(lost);
        self.counts.evictions += 1;
        Seen::Evicted(lost)
    }

    fn consume(&mut self) {
        self.counts.consumed += 1;
        self.counts.position += 1;
        self.counts.sequence += 1;
        self.gate_position = self.counts.position;
    }

    /// Goes to half a ring behind the writer, as one that was lapped.
    fn resume(&mut self, segment: &Segment) -> u64 {
        let half = (segment.slots / 2).max(1);
        let target = segment.next.saturating_sub(half).max(segment.first);
        let target = target.max(self.counts.position);
        // In a ring of one slot there may be nothing left.
        let at = segment.find(target).map(|kept| (target, kept.sequence));
        self.jump(at.unwrap_or((segment.next, segment.sequence)))
    }

    /// Goes on in another segment; how many messages are not in it any more.
    fn follow(&mut self, to: usize, segment: &Segment) -> u64 {
        self.segment = to;
        if self.counts.position >= segment.first { 0 } else { self.jump(oldest(segment, 0)) }
    }
}

/// The first position from `floor` on that is there, and its sequence.
fn oldest(segment: &Segment, floor: u64) -> (u64, u64) {
    let kept = segment.oldest_from(floor).map(|kept| (kept.position, kept.sequence));
    kept.unwrap_or((segment.next, segment.sequence))
}

/// What reading `message` in some way gives, and whether that consumes it.
fn read(way: Way, message: &Rc<Message>) -> (Seen, bool) {
    let len = message.bytes.len();
    let whole = || (Seen::Message(message.clone()), true);
    match (way, &message.batches) {
        (Way::Read | Way::ReadTo | Way::Lease, _) => whole(),
        (Way::ReadInto(size), _) if size < len => (Seen::BufferTooSmall(len), false),
        (Way::ReadInto(_), _) => whole(),
        (Way::ReadExact(size), _) if size != len => (Seen::SizeMismatch(len), false),
        (Way::ReadExact(_), _) => whole(),
        (Way::Wait, _) => (Seen::There, false),
        (Way::ReadValue, _) if len != VALUE_BYTES => (Seen::SizeMismatch(len), false),
        (Way::ReadValue, _) => whole(),
        (Way::Skip, _) => (Seen::Skipped, true),
        (_, None) => (Seen::NotArrow, true),
        (Way::ReadArrowZeroCopy | Way::ReadArrowUnchecked, Some(batches)) if batches.len() > 1 => {
            (Seen::NotOneBatch(batches.len()), false)
        }
        (_, Some(_)) => whole(),
    }
}

/// Whether anything of `message` lies in the slot once it was read in this way.
fn leases(way: Way, message: &Message) -> bool {
    let is_empty = message.batches.as_ref().is_some_and(Vec::is_empty);
    way == Way::Lease || way.holds() && !is_empty
}

impl Ring {
    pub fn attach(&mut self, how: How) {
        let segment = self.current();
        let newest = segment.kept.iter().rev().find(|kept| kept.message.is_some());
        let (position, sequence) = match (how.start, newest) {
            (Start::Oldest, _) => oldest(segment, 0),
            (Start::Newest, Some(newest)) => (newest.position, newest.sequence),
            (Start::Newest | Start::Next, _) => (segment.next, segment.sequence),
        };
        self.joins += u64::from(how.lossless);
        self.reader_ids += 1;
        self.readers.push(Reader {
            id: self.reader_ids,
            how,
            segment: self.segments.len() - 1,
            leases_in: None,
            gate: if how.lossless { Gate::Held } else { Gate::None },
            gate_position: position,
            first: sequence,
            counts: ReaderCounts { position, sequence, ..ReaderCounts::default() },
        });
    }

    pub fn reader(&self, index: usize) -> ReaderCounts {
        let reader = &self.readers[index];
        let counts = reader.counts;
        assert_eq!(counts.consumed + counts.lost, counts.sequence - reader.first);
        // One that is in another segment can no longer ask how far the ring has got.
        let known = if self.removed { &self.segments[reader.segment] } else { self.current() };
        let lag = known.next - counts.position;
        ReaderCounts { leases: self.leases_of(reader.id), lag, ..counts }
    }

    /// Number of the message after the last that a reader can get, or be told of.
    pub fn last_for(&self, index: usize) -> u64 {
        let reader = &self.readers[index];
        match reader.gate {
            _ if !self.removed => self.sequence,
            // There is nothing left to join.
            Gate::Lost(_) => reader.counts.sequence,
            Gate::None | Gate::Held => self.segments[reader.segment].sequence,
        }
    }

    fn leases_of(&self, reader: u64) -> u64 {
        self.leases.iter().filter(|lease| lease.reader == reader).count() as u64
    }

    /// What reading in some way comes to, and whether it leaves a lease.
    pub fn read(&mut self, index: usize, way: Way) -> (Seen, bool) {
        let leased = self.leases_of(self.readers[index].id);
        let newest = self.segments.len() - 1;
        let reader = &mut self.readers[index];
        if way.holds() && !reader.how.register && !reader.how.lossless {
            return (Seen::NotRegistered, false);
        }
        if way.holds() && leased >= reader.how.max_leases as u64 {
            return (Seen::TooManyLeases, false);
        }
        if let Gate::Lost(lost) = reader.gate {
            return (Seen::Evicted(lost), false);
        }
        loop {
            let segment = &self.segments[reader.segment];
            let position = reader.counts.position;
            match segment.find(position).map(|kept| &kept.message) {
                Some(None) => reader.counts.position += 1,
                Some(Some(message)) => {
                    if way.holds()
                        && reader.leases_in.replace(reader.segment) != Some(reader.segment)
                    {
                        self.joins += 1;
                    }
                    let (seen, consumed) = read(way, message);
                    if !consumed {
                        return (seen, false);
                    }
                    reader.consume();
                    let leased = leases(way, message) && seen != Seen::NotArrow;
                    if leased {
                        let slot = position % segment.slots;
                        let (reader, segment) = (reader.id, reader.segment);
                        self.leases.push(Leased { reader, segment, slot });
                    }
                    return (seen, leased);
                }
                None if position < segment.next && way == Way::Wait => return (Seen::There, false),
                // Overwritten.
                None if position < segment.next => {
                    if reader.gate == Gate::Held {
                        let lost = reader.jump(oldest(segment, position));
                        return (reader.evict(lost), false);
                    }
                    let lost = reader.resume(segment);
                    if let Some(told) = reader.overrun(lost) {
                        return (told, false);
                    }
                }
                None => {
                    reader.gate_position = position;
                    if reader.segment < newest && !self.removed {
                        let lost = reader.follow(newest, &self.segments[newest]);
                        if reader.gate == Gate::Held && lost > 0 {
                            return (reader.evict(lost), false);
                        }
                        if let Some(told) = reader.overrun(lost) {
                            return (told, false);
                        }
                        continue;
                    }
                    if self.closed {
                        return (Seen::Closed, false);
                    }
                    reader.counts.timeouts += u64::from(way != Way::Wait);
                    return (Seen::Nothing, false);
                }
            }
        }
    }

    /// What a reader that was given up loses besides when it joins again.
    pub fn rejoin(&mut self, index: usize) -> u64 {
        let newest = self.segments.len() - 1;
        let reader = &mut self.readers[index];
        if !matches!(reader.gate, Gate::Lost(_)) {
            return 0;
        }
        let before = reader.counts.lost;
        let segment = &self.segments[newest];
        if reader.segment < newest {
            reader.follow(newest, segment);
        }
        reader.jump(oldest(segment, reader.counts.position));
        reader.gate = Gate::Held;
        reader.gate_position = reader.counts.position;
        self.joins += 1;
        reader.counts.lost - before
    }
}
