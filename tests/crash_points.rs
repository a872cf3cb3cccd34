//! kill -9 at every named point of the library (`src/crash.rs`), and what the others find then.
//!
//! Compiled only with `--cfg qads_crash` (`make crash`). A child kills itself at a point; what is left is then
//! used by readers that were attached before, by a new writer and by readers that come later. Message number
//! `n` says so itself.
#![cfg(qads_crash)]

mod crashed;
mod support;

use crashed::act::{self, Act};
use crashed::scene::{Form, Scene};
use qadataswap::{QADataSwapError, Start, crash};
use support::{RingName, inspect};

#[test]
fn child_process() {
    support::play(&[("act", act::play), ("follow", crashed::scene::follow)]);
}

/// What leads to each point, and how many times at most in the shortest of the scenes.
const SCENARIOS: &[(Act, &[&str])] = &[
    (
        Act::Create,
        &[
            "create: object made",
            "create: object locked",
            "create: control segment made",
            "create: header stored",
            "create: ready",
        ],
    ),
    (
        Act::TakeOver,
        &[
            "take over: locked",
            "take over: place found",
            "take over: owner stored",
            "take over: position announced",
            "take over: opened",
        ],
    ),
    (
        Act::Publish,
        &[
            "claim: claimed stored",
            "claim: gates passed",
            "claim: writing stored",
            "payload: half stored",
            "publish: payload stored",
            "publish: head stored",
            "publish: published stored",
            "publish: announced",
        ],
    ),
    (Act::PassOver, &["skip: sequence stored", "skip: skipped stored"]),
    (Act::Wake, &["wake: waiters lowered", "wake: futex word moved"]),
    (Act::WaitForGate, &["wait for gate: blocked stored"]),
    (Act::Reclaim, &["reclaim: entry locked", "reclaim: entry cleared"]),
    (
        Act::RollOver,
        &[
            "roll over: gates passed",
            "roll over: object made",
            "roll over: messages carried over",
            "roll over: ready",
            "roll over: renamed",
            "end: state stored",
            "roll over: marked",
        ],
    ),
    (
        // The writer is a new one, which wants other slots.
        Act::Reshape,
        &[
            "take over: opened",
            "roll over: gates passed",
            "roll over: object made",
            "roll over: messages carried over",
            "roll over: ready",
            "roll over: renamed",
            "end: state stored",
            "roll over: marked",
        ],
    ),
    (Act::Close, &["end: state stored"]),
    (Act::UnlinkOwn, &["end: state stored", "remove: control segment removed"]),
    (Act::Unlink, &["remove: control segment removed"]),
    (
        Act::ReadLossless,
        &[
            "register: entry taken",
            "register: entry cleared",
            "register: filled in",
            "join: joining stored",
            "join: bit raised",
            "join: joins moved",
            "settle: gate stored",
            "consume: copied",
            "gate: moved",
            "leave: gate withdrawn",
            "reclaim: entry cleared",
        ],
    ),
    (
        Act::Lease,
        &[
            "register: filled in",
            "lease: announced",
            "lease: stored",
            "lease: confirmed",
            "lease: released",
            "reclaim: entry cleared",
        ],
    ),
    (Act::Sleep, &["sleep: waiters raised"]),
];

/// Points of an act.
fn points(act: Act) -> &'static [&'static str] {
    SCENARIOS.iter().find(|(found, _)| *found == act).expect("listed").1
}

#[test]
fn there_is_a_scenario_for_every_point_and_none_for_anything_else() {
    let mut reached: Vec<&str> =
        SCENARIOS.iter().flat_map(|(_, points)| *points).copied().collect();
    reached.sort_unstable();
    reached.dedup();
    let mut all = crash::POINTS.to_vec();
    all.sort_unstable();
    assert_eq!(reached, all);
}

/// A writer dies at each point of these acts, the `counts`-th time that it comes there.
fn kill_writers(acts: &[Act], slots: &[u64], counts: impl Fn(u64) -> Vec<u64>) {
    for form in [Form::Bytes, Form::Arrow] {
        for (&act, &slots) in acts.iter().flat_map(|act| slots.iter().map(move |n| (act, n))) {
            for (point, count) in
                points(act).iter().flat_map(|p| counts(slots).into_iter().map(move |n| (p, n)))
            {
                println!("{act:?}, {form:?}, {slots} slots: {point}, number {count}");
                let mut scene = Scene::new(form, slots);
                scene.kill_writer(act, point, count);
                scene.go_on();
            }
        }
    }
}

#[test]
fn writer_that_dies_while_it_publishes_is_continued() {
    // The first time, in the second lap and in the third.
    kill_writers(&[Act::Publish], &[1, 2, 7], |slots| vec![1, slots + 1, 2 * slots + 1]);
}

