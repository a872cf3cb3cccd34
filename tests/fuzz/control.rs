//! Any bytes in the control segment of a running ring: writes go through or are refused, and that is all.
//! What is published is right, and what lossy readers count is exact.
//!
//! Input: what the writer does about slow readers and how many slots there are, then what is done.

use qadataswap::{
    Lease, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Start, Writer, WriterOptions,
};

use super::Input;
use crate::support::raw::{self, Raw, entry};
use crate::support::{RingName, numbered};

const CAPACITY: usize = 64;
const MOST_ACTIONS: usize = 200;
const MOST_READERS: usize = 6;
const MOST_LEASES: usize = 8;
/// Bytes of the control segment.
const CONTROL: u64 = 20_480;

const ON_SLOW_READER: [OnSlowReader; 5] = [
    OnSlowReader::Refuse,
    OnSlowReader::Evict { grace_ms: 0 },
    OnSlowReader::Wait { limit_ms: 0 },
    OnSlowReader::Wait { limit_ms: 1 },
    OnSlowReader::Evict { grace_ms: 1 },
];

pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = raw::Random(4);
    let actions: [&[u8]; 10] = [
        &[0, 9],
        &[1, 0, 8, 4, 7],
        &[2, 0, 6],
        &[3, 4, 128, 8, 255, 255, 255, 255, 255, 255, 255, 255],
        &[4, 0],
        &[4, 3],
        &[5, 2],
        &[6, 0],
        &[7, 3],
        &[9, 0],
    ];
    let mut seeds = Vec::new();
    for on_slow_reader in 0..5 {
        let some = (0..40).flat_map(|_| actions[random.below(10) as usize]);
        seeds.push([on_slow_reader, on_slow_reader].iter().chain(some).copied().collect());
    }
    seeds
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Copying,
    Leasing,
    Lossless,
}

struct World {
    name: RingName,
    on_slow_reader: OnSlowReader,
    slots: usize,
    /// `None` after a takeover that was refused.
    writer: Option<Writer>,
    published: u64,
    control: Raw,
    readers: Vec<(Kind, Reader)>,
    /// Hostile bytes can take these away, so that what they hold is not looked at.
    leases: Vec<Lease>,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let on_slow_reader = ON_SLOW_READER[input.below(5) as usize];
    let slots = [1, 2, 3, 4, 8][input.below(5) as usize];
    let name = RingName::new("fuzz-control");
    let writer = writer(&name, slots, on_slow_reader).unwrap();
    let mut world = World {
        on_slow_reader,
        slots,
        writer: Some(writer),
        published: 0,
        control: Raw::control(&name),
        readers: Vec::new(),
        leases: Vec::new(),
        name,
    };
    (0..4).for_each(|how| world.attach(how));
    for _ in 0..MOST_ACTIONS {
        if input.is_empty() {
            break;
        }
        world.act(&mut input);
    }
    // Whatever has happened, whoever only copies finds the rest.
    for (kind, reader) in &world.readers {
        if *kind == Kind::Copying {
            while read(Kind::Copying, reader).is_some() {}
            assert_eq!(reader.stats().sequence, world.published);
        }
    }
}

fn writer(
    name: &RingName,
    slots: usize,
    on_slow_reader: OnSlowReader,
) -> qadataswap::Result<Writer> {
    let options = WriterOptions::new(slots).slot_capacity(CAPACITY);
    options.on_slow_reader(on_slow_reader).create(name.name())
}

