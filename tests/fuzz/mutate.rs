//! Slots and header words that change between reads, and while they are read: a message that is returned
//! is what its slot says, whole; anything else is an error, and reading goes on.
//!
//! Input: what is done, one after the other.

use std::sync::atomic::{AtomicBool, Ordering};

use qadataswap::{QADataSwapError, Reader, ReaderOptions, Start, Writer, WriterOptions};

use super::{ARROW_WAYS, BUFFER_BYTES, Got, Input, VALUE_BYTES, WAYS, is_of_damage, read};
use crate::support::raw::{self, Raw};
use crate::support::{RingName, numbered};

const SLOTS: u64 = 4;
const CAPACITY: usize = 200;
const STRIDE: u64 = 384;
/// As much as an input is played of.
const MOST_ACTIONS: usize = 200;
/// Times that a message changes while it is read, and that it is read.
const ROUNDS: u32 = 20;
const MOST_READS: u32 = 100;
const MOST_READERS: usize = 4;

pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = raw::Random(3);
    let actions: [&[u8]; 8] = [
        &[0, 30],
        &[1, 1, 2, 5, 1, 2, 3, 4, 5],
        &[2, 1, 2, 4, 40],
        &[3, 0, 5, 7],
        &[4, 0, 0],
        &[4, 1, 3],
        &[5, 0, 0, 1, 0, 2, 4, 9],
        &[6, 1],
    ];
    let whole = actions.concat();
    let mut seeds = vec![whole];
    for len in [5, 20, 60] {
        let some = (0..len).flat_map(|_| actions[random.below(8) as usize]);
        seeds.push([0, 40, 0, 8].iter().chain(some).copied().collect());
    }
    seeds
}

struct World {
    name: RingName,
    writer: Writer,
    raw: Raw,
    readers: Vec<Reader>,
}

pub fn run(bytes: &[u8]) {
    let name = RingName::new("fuzz-mutate");
    let options = WriterOptions::new(SLOTS as usize).slot_capacity(CAPACITY).rollover(false);
    // What holds are like beside damaged slots is seen by readers that lease.
    let writer = options.create(name.name()).unwrap();
    let raw = Raw::data(&name);
    assert_eq!(raw.u64(raw::SLOT_STRIDE), STRIDE);
    let mut world = World { name, writer, raw, readers: Vec::new() };
    world.attach(0);
    world.attach(1);
    let mut input = Input::new(bytes);
    for _ in 0..MOST_ACTIONS {
        if input.is_empty() {
            break;
        }
        world.act(&mut input);
    }
}

/// A word of a slot's head, and its bits.
fn head_word(number: u64) -> (u64, u32) {
    match number % 5 {
        0 | 1 => (raw::GENERATION, 64),
        2 => (raw::SEQUENCE, 64),
        3 => (raw::LENGTH, 32),
        _ => (raw::KIND, 32),
    }
}

/// A word of the header that changes, and its bits.
fn header_word(number: u64) -> (u64, u32) {
    let words = [raw::PUBLISHED, raw::MESSAGE_COUNT, raw::CLAIMED, raw::EPOCH];
    match number % 6 {
        4 => (raw::STATE, 32),
        5 => (raw::WAKE_SEQUENCE, 32),
        number => (words[number as usize], 64),
    }
}

fn set(raw: &Raw, (at, bits): (u64, u32), value: u64) {
    if bits == 32 { raw.set_u32(at, value as u32) } else { raw.set_u64(at, value) }
}

impl World {
    fn act(&mut self, input: &mut Input<'_>) {
        let position = self.writer.stats().position;
        match input.byte() % 8 {
            0 => {
                let len = 8 + input.below(CAPACITY as u64 - 7) as usize;
                self.writer.write(&numbered::message(position, len)).unwrap();
            }
            1 => {
                let slot = input.below(SLOTS);
                let at = input.below(STRIDE / 8) * 8;
                let bytes = input.byte() % 64;
                let bytes = input.bytes(bytes.into());
                let fits = bytes.len().min((STRIDE - at) as usize);
                self.raw.set_bytes(self.raw.slot(slot, at), &bytes[..fits]);
            }
            2 => {
                let (at, bits) = head_word(input.byte().into());
                let at = self.raw.slot(input.below(SLOTS), at);
                set(&self.raw, (at, bits), input.value(position));
            }
            3 => {
                let word = header_word(input.byte().into());
                set(&self.raw, word, input.value(position));
            }
            4 => {
                let reader = input.byte() as usize % self.readers.len();
                self.read(reader, input.byte());
            }
            5 => self.read_while_it_changes(input),
            6 => self.attach(input.byte()),
            _ => {
                if self.readers.len() > 1 {
                    self.readers.remove(input.byte() as usize % self.readers.len());
                }
            }
        }
    }

    fn attach(&mut self, how: u8) {
        if self.readers.len() == MOST_READERS {
            return;
        }
        let starts = [Start::Oldest, Start::Newest, Start::Next];
        let options = ReaderOptions::new().attach_timeout_ms(0).start(starts[how as usize % 3]);
        match options.register(how & 0x80 == 0).attach(self.name.name()) {
            Ok(reader) => self.readers.push(reader),
            Err(error) => assert!(is_of_damage(&error), "{error:?}"),
        }
    }

