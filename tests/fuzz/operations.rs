//! What one writer and several readers do, in any order, against a plain list of what was published: a
//! lossless reader sees everything in order, what a lossy one consumed and lost adds up, nothing is lost that
//! was not overwritten, and what is held does not change.
//!
//! Input: what the writer does about slow readers, how many slots there are, then what is done.

use std::collections::VecDeque;
use std::sync::Arc;

use qadataswap::arrow_array::{Int64Array, RecordBatch};
use qadataswap::{
    Lease, OnOverrun, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Start, Writer,
    WriterOptions,
};

use super::Input;
use crate::support::{RingName, numbered, raw};

const MOST_ACTIONS: usize = 250;
const MOST_READERS: usize = 6;
const CAPACITY: usize = 64;
/// Messages do not get longer than so many bytes by making them too long for a slot.
const MOST_BYTES: usize = 4096;
/// For reads into a buffer.
const BUFFER_BYTES: usize = 48;

pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = raw::Random(5);
    let mut seeds = Vec::new();
    for slots in 0..6 {
        // Mostly writes and reads.
        let actions = (0..60).flat_map(|_| match random.below(16) {
            0..5 => vec![0, random.next() as u8],
            5..10 => vec![5, random.next() as u8, random.next() as u8],
            _ => vec![random.below(12) as u8, random.next() as u8, random.next() as u8],
        });
        seeds.push([slots, slots].into_iter().chain(actions).collect());
    }
    seeds
}

/// What was published, by its number in the ring.
#[derive(Clone, Copy)]
enum Message {
    Bytes(usize),
    Batch,
}

struct Attached {
    reader: Reader,
    lossless: bool,
    /// A lossless one that was given up.
    evicted: bool,
    /// Where the gate of a lossless one stands: it moves with messages consumed, and when none is found.
    gate: u64,
    on_overrun: OnOverrun,
    max_leases: usize,
    /// Number of the message that it began with.
    first: u64,
}

/// A message that is held, and its number.
enum Held {
    Lease(Lease, u64),
    Batch(RecordBatch, u64),
}

struct World {
    name: RingName,
    on_slow_reader: OnSlowReader,
    slots: u64,
    capacity: usize,
    /// `None` after a takeover that was refused.
    writer: Option<Writer>,
    messages: Vec<Message>,
    /// First position that was not overwritten.
    oldest: u64,
    /// Position and number of each message from there on.
    kept: VecDeque<(u64, u64)>,
    readers: Vec<Attached>,
    held: Vec<Held>,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let policies = [OnSlowReader::Refuse, OnSlowReader::Evict { grace_ms: 0 }];
    let on_slow_reader = policies[input.below(2) as usize];
    let slots = 1 + input.below(6);
    let name = RingName::new("fuzz-operations");
    let mut world = World {
        on_slow_reader,
        slots,
        capacity: CAPACITY,
        writer: None,
        messages: Vec::new(),
        oldest: 0,
        kept: VecDeque::new(),
        readers: Vec::new(),
        held: Vec::new(),
        name,
    };
    world.take_over(slots);
    world.attach(&mut Input::new(&[0]));
    world.attach(&mut Input::new(&[1]));
    for _ in 0..MOST_ACTIONS {
        if input.is_empty() {
            break;
        }
        world.act(&mut input);
        world.held.iter().for_each(Held::check);
    }
    world.finish();
}

fn message(number: u64, len: usize) -> Vec<u8> {
    numbered::message(number, len)
}

fn batch(number: u64) -> RecordBatch {
    let column: Int64Array = (0..20).map(|row| Some(number as i64 * 31 + row)).collect();
    RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap()
}

impl Held {
    fn check(&self) {
        match self {
            Self::Lease(lease, number) => assert_eq!(numbered::number_of(lease), *number),
            Self::Batch(found, number) => assert_eq!(*found, batch(*number)),
        }
    }
}

