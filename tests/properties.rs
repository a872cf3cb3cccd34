//! Any sequence of what one writer and several readers can do gives what the model of `model/` foretells: the
//! same messages in the same order, the same counts, the same refusals. On shared memory, and of the ring
//! layer alone on the heap.
//!
//! What fails is kept, smallest first, in `properties.proptest-regressions` and tried again in every run.

mod model;
mod support;

// The ring layer's own sources, and the modules that need them.
#[allow(dead_code)]
#[path = "../src/crash.rs"]
mod crash;
#[path = "model/heap.rs"]
mod heap;
#[path = "model/layout.rs"]
mod layout;
#[path = "model/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "../src/ring/mod.rs"]
mod ring;
#[allow(dead_code, unused_imports)]
#[path = "../src/sync.rs"]
mod sync;

use heap::Heap;
use model::shm::Shm;
use model::{Action, Backend, CAPACITY, Config, How, Length, VALUE_BYTES, Way, World};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;
use qadataswap::{OnOverrun, OnSlowReader, Start};

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![
        8 => (0..=CAPACITY).prop_map(Length::Bytes),
        2 => Just(Length::Bytes(VALUE_BYTES)),
        2 => Just(Length::Capacity),
        1 => Just(Length::Over),
    ]
}

fn way(arrow: bool) -> impl Strategy<Value = Way> {
    let of_arrow = [
        Way::ReadArrow,
        Way::ReadBatches,
        Way::ReadArrowZeroCopy,
        Way::ReadBatchesZeroCopy,
        Way::ReadArrowUnchecked,
    ];
    let mut ways = vec![
        Way::Read,
        Way::Read,
        Way::ReadTo,
        Way::Skip,
        Way::Wait,
        Way::ReadValue,
        Way::ReadExact(VALUE_BYTES),
        Way::ReadExact(CAPACITY),
        Way::Lease,
        Way::Lease,
    ];
    if arrow {
        ways.extend(of_arrow);
    }
    prop_oneof![4 => select(ways), 1 => (0..=2 * CAPACITY).prop_map(Way::ReadInto)]
}

fn how() -> impl Strategy<Value = How> {
    let start = select(vec![Start::Oldest, Start::Newest, Start::Next]);
    let on_overrun = select(vec![OnOverrun::Resume, OnOverrun::Error]);
    (start, on_overrun, any::<bool>(), prop::bool::weighted(0.8), 0usize..4).prop_map(
        |(start, on_overrun, lossless, register, max_leases)| How {
            start,
            on_overrun,
            lossless,
            register,
            max_leases,
        },
    )
}

fn on_slow_reader() -> impl Strategy<Value = OnSlowReader> {
    select(vec![
        OnSlowReader::Refuse,
        OnSlowReader::Wait { limit_ms: 0 },
        OnSlowReader::Wait { limit_ms: 1 },
        OnSlowReader::Evict { grace_ms: 0 },
        OnSlowReader::Evict { grace_ms: 1 },
    ])
}

/// Actions; with record batches and the end of the ring's name, if `shared`.
fn action(shared: bool) -> impl Strategy<Value = Action> {
    let arrow = shared;
    let reserve = (length(), 0..=CAPACITY, any::<bool>())
        .prop_map(|(len, used, publish)| Action::Reserve { len, used, publish });
    let write_batches = move |count| {
        if arrow { Action::WriteBatches(count) } else { Action::Write(Length::Bytes(count)) }
    };
    prop_oneof![
        24 => length().prop_map(Action::Write),
        8 => reserve,
        4 => (0usize..3).prop_map(write_batches),
        32 => (0usize..8, way(arrow)).prop_map(|(reader, way)| Action::Read(reader, way)),
        6 => how().prop_map(Action::Attach),
        3 => (0usize..8).prop_map(Action::Detach),
        6 => (0usize..32).prop_map(Action::Release),
        2 => (0usize..8).prop_map(Action::Rejoin),
        2 => Just(Action::TakeOver(0)),
        2 => (1u64..7).prop_map(Action::TakeOver),
        2 => on_slow_reader().prop_map(Action::SetOnSlowReader),
        // After it there is little left to do.
        1 => prop::bool::weighted(0.2)
            .prop_map(move |end| if end && shared { Action::Unlink } else { Action::Close }),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    (on_slow_reader(), prop::bool::weighted(0.9))
        .prop_map(|(on_slow_reader, rollover)| Config { on_slow_reader, rollover })
}

fn play<B: Backend>(config: Config, slots: u64, actions: Vec<Action>) {
    let mut world = World::<B>::new(config, slots);
    for action in actions {
        world.act(action);
    }
    world.finish();
}

/// PROPTEST_CASES=N for more.
fn settings() -> ProptestConfig {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.proptest-regressions");
    let default = ProptestConfig::default();
    let given = std::env::var_os("PROPTEST_CASES").map(|_| default.cases);
    ProptestConfig {
        cases: given.unwrap_or(300),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..default
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_ring_in_shared_memory_does_what_the_model_foretells(
        config in config(),
        slots in 1u64..7,
        actions in prop::collection::vec(action(true), 1..150),
    ) {
        play::<Shm>(config, slots, actions);
    }

    #[test]
    fn the_ring_layer_on_the_heap_does_what_the_model_foretells(
        config in config(),
        slots in 1u64..7,
        actions in prop::collection::vec(action(false), 1..150),
    ) {
        play::<Heap>(config, slots, actions);
    }
}
