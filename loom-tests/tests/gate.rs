//! Nothing that a settled gate covers is overwritten, however the reader's joining and the writer's claims
//! interleave; a reader that was given up notices.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::ring::Position;
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::hold::{self, EntryMask};
use qadataswap::ring::publish::{Claim, Publisher};
use qadataswap_loom_tests::property::*;
use qadataswap_loom_tests::{HeapRing, Reading, Seen, broken_twins, check};

/// One try to join at the oldest message; `None` if the writer claims the slot meanwhile: because it gave
/// this reader up, or only until it sees the gate.
fn join(ring: &HeapRing, entry: usize, attempt: u64) -> Option<Cursor> {
    let floor = hold::join(ring, ring, entry, attempt);
    let cursor = loop {
        if let Some(cursor) = Cursor::attach(ring, Start::Oldest, floor) {
            break cursor;
        }
        // A claim that began before is under way.
        thread::yield_now();
    };
    hold::settle_gate(ring, ring.entry_of(entry), cursor.position()).then_some(cursor)
}

/// A lossless reader: joins, then reads what is there, and is never lapped.
fn reader(ring: &HeapRing, entry: usize, looks: usize) {
    let mut attempt = 0;
    let cursor = loop {
        attempt += 1;
        if let Some(cursor) = join(ring, entry, attempt) {
            break cursor;
        }
        thread::yield_now();
    };
    read(ring, entry, cursor, looks);
}

fn read(ring: &HeapRing, entry: usize, mut cursor: Cursor, looks: usize) {
    for _ in 0..looks {
        match ring.look(&mut cursor) {
            Seen::Message(_) => hold::move_gate(ring.entry_of(entry), cursor.position()),
            Seen::Lost(lost) => panic!("{GATED}: {lost} messages are lost"),
            Seen::Nothing => {}
        }
    }
}

/// A writer that tries so often to publish.
fn write(ring: &HeapRing, publisher: &mut Publisher, tries: usize) {
    for _ in 0..tries {
        let n = publisher.position().get();
        ring.publish_held(publisher, n, EntryMask::NONE);
    }
}

/// A ring with so many messages in it, and its publisher.
fn begun(slots: usize, entries: usize, messages: usize) -> (Arc<HeapRing>, Publisher) {
    let ring = Arc::new(HeapRing::with_entries(slots, entries));
    let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
    write(&ring, &mut publisher, messages);
    (ring, publisher)
}

/// A full ring of so many slots, whose writer tries so often to publish while a reader joins and looks.
fn joiner(slots: usize, tries: usize, looks: usize) {
    let (ring, mut publisher) = begun(slots, 1, slots);
    let joining = thread::spawn({
        let ring = ring.clone();
        move || reader(&ring, 0, looks)
    });
    write(&ring, &mut publisher, tries);
    joining.join().unwrap();
}

/// The same where another reader has joined before.
fn joins_beside_another() {
    let (ring, mut publisher) = begun(1, 2, 1);
    let cursor = join(&ring, 1, 1).expect(JOINED);
    let joined = thread::spawn({
        let ring = ring.clone();
        move || read(&ring, 1, cursor, 1)
    });
    let joining = thread::spawn({
        let ring = ring.clone();
        move || reader(&ring, 0, 1)
    });
    write(&ring, &mut publisher, 2);
    joined.join().unwrap();
    joining.join().unwrap();
}

#[test]
fn a_reader_that_joins_is_never_lapped_in_one_slot() {
    check(3, || joiner(1, 2, 2));
}

#[test]
fn nor_in_two() {
    check(2, || joiner(2, 3, 3));
}

#[test]
fn two_readers_that_join_are_both_waited_for() {
    check(2, joins_beside_another);
}

/// A reader that fails to join may blame it on the writer only if that had to wait, and so found out.
fn joins_at_once() {
    let (ring, mut publisher) = begun(1, 1, 1);
    let joining = thread::spawn({
        let ring = ring.clone();
        move || join(&ring, 0, 1).is_some()
    });
    let mut waited = false;
    for _ in 0..2 {
        let n = publisher.position().get();
        let claim = ring.publish_held(&mut publisher, n, EntryMask::NONE);
        waited |= matches!(claim, Claim::Gated(_));
    }
    assert!(joining.join().unwrap() || waited, "{JOINED}");
}

#[test]
fn a_claim_that_succeeds_does_not_keep_a_reader_from_joining() {
    check(3, joins_at_once);
}