impl World {
    fn act(&mut self, input: &mut Input<'_>) {
        match input.byte() % 12 {
            0 | 1 => {
                let len = 8 + input.byte() as usize % (CAPACITY - 7);
                let message = message(self.next(), len);
                self.publish(Message::Bytes(len), |writer| writer.write(&message));
            }
            2 => self.reserve(input),
            3 => {
                let batch = batch(self.next());
                self.publish(Message::Batch, |writer| writer.write_arrow(&batch));
            }
            4 => {
                let len = self.capacity + 1;
                if len <= MOST_BYTES {
                    let message = message(self.next(), len);
                    self.publish(Message::Bytes(len), |writer| writer.write(&message));
                }
            }
            5 | 6 => {
                if !self.readers.is_empty() {
                    let index = input.byte() as usize % self.readers.len();
                    self.read(index, input.byte());
                }
            }
            7 => self.attach(input),
            8 => {
                if !self.readers.is_empty() {
                    self.readers.remove(input.byte() as usize % self.readers.len());
                }
            }
            9 => {
                if !self.held.is_empty() {
                    self.held.remove(input.byte() as usize % self.held.len());
                }
            }
            10 => self.take_over(self.slots),
            _ => self.take_over(1 + input.below(6)),
        }
    }

    /// Number of the next message.
    fn next(&self) -> u64 {
        self.messages.len() as u64
    }

    fn is_kept(&self, number: u64) -> bool {
        self.kept.iter().any(|(_, kept)| *kept == number)
    }

    /// What is before `oldest` has been overwritten.
    fn forget(&mut self, oldest: u64) {
        self.oldest = self.oldest.max(oldest);
        while self.kept.front().is_some_and(|(position, _)| *position < self.oldest) {
            self.kept.pop_front();
        }
    }

    /// All before `end` has been claimed.
    fn claimed(&mut self, end: u64) {
        self.forget(end.saturating_sub(self.slots));
    }

    /// After the writer may have moved to slots of another size or number.
    fn follow(&mut self, position_before: u64) {
        let writer = self.writer.as_ref().expect("just used");
        let (slots, capacity) = (writer.slot_count() as u64, writer.slot_capacity());
        if (slots, capacity) != (self.slots, self.capacity) {
            // One slot of the new segment stays free.
            let retained = self.slots.min(slots - 1);
            self.forget(position_before.saturating_sub(retained));
            (self.slots, self.capacity) = (slots, capacity);
        }
    }

    fn publish(&mut self, what: Message, write: impl FnOnce(&Writer) -> Result<()>) {
        let Some(writer) = &self.writer else { return };
        let before = writer.stats().position;
        let result = write(writer);
        let after = writer.stats();
        self.follow(before);
        match result {
            Ok(()) => {
                self.messages.push(what);
                self.kept.push_back((after.position - 1, after.message_count - 1));
                self.claimed(after.position);
            }
            Err(error) => {
                self.claimed(after.position);
                self.assert_refused(error, self.slots, after.position);
            }
        }
        assert_eq!(after.message_count, self.next());
        self.assert_gates_kept();
    }

    fn reserve(&mut self, input: &mut Input<'_>) {
        let number = self.next();
        let (len, publish) =
            (8 + input.below(CAPACITY as u64 - 7) as usize, !input.byte().is_multiple_of(4));
        let Some(writer) = &mut self.writer else { return };
        let before = writer.stats().position;
        let result = writer.reserve(len).map(|mut slot| {
            if publish {
                // The other half first.
                let message = message(number, len);
                slot.write_at(len / 2, &message[len / 2..]).unwrap();
                slot.write_at(0, &message[..len / 2]).unwrap();
                slot.publish().unwrap();
            }
        });
        let after = writer.stats();
        self.follow(before);
        match result {
            Ok(()) if publish => {
                self.messages.push(Message::Bytes(len));
                self.kept.push_back((after.position - 1, number));
                self.claimed(after.position);
            }
            Ok(()) => self.claimed(after.position + 1),
            Err(error) => {
                self.claimed(after.position);
                self.assert_refused(error, self.slots, after.position);
            }
        }
        assert_eq!(after.message_count, self.next());
        self.assert_gates_kept();
    }