impl World {
    fn act(&mut self, input: &mut Input<'_>) {
        match input.byte() % 10 {
            0 => self.publish(8 + input.below(CAPACITY as u64 - 7) as usize),
            1 => {
                // A word of an entry. The first few have owners.
                let index = if input.byte() < 128 { input.below(8) } else { input.below(64) };
                let at = entry(index, input.below(44) * 4);
                let value = input.value(self.published);
                let value = value.to_le_bytes();
                self.control.set_bytes(at, if at.is_multiple_of(8) { &value } else { &value[..4] });
            }
            2 => {
                let words =
                    [raw::WAITERS, raw::JOINS, raw::GATING, raw::LEASING, raw::BLOCKED, raw::JOINS];
                let at = words[input.below(6) as usize];
                let value = input.value(self.published).to_le_bytes();
                self.control.set_bytes(at, if at == raw::WAITERS { &value[..4] } else { &value });
            }
            3 => {
                // Anything anywhere, the header too.
                let at = (input.below(CONTROL / 128) * 128 + input.below(128)).min(CONTROL - 64);
                let len = input.below(64) as usize;
                self.control.set_bytes(at, input.bytes(len));
            }
            4 => {
                if !self.readers.is_empty() {
                    let index = input.byte() as usize % self.readers.len();
                    self.read(index);
                }
            }
            5 => self.attach(input.byte()),
            6 => {
                if !self.readers.is_empty() {
                    self.readers.remove(input.byte() as usize % self.readers.len());
                }
            }
            7 => {
                if !self.leases.is_empty() {
                    self.leases.remove(input.byte() as usize % self.leases.len());
                }
            }
            8 => {
                // What one entry says, over all.
                let bytes = self.control.bytes(entry(input.below(4), 0), 256);
                self.control.set_bytes(raw::ENTRIES, &bytes.repeat(64));
                self.control.set_u64(raw::JOINS, self.control.u64(raw::JOINS).wrapping_add(1));
            }
            _ => self.take_over(input.byte()),
        }
    }

    /// All that holds may do is to have a write refused.
    fn publish(&mut self, len: usize) {
        let Some(writer) = &self.writer else { return };
        match writer.write(&numbered::message(self.published, len)) {
            Ok(()) => self.published += 1,
            Err(QADataSwapError::AllSlotsLeased { .. }) => {}
            Err(QADataSwapError::WouldBlock { .. }) => {
                assert!(!matches!(self.on_slow_reader, OnSlowReader::Evict { .. }));
            }
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(writer.stats().message_count, self.published);
    }

    fn attach(&mut self, how: u8) {
        if self.readers.len() == MOST_READERS {
            return;
        }
        let kind = [Kind::Copying, Kind::Copying, Kind::Leasing, Kind::Lossless][how as usize % 4];
        let starts = [Start::Oldest, Start::Newest, Start::Next];
        let options = ReaderOptions::new().attach_timeout_ms(0).register(how % 4 != 1);
        let options = options.lossless(kind == Kind::Lossless).start(starts[how as usize / 4 % 3]);
        match options.attach(self.name.name()) {
            Ok(reader) => self.readers.push((kind, reader)),
            Err(QADataSwapError::HoldsUnavailable { .. } | QADataSwapError::Evicted { .. })
                if kind == Kind::Lossless => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    fn read(&mut self, index: usize) {
        let (kind, reader) = &self.readers[index];
        let before = reader.stats();
        let lease = read(*kind, reader).flatten();
        let after = reader.stats();
        assert_eq!(after.consumed + after.lost - before.consumed - before.lost, {
            after.sequence - before.sequence
        });
        assert!(after.sequence <= self.published);
        if self.leases.len() < MOST_LEASES {
            self.leases.extend(lease);
        }
    }

    fn take_over(&mut self, how: u8) {
        self.writer = None;
        let slots = if how & 3 == 0 { self.slots % 8 + 1 } else { self.slots };
        match writer(&self.name, slots, self.on_slow_reader) {
            Ok(writer) => {
                self.slots = slots;
                assert_eq!(writer.stats().message_count, self.published);
                self.writer = Some(writer);
                // The old one, if it was no control segment any more, has been replaced.
                self.control = Raw::control(&self.name);
            }
            Err(QADataSwapError::WouldBlock { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Reads a message, if there is one: its lease, or nothing if it was copied.
fn read(kind: Kind, reader: &Reader) -> Option<Option<Lease>> {
    let result = match kind {
        Kind::Leasing => reader.lease(0).map(|lease| lease.map(Some)),
        _ => reader.read(0).map(|message| {
            message.map(|message| {
                // The messages of a ring are numbered from its beginning.
                assert_eq!(numbered::number_of(&message) + 1, reader.stats().sequence);
                None
            })
        }),
    };
    match result {
        Ok(read) => read,
        Err(QADataSwapError::Evicted { .. }) => {
            match reader.rejoin() {
                Ok(_) => {}
                Err(QADataSwapError::Evicted { .. } | QADataSwapError::HoldsUnavailable { .. }) => {
                }
                Err(error) => panic!("{error:?}"),
            }
            None
        }
        Err(QADataSwapError::TooManyLeases { .. } | QADataSwapError::HoldsUnavailable { .. })
            if kind == Kind::Leasing =>
        {
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}
