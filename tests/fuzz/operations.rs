//! What one writer and several readers do, in any order, against the model of `tests/model/`.
//!
//! Input: what the writer does about slow readers, how many slots there are, then what is done.

use qadataswap::{OnOverrun, OnSlowReader, Start};

use super::Input;
use crate::model::shm::Shm;
use crate::model::{Action, CAPACITY, Config, How, Length, Way, World};
use crate::support::raw;

const MOST_ACTIONS: usize = 250;
const POLICIES: [OnSlowReader; 3] =
    [OnSlowReader::Refuse, OnSlowReader::Evict { grace_ms: 0 }, OnSlowReader::Wait { limit_ms: 0 }];

pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = raw::Random(5);
    let mut seeds = Vec::new();
    for slots in 0..6 {
        // Mostly writes and reads.
        let actions = (0..60).flat_map(|_| match random.below(16) {
            0..5 => vec![0, random.next() as u8],
            5..10 => vec![5, random.next() as u8, random.next() as u8],
            _ => vec![random.next() as u8, random.next() as u8, random.next() as u8],
        });
        seeds.push([slots, slots].into_iter().chain(actions).collect());
    }
    seeds
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let on_slow_reader = POLICIES[how as usize % 3];
    let config = Config { on_slow_reader, rollover: how & 0x80 == 0 };
    let mut world = World::<Shm>::new(config, 1 + input.below(6));
    for _ in 0..MOST_ACTIONS {
        if input.is_empty() {
            break;
        }
        act(&mut world, &mut input);
    }
    world.finish();
}

/// Does what the next bytes say: what and how, then of which length, with which reader, and so on.
fn act(world: &mut World<Shm>, input: &mut Input<'_>) {
    let what = input.byte();
    let how = what / 12;
    let action = match what % 12 {
        0 | 1 => Action::Write(Length::Bytes(input.byte() as usize % (CAPACITY + 1))),
        2 => {
            let len = [Length::Bytes(input.byte() as usize % (CAPACITY + 1)), Length::Over];
            let (len, used) = (len[usize::from(how % 8 == 7)], input.byte());
            Action::Reserve { len, used: used as usize / 2, publish: !used.is_multiple_of(4) }
        }
        3 => Action::WriteBatches(how as usize % 3),
        4 => Action::Write([Length::Over, Length::Capacity][how as usize % 2]),
        5 | 6 => {
            let (reader, way) = (input.byte() as usize, input.byte());
            world.act(Action::Read(reader, way_of(way)));
            // One that was given up joins again, at once or when it reads the next time.
            if way & 0x80 != 0 {
                return;
            }
            Action::Rejoin(reader)
        }
        7 => Action::Attach(how_of(input.byte(), input.below(3))),
        8 => Action::Detach(input.byte() as usize),
        9 => Action::Release(input.byte() as usize),
        10 if how % 4 == 3 => Action::Close,
        10 if how % 16 == 2 => Action::Unlink,
        10 if how % 4 == 1 => Action::SetOnSlowReader(POLICIES[input.below(3) as usize]),
        10 => Action::TakeOver(0),
        _ => Action::TakeOver(1 + input.below(6)),
    };
    world.act(action);
}

fn way_of(byte: u8) -> Way {
    let ways = [
        Way::Read,
        Way::ReadTo,
        Way::ReadInto(usize::from(byte)),
        Way::ReadInto(CAPACITY),
        Way::ReadValue,
        Way::Skip,
        Way::Lease,
        Way::Lease,
        Way::ReadArrow,
        Way::ReadBatches,
        Way::ReadArrowZeroCopy,
        Way::ReadBatchesZeroCopy,
        Way::ReadArrowUnchecked,
        Way::ReadExact(CAPACITY),
        Way::ReadExact(usize::from(byte & 15)),
        Way::Wait,
    ];
    ways[(byte & 0x7f) as usize % ways.len()]
}

fn how_of(byte: u8, start: u64) -> How {
    How {
        start: [Start::Oldest, Start::Newest, Start::Next][start as usize],
        on_overrun: if byte & 4 == 0 { OnOverrun::Resume } else { OnOverrun::Error },
        lossless: byte & 1 == 1,
        register: byte & 0x60 != 0x60,
        max_leases: usize::from(byte >> 3) % 4,
    }
}