    /// A write at `position`, or a move to so many slots, may be refused for what readers hold, and for
    /// nothing else.
    fn assert_refused(&self, error: QADataSwapError, slots: u64, position: u64) {
        match error {
            QADataSwapError::WouldBlock { .. } => {
                assert_eq!(self.on_slow_reader, OnSlowReader::Refuse);
                let covers = |attached: &Attached| {
                    attached.lossless && !attached.evicted && attached.gate + slots <= position
                };
                assert!(self.readers.iter().any(covers), "refused without a reason");
            }
            QADataSwapError::AllSlotsLeased { .. } => {
                assert!(self.held.len() as u64 >= self.slots, "{} are held", self.held.len());
            }
            error => panic!("{error:?}"),
        }
    }

    /// Nothing that a lossless reader has yet to read is lost, unless the writer may give it up.
    fn assert_gates_kept(&self) {
        if self.on_slow_reader != OnSlowReader::Refuse {
            return;
        }
        for attached in self.readers.iter().filter(|attached| attached.lossless) {
            let sequence = attached.reader.stats().sequence;
            assert!(sequence == self.next() || self.is_kept(sequence), "{sequence} is lost");
        }
    }

    fn attach(&mut self, input: &mut Input<'_>) {
        if self.readers.len() == MOST_READERS {
            return;
        }
        let how = input.byte();
        let start = [Start::Oldest, Start::Newest, Start::Next][input.below(3) as usize];
        let on_overrun = if how & 4 == 0 { OnOverrun::Resume } else { OnOverrun::Error };
        let lossless = how & 1 == 1;
        let max_leases = (how >> 3) as usize % 4;
        let options = ReaderOptions::new().attach_timeout_ms(0).start(start);
        let options = options.on_overrun(on_overrun).lossless(lossless).max_leases(max_leases);
        let reader = options.attach(self.name.name()).unwrap();
        let first = reader.stats().sequence;
        let expected = match start {
            Start::Oldest => self.kept.front(),
            Start::Newest => self.kept.back(),
            Start::Next => None,
        };
        assert_eq!(first, expected.map_or(self.next(), |(_, number)| *number), "{start:?}");
        let (evicted, gate) = (false, reader.stats().position);
        self.readers.push(Attached {
            reader,
            lossless,
            evicted,
            gate,
            on_overrun,
            max_leases,
            first,
        });
    }

    fn read(&mut self, index: usize, way: u8) {
        let attached = &self.readers[index];
        let before = attached.reader.stats();
        let result = attached.read(way, &self.messages);
        let after = attached.reader.stats();
        let lost = after.lost - before.lost;
        // All messages are consumed or lost, in order.
        assert_eq!(after.consumed + after.lost, after.sequence - attached.first);
        if lost > 0 {
            assert!(before.position < self.oldest, "{} is not overwritten", before.position);
        }
        let (mut evicted, mut gate) = (attached.evicted, attached.gate);
        if result.is_ok() {
            gate = after.position;
        }
        match result {
            Ok(Some(held)) => {
                assert_eq!(after.consumed, before.consumed + 1);
                assert!(!attached.lossless || lost == 0);
                self.held.extend(held);
            }
            Ok(None) => {
                assert_eq!((after.consumed, after.sequence), (before.consumed, self.next()));
            }
            Err(QADataSwapError::Overrun { lost: told }) => {
                assert_eq!(attached.on_overrun, OnOverrun::Error);
                assert!(!attached.lossless && told == lost && lost > 0);
            }
            Err(QADataSwapError::Evicted { lost: told }) => {
                assert!(attached.lossless && self.on_slow_reader != OnSlowReader::Refuse);
                assert!(attached.evicted && lost == 0 || told == lost);
                evicted = true;
                // It joins again, at once or when it reads the next time.
                if way & 0x80 == 0 {
                    let more = attached.reader.rejoin().unwrap();
                    let joined = attached.reader.stats();
                    assert_eq!(joined.sequence, after.sequence + more);
                    assert!(joined.sequence == self.next() || self.is_kept(joined.sequence));
                    (evicted, gate) = (false, joined.position);
                }
            }
            Err(QADataSwapError::TooManyLeases { limit }) => {
                assert_eq!((limit, limit as u64), (attached.max_leases, before.leases));
                assert_eq!((after.consumed, lost), (before.consumed, 0));
            }
            Err(QADataSwapError::BufferTooSmall { needed_bytes, .. }) => {
                assert!(needed_bytes > BUFFER_BYTES && after.consumed == before.consumed);
            }
            Err(error) => panic!("{error:?}"),
        }
        (self.readers[index].evicted, self.readers[index].gate) = (evicted, gate);
    }