/// A writer that was killed when it had begun to claim costs a joining reader what it had claimed, no more.
fn claimer_died() {
    let (ring, mut publisher) = begun(2, 1, 3);
    publisher.pass_gates(&*ring, &*ring, EntryMask::NONE).expect("there is no gate");
    let cursor = join(&ring, 0, 1).expect(JOINED);
    assert_eq!(cursor.position(), Position::new(2), "{AT_THE_OLDEST}");
}

#[test]
fn a_claim_that_never_ends_does_not_keep_a_reader_from_joining() {
    check(2, claimer_died);
}

/// A reader joins while a writer is killed with a slot claimed, and beside the one that takes over: nothing that
/// its gate covers is overwritten, and what the dead one had begun to overwrite is not in it.
fn joins_beside_a_takeover() {
    let (ring, mut dying) = begun(2, 1, 2);
    let joining = thread::spawn({
        let ring = ring.clone();
        move || reader(&ring, 0, 2)
    });
    if dying.pass_gates(&*ring, &*ring, EntryMask::NONE).is_ok() {
        ring.begin_message(&dying, 2);
    }
    let mut publisher = ring.take_over().expect("nothing is damaged");
    assert_eq!(publisher.position(), Position::new(2));
    write(&ring, &mut publisher, 2);
    joining.join().unwrap();
}

#[test]
fn a_reader_that_joins_beside_a_takeover_is_never_lapped() {
    check(2, joins_beside_a_takeover);
}

/// The writer gives up whoever is in its way, once. If that was while the reader joined, then it has not joined;
/// in any case it counts what it lost.
fn given_up() {
    let (ring, mut publisher) = begun(1, 1, 1);
    let joining = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut reading = Reading::from(join(&ring, 0, 1)?);
            let first = reading.cursor.position().get();
            reading.look(&ring);
            Some((first, reading))
        }
    });
    if let Claim::Gated(by) = ring.publish_held(&mut publisher, 1, EntryMask::NONE) {
        assert_eq!(ring.publish_held(&mut publisher, 1, by), Claim::Claimed);
    }
    if let Some((first, mut reading)) = joining.join().unwrap() {
        reading.finish(&ring, 2 - first);
        let before = publisher.has_given_up_joining(0);
        assert!(!before || reading.lost == 0, "{REFUSED}");
    }
}

#[test]
fn a_reader_that_was_given_up_notices() {
    check(3, given_up);
}

/// What the writer knows of the gates is how far they let it go in the ring that there is.
#[test]
fn a_move_to_fewer_slots_asks_the_gates_again() {
    check(1, || {
        let (ring, mut publisher) = begun(3, 1, 0);
        let mut cursor = join(&ring, 0, 1).expect("nobody else is there");
        write(&ring, &mut publisher, 2);
        let moved = publisher.pass_gates_to_move(&*ring, &*ring, 1, EntryMask::NONE);
        assert_eq!(moved, Err(EntryMask::of(0)), "{GATED}");
        assert_eq!(ring.look(&mut cursor), Seen::Message(0), "{GATED}");
    });
}

broken_twins! {
    without_the_writers_fence_a_gate_is_missed: H1, GATED, 3, || joiner(1, 2, 2);
    without_the_look_at_joins_a_gate_is_missed: H1Look, GATED, 3, || joiner(1, 2, 2);
    without_the_release_of_joins_a_gate_is_missed: JoinsRelease, GATED, 3, || joiner(1, 2, 2);
    without_the_look_at_gates_they_hold_nothing: GateLook, GATED, 3, || joiner(1, 2, 2);
    without_the_look_at_gates_they_hold_nothing_in_two: GateLook, GATED, 2, || joiner(2, 3, 3);
    without_the_writers_fence_one_of_two_is_missed: H1, GATED, 2, joins_beside_another;
    without_the_readers_fence_a_claim_keeps_it_out: H2, JOINED, 3, joins_at_once;
    without_the_last_fence_a_reader_joins_that_was_given_up: H2Settle, REFUSED, 3, given_up;
    without_the_last_look_a_reader_joins_that_was_given_up: SettleLook, REFUSED, 3, given_up;
    without_the_floor_a_claim_keeps_readers_out: JoinFloor, JOINED, 2, claimer_died;
    without_the_look_at_gates_a_takeover_overwrites: GateLook, GATED, 2, joins_beside_a_takeover;
}