#[test]
fn writer_that_dies_while_it_passes_over_a_lease_is_continued() {
    kill_writers(&[Act::PassOver], &[7], |_| vec![1, 2, 3]);
}

#[test]
fn writer_that_dies_while_it_wakes_a_reader_is_continued_and_the_reader_wakes() {
    kill_writers(&[Act::Wake], &[1, 7], |_| vec![1]);
}

#[test]
fn writer_that_dies_while_it_waits_for_a_gate_or_reclaims_one_is_continued() {
    kill_writers(&[Act::WaitForGate, Act::Reclaim], &[1, 7], |_| vec![1]);
}

#[test]
fn writer_that_dies_while_the_ring_moves_is_continued() {
    kill_writers(&[Act::RollOver, Act::Reshape], &[1, 2, 7], |_| vec![1]);
}

#[test]
fn writer_that_dies_while_it_ends_or_removes_the_ring_is_continued() {
    kill_writers(&[Act::Close, Act::UnlinkOwn, Act::Unlink], &[1, 7], |_| vec![1]);
}

#[test]
fn writers_that_die_while_they_take_over_are_continued_whatever_the_one_before_left() {
    let before = [
        (Act::Publish, "publish: announced"),
        (Act::Publish, "publish: published stored"),
        (Act::Publish, "claim: writing stored"),
        (Act::PassOver, "skip: sequence stored"),
        (Act::PassOver, "skip: skipped stored"),
        (Act::RollOver, "roll over: ready"),
        (Act::RollOver, "roll over: renamed"),
        (Act::Unlink, "remove: control segment removed"),
    ];
    for (act, point) in before {
        for next in points(Act::TakeOver) {
            println!("{point}, then {next}");
            let mut scene = Scene::new(Form::Bytes, 7);
            scene.kill_writer(act, point, 1);
            scene.kill_writer(Act::TakeOver, next, 1);
            scene.kill_writer(Act::TakeOver, next, 1);
            scene.go_on();
        }
    }
}

#[test]
fn reader_that_dies_holds_nobody_up() {
    for form in [Form::Bytes, Form::Arrow] {
        for act in [Act::ReadLossless, Act::Lease, Act::Sleep] {
            for point in points(act) {
                // Those that come again with every message.
                let each = [
                    "consume: copied",
                    "gate: moved",
                    "lease: stored",
                    "lease: confirmed",
                    "lease: released",
                ];
                let counts: &[u64] = if each.contains(point) { &[1, 2, 3] } else { &[1] };
                for (count, slots) in
                    counts.iter().flat_map(|count| [5, 8].map(|slots| (*count, slots)))
                {
                    println!("{act:?}, {form:?}, {slots} slots: {point}, number {count}");
                    let mut scene = Scene::new(form, slots);
                    scene.kill_reader(act, point, count);
                    scene.go_on();
                }
            }
        }
    }
}

#[test]
fn several_readers_that_die_at_different_points_hold_nobody_up() {
    let mut scene = Scene::new(Form::Bytes, 8);
    for act in [Act::ReadLossless, Act::Lease, Act::Sleep] {
        points(act).iter().for_each(|point| scene.kill_reader_only(act, point, 1));
    }
    scene.kill_reader(Act::ReadLossless, "join: joins moved", 1);
    scene.go_on();
}

#[test]
fn creator_that_dies_leaves_a_name_that_can_be_used() {
    for point in points(Act::Create) {
        for deaths in 1..=3 {
            println!("{point}, {deaths} times");
            let ring = RingName::new("crash-create");
            for _ in 0..deaths {
                let ready = *point == "create: ready";
                // A ring that is there is taken over and not created.
                if !(ready && inspect::objects(ring.name()).len() == 2) {
                    act::die(act::start(Act::Create, point, 1, ring.name(), Form::Bytes, 4), || {});
                }
                match act::at_once().start(Start::Oldest).attach(ring.name()) {
                    Ok(reader) => assert!(ready && reader.read(0).unwrap().is_none()),
                    Err(error) => {
                        assert!(!ready && matches!(error, QADataSwapError::ReadTimeout), "{error}")
                    }
                }
            }
            let writer = act::impatient(4).create(ring.name()).unwrap();
            let stats = writer.stats();
            let epoch = if *point == "create: ready" { 2 } else { 1 };
            assert_eq!((stats.message_count, stats.position, stats.epoch), (0, 0, epoch));
            let reader = act::at_once().lossless(true).attach(ring.name()).unwrap();
            for number in 0..10 {
                Form::Bytes.write(&writer, number, 100).unwrap();
                assert_eq!(Form::Bytes.read(&reader, u64::MAX).unwrap(), Some(number));
            }
            assert_eq!(inspect::objects(ring.name()).len(), 2);
            writer.unlink().unwrap();
            assert!(inspect::objects(ring.name()).is_empty());
        }
    }
}