    fn take_over(&mut self, slots: u64) {
        let before = self.writer.take().map(|writer| writer.stats().position);
        let options = WriterOptions::new(slots as usize).slot_capacity(CAPACITY);
        match options.on_slow_reader(self.on_slow_reader).create(self.name.name()) {
            Ok(writer) => {
                let stats = writer.stats();
                assert_eq!(stats.message_count, self.next());
                assert!(before.is_none_or(|before| before == stats.position));
                self.writer = Some(writer);
                self.follow(stats.position);
            }
            Err(error) => {
                let position = before.unwrap_or(u64::MAX);
                self.assert_refused(error, slots, position);
            }
        }
        self.assert_gates_kept();
    }

    /// Everybody gets what is left, to the last message.
    fn finish(&mut self) {
        for index in 0..self.readers.len() {
            while self.readers[index].reader.stats().sequence < self.next() {
                let (before, joins) =
                    (self.readers[index].reader.stats(), self.readers[index].evicted);
                self.read(index, 0);
                let after = self.readers[index].reader.stats();
                assert!(
                    joins || after.sequence > before.sequence || after.evictions > before.evictions
                );
            }
        }
    }
}

impl Attached {
    /// Reads the next message in some way and checks that it is the one that the reader says it is; what is
    /// held of it, if anything.
    fn read(&self, way: u8, messages: &[Message]) -> Result<Option<Option<Held>>> {
        let number = || self.reader.stats().sequence - 1;
        let is_right = |bytes: &[u8]| match messages[number() as usize] {
            Message::Bytes(len) => assert!(*bytes == message(number(), len), "not {}", number()),
            Message::Batch => assert!(bytes.len() > 8 && bytes[..4] == [0xff; 4]),
        };
        let copied = |read: Option<Vec<u8>>| read.map(|bytes| (is_right(&bytes), None).1);
        Ok(match way % 8 {
            0..3 => copied(self.reader.read(0)?),
            3 => {
                let mut buffer = [0; BUFFER_BYTES];
                copied(self.reader.read_into(&mut buffer, 0)?.map(|len| buffer[..len].to_vec()))
            }
            4 => self.reader.skip()?.then_some(None),
            5 | 6 => self.reader.lease(0)?.map(|lease| {
                is_right(&lease);
                match messages[number() as usize] {
                    Message::Bytes(_) => Some(Held::Lease(lease, number())),
                    Message::Batch => None,
                }
            }),
            _ => match self.reader.read_arrow_zero_copy(0) {
                Ok(read) => read.map(|found| {
                    assert_eq!(found, batch(number()));
                    Some(Held::Batch(found, number()))
                }),
                Err(QADataSwapError::ArrowError(error)) => {
                    assert!(matches!(messages[number() as usize], Message::Bytes(_)), "{error}");
                    Some(None)
                }
                Err(error) => return Err(error),
            },
        })
    }
}