    /// Reads a message that does not change meanwhile: what comes of it is all in its slot.
    fn read(&self, index: usize, way: u8) {
        let way = way % WAYS;
        let reader = &self.readers[index];
        let before = reader.stats();
        let slot = |word| self.raw.slot(before.position % SLOTS, word);
        let published = self.raw.u64(slot(raw::GENERATION))
            == raw::generation(before.position, raw::PUBLISHED_STATE);
        let length = self.raw.u32(slot(raw::LENGTH)) as usize;
        let kind = self.raw.u32(slot(raw::KIND));
        let (kind, offset) = (kind & 0xffff, u64::from(kind >> 16));
        let sound = kind <= 2 && offset >= raw::PAYLOAD && offset % 8 == 0 && {
            let padded = (length as u64).next_multiple_of(8);
            offset + padded <= STRIDE
        };
        let damaged_state = self.raw.u32(raw::STATE) > 2;
        let result = read(reader, way);
        let after = reader.stats();
        if let Err(error) = &result {
            assert!(is_of_damage(error), "{error:?}");
        }
        // Beyond there is no generation, and no way back.
        assert!(after.position <= 1 << 62, "{after:?}");
        if !published {
            // It was lapped, passed over skipped positions, or found nothing.
            assert!(after.consumed - before.consumed <= 1);
            assert!(after.position >= before.position, "{before:?} {after:?}");
            return;
        }
        let consumed = (after.consumed - before.consumed, after.position - before.position);
        match result {
            Err(QADataSwapError::CorruptMessage { position, .. }) => {
                assert!(!sound && position == before.position);
                assert_eq!(consumed, (0, 1));
                assert!(after.lost > before.lost);
            }
            Ok(Got::Bytes(bytes)) => {
                assert!(sound);
                assert_eq!(bytes, self.raw.bytes(slot(offset), length));
                assert_eq!(consumed, (1, 1));
            }
            Ok(Got::Message) => assert!(sound && consumed == (1, 1)),
            // What a claim could overwrite that did not know of this reader may not be leased.
            Ok(Got::Nothing) => {
                assert!(way == 3 || way > ARROW_WAYS + 1, "missed {}", before.position);
                assert!(self.raw.u64(raw::CLAIMED) > before.position + SLOTS);
            }
            Err(QADataSwapError::BufferTooSmall { needed_bytes, .. }) => {
                assert!(way == 2 && needed_bytes == length && length > BUFFER_BYTES);
                assert_eq!(consumed, (0, 0));
            }
            Err(QADataSwapError::SizeMismatch { found_bytes, .. }) => {
                assert!(way == 5 && found_bytes == length && length != VALUE_BYTES);
                assert_eq!(consumed, (0, 0));
            }
            Err(QADataSwapError::ArrowError(_)) => {
                assert!(sound && way >= ARROW_WAYS && consumed == (1, 1));
            }
            Err(QADataSwapError::NotAligned | QADataSwapError::NotOneBatch { .. }) => {
                assert!(sound && way > ARROW_WAYS + 1 && consumed == (0, 0));
            }
            // Whether it may lease the message is told by `claimed`, and if it may not, the header is looked at.
            Err(QADataSwapError::Damaged {
                field: "claimed" | "published" | "slot generation",
                ..
            }) => {
                assert!(way == 3 || way > ARROW_WAYS + 1);
            }
            Err(QADataSwapError::HoldsUnavailable { .. }) => {
                assert!(!before.registered && consumed == (0, 0));
            }
            Err(QADataSwapError::Damaged { field: "state", .. }) => assert!(damaged_state),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Another thread stores to a slot while it is read. What it holds then is nobody's; but it is read
    /// within its bounds, and reading ends.
    fn read_while_it_changes(&mut self, input: &mut Input<'_>) {
        let index = input.byte() as usize % self.readers.len();
        // In place nothing may change: whoever may store to the data segment is trusted that far.
        let way = input.byte();
        let way = if way % WAYS == 3 || way % WAYS > ARROW_WAYS + 1 { 0 } else { way };
        let reader = &self.readers[index];
        let position = reader.stats().position;
        let slot = position % SLOTS;
        let stores: Vec<(u64, u32, u64)> = (0..1 + input.below(4))
            .map(|_| {
                let (at, bits) = match input.byte() {
                    payload if payload >= 128 => (raw::PAYLOAD + u64::from(payload & 31) * 8, 64),
                    head => head_word(head.into()),
                };
                (self.raw.slot(slot, at), bits, input.value(position))
            })
            .collect();
        let generation = self.raw.slot(slot, raw::GENERATION);
        let (raw, done) = (&self.raw, &AtomicBool::new(false));
        std::thread::scope(|scope| {
            let storing = scope.spawn(move || {
                for _ in 0..ROUNDS {
                    for (at, bits, value) in &stores {
                        set(raw, (*at, *bits), *value);
                        raw.set_u64(generation, raw::generation(position, raw::PUBLISHED_STATE));
                    }
                }
                done.store(true, Ordering::Release);
            });
            for _ in 0..MOST_READS {
                if done.load(Ordering::Acquire) {
                    break;
                }
                match read(reader, way) {
                    Ok(Got::Bytes(bytes)) => assert!(bytes.len() as u64 <= STRIDE - raw::PAYLOAD),
                    Ok(_) => {}
                    Err(error) => assert!(is_of_damage(&error), "{error:?}"),
                }
            }
            // Until it is gone, not only done: what a thread leaves at its end is taken for a leak else.
            storing.join().unwrap();
        });
    }
}
