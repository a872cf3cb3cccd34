//! What one writer and several readers do, in any order, against a model of the ring made of plain queues:
//! every message, every count, every refusal is foretold exactly.
//!
//! The model ([`ring`], [`reader`]) knows positions, queues and the rules; it has no memory of slots. What it
//! foretells is compared with a [`Backend`]: the library on shared memory ([`shm`]), or its ring layer alone
//! on the heap (`heap.rs`). Actions come from proptest (`tests/properties.rs`) or from a fuzzer
//! (`tests/fuzz/operations.rs`).
#![allow(dead_code)] // each test file uses a part of it

mod reader;
mod ring;
pub mod shm;

use std::fmt::Debug;
use std::rc::Rc;

use qadataswap::arrow_array::RecordBatch;
use qadataswap::{OnOverrun, OnSlowReader, Start};
pub use reader::ReaderCounts;
use ring::Ring;
pub use ring::{Refusal, WriterCounts};

/// Capacity of the slots that a ring begins with, in bytes.
pub const CAPACITY: usize = 64;
/// Messages do not get longer than so many bytes by making them too long for a slot.
const MOST_BYTES: usize = 4096;
const MOST_READERS: usize = 6;
/// So few that the readers and what is held take no more entries than there are.
const MOST_HELD: usize = 24;

/// One thing that somebody does. Readers and what is held are named by a number, which is taken modulo how
/// many there are.
#[derive(Clone, Debug)]
pub enum Action {
    Write(Length),
    /// Reserves `len` bytes, stores a message of `used`, and publishes it or not.
    Reserve {
        len: Length,
        used: usize,
        publish: bool,
    },
    /// A message of so many record batches.
    WriteBatches(usize),
    Attach(How),
    Read(usize, Way),
    Rejoin(usize),
    Detach(usize),
    /// Ends a lease.
    Release(usize),
    /// A new writer, for a ring of so many slots; as many as there are, if 0.
    TakeOver(u64),
    SetOnSlowReader(OnSlowReader),
    Close,
    /// Removes the ring, by its writer or after it was closed. Readers read on what they have; nobody else comes.
    Unlink,
}

/// How long a message is.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    Bytes(usize),
    /// Fits exactly.
    Capacity,
    /// Is a byte too long.
    Over,
}

/// How a reader attaches.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub start: Start,
    pub on_overrun: OnOverrun,
    pub lossless: bool,
    pub register: bool,
    pub max_leases: usize,
}

/// How a message is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Read,
    ReadTo,
    /// Into a buffer of this size.
    ReadInto(usize),
    /// Into a buffer that has to have the message's size.
    ReadExact(usize),
    /// As a value of eight bytes.
    ReadValue,
    Skip,
    /// Waits for no time.
    Wait,
    Lease,
    ReadArrow,
    ReadBatches,
    ReadArrowZeroCopy,
    ReadBatchesZeroCopy,
    /// Without validation, where there are batches; else as [`ReadArrowZeroCopy`](Self::ReadArrowZeroCopy).
    ReadArrowUnchecked,
}

pub const VALUE_BYTES: usize = 8;

impl Way {
    fn holds(self) -> bool {
        matches!(
            self,
            Self::Lease
                | Self::ReadArrowZeroCopy
                | Self::ReadBatchesZeroCopy
                | Self::ReadArrowUnchecked
        )
    }
}

/// What the writer does about slow readers, and whether it may move the ring to larger slots.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub on_slow_reader: OnSlowReader,
    pub rollover: bool,
}

/// What is in a slot.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub bytes: Vec<u8>,
    /// What `bytes` were encoded from.
    pub batches: Option<Vec<RecordBatch>>,
}

impl Message {
    fn plain(sequence: u64, len: usize) -> Self {
        let bytes = (0..len).map(|at| (sequence * 31 + at as u64 * 7 + 1) as u8).collect();
        Self { bytes, batches: None }
    }
}

/// What a read came to.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Message(Rc<Message>),
    /// A message, not looked at.
    Skipped,
    /// There is something to be had, or to be told.
    There,
    Nothing,
    Closed,
    Overrun(u64),
    Evicted(u64),
    BufferTooSmall(usize),
    SizeMismatch(usize),
    NotArrow,
    NotOneBatch(usize),
    TooManyLeases,
    NotRegistered,
}

/// A ring that does what the model foretells.
pub trait Backend {
    type Reader;
    type Held;

    fn new(config: Config) -> Self;
    /// Drops the writer, if there is one, and makes another for so many slots.
    fn take_over(&mut self, slots: u64) -> Result<(), Refusal>;
    fn close(&mut self);
    fn unlink(&mut self);
    fn set_on_slow_reader(&mut self, on_slow_reader: OnSlowReader);
    fn write(&mut self, message: &Message) -> Result<(), Refusal>;
    /// Reserves so many bytes; stores and publishes the message, if there is one.
    fn reserve(&mut self, len: usize, message: Option<&Message>) -> Result<(), Refusal>;
    /// What the writer counts; `None` if there is none.
    fn writer(&self) -> Option<WriterCounts>;
    fn attach(&self, how: &How) -> Self::Reader;
    /// Reads without waiting. `expected` is what should be seen; of a message it has to be compared.
    fn read(
        &self,
        reader: &mut Self::Reader,
        way: Way,
        expected: &Seen,
    ) -> (Seen, Option<Self::Held>);
    fn rejoin(&self, reader: &mut Self::Reader) -> u64;
    fn reader(&self, reader: &Self::Reader) -> ReaderCounts;
    fn is_unchanged(held: &Self::Held, message: &Message) -> bool;
}

/// A ring and its model.
pub struct World<B: Backend> {
    // Before the ring, whose objects go last.
    held: Vec<(B::Held, Rc<Message>)>,
    readers: Vec<B::Reader>,
    backend: B,
    model: Ring,
}

/// `found` must be what was `expected` when `what` was done.
#[track_caller]
fn same<T: Debug + PartialEq>(what: impl Debug, found: T, expected: T) {
    assert!(found == expected, "{what:?}: found {found:?}, expected {expected:?}");
}

impl<B: Backend> World<B> {
    /// A ring of so many slots, which has a lossy and a lossless reader.
    pub fn new(config: Config, slots: u64) -> Self {
        let model = Ring::new(config, slots, CAPACITY);
        let mut world =
            Self { held: Vec::new(), readers: Vec::new(), backend: B::new(config), model };
        world.act(Action::TakeOver(slots));
        for lossless in [false, true] {
            let (start, on_overrun) = (Start::Oldest, OnOverrun::Resume);
            let how = How { start, on_overrun, lossless, register: true, max_leases: 2 };
            world.act(Action::Attach(how));
        }
        world
    }

    /// Does one thing, and compares everything.
    ///
    /// # Panics
    /// If something is not as the model has it.
    pub fn act(&mut self, action: Action) {
        let readers = self.readers.len();
        match &action {
            Action::Write(len) => {
                let message = Message::plain(self.model.sequence, self.bytes(*len));
                self.write(&action, message);
            }
            Action::WriteBatches(count) => {
                let message = shm::arrow_message(self.model.sequence, *count);
                self.write(&action, message);
            }
            Action::Reserve { len, used, publish } => {
                if self.model.has_writer() {
                    let len = self.bytes(*len);
                    let message = Rc::new(Message::plain(self.model.sequence, (*used).min(len)));
                    let expected = self.model.claim(len);
                    let found = self.backend.reserve(len, publish.then_some(&*message));
                    same(&action, found, expected);
                    if expected.is_ok() && *publish {
                        self.model.publish(message);
                    }
                }
            }
            Action::Attach(how) => {
                if readers < MOST_READERS && !self.model.removed {
                    self.model.attach(*how);
                    self.readers.push(self.backend.attach(how));
                }
            }
            Action::Read(reader, way) => {
                if readers > 0 && self.held.len() < MOST_HELD {
                    self.read(reader % readers, *way);
                }
            }
            Action::Rejoin(reader) => {
                if readers > 0 && !self.model.removed {
                    let reader = reader % readers;
                    let expected = self.model.rejoin(reader);
                    same(&action, self.backend.rejoin(&mut self.readers[reader]), expected);
                }
            }
            Action::Detach(reader) => {
                if readers > 0 {
                    self.readers.remove(reader % readers);
                    self.model.readers.remove(reader % readers);
                }
            }
            Action::Release(held) => {
                if !self.held.is_empty() {
                    let held = held % self.held.len();
                    self.held.remove(held);
                    self.model.leases.remove(held);
                }
            }
            Action::TakeOver(_) if self.model.removed => {}
            Action::TakeOver(slots) => {
                let slots = if *slots == 0 { self.model.current().slots } else { *slots };
                let expected = self.model.take_over(slots);
                same(&action, self.backend.take_over(slots), expected);
            }
            Action::SetOnSlowReader(on_slow_reader) => {
                self.model.config.on_slow_reader = *on_slow_reader;
                self.backend.set_on_slow_reader(*on_slow_reader);
            }
            Action::Unlink => {
                // Readers of a ring that nobody has closed find out only after some time.
                let told = self.model.has_writer() || self.model.closed;
                if told && !self.model.removed {
                    self.model.close();
                    self.model.removed = true;
                    self.backend.unlink();
                }
            }
            Action::Close => {
                if self.model.has_writer() {
                    self.model.close();
                    self.backend.close();
                }
            }
        }
        self.check(&action);
    }

    fn bytes(&self, len: Length) -> usize {
        let capacity = self.model.current().capacity;
        match len {
            Length::Bytes(len) => len,
            Length::Over if capacity < MOST_BYTES => capacity + 1,
            Length::Capacity | Length::Over => capacity,
        }
    }

    fn write(&mut self, action: &Action, message: Message) {
        if !self.model.has_writer() {
            return;
        }
        let expected = self.model.claim(message.bytes.len());
        same(action, self.backend.write(&message), expected);
        if expected.is_ok() {
            self.model.publish(Rc::new(message));
        }
    }

    fn read(&mut self, reader: usize, way: Way) {
        let (expected, leased) = self.model.read(reader, way);
        let (found, held) = self.backend.read(&mut self.readers[reader], way, &expected);
        assert!(found == expected, "{way:?}: found {found:?}, expected {expected:?}");
        assert_eq!(held.is_some(), leased, "a lease");
        if let (Some(held), Seen::Message(message)) = (held, expected) {
            self.held.push((held, message));
        }
    }

    fn check(&self, action: &Action) {
        same(action, self.backend.writer(), self.model.writer());
        for (index, reader) in self.readers.iter().enumerate() {
            same((action, index), self.backend.reader(reader), self.model.reader(index));
        }
        for (held, message) in &self.held {
            assert!(B::is_unchanged(held, message), "{action:?}: what is held has changed");
        }
    }

    /// Everybody gets what is left, to the last message.
    pub fn finish(mut self) {
        for reader in 0..self.readers.len() {
            let mut tries = 0;
            while self.model.reader(reader).sequence < self.model.last_for(reader) {
                self.act(Action::Rejoin(reader));
                self.act(Action::Read(reader, Way::Read));
                tries += 1;
                // An overrun or an eviction, then at most all that is in the segments.
                assert!(tries < 1000, "reader {reader} does not get to the end");
                self.act(Action::Release(0));
            }
        }
    }
}
