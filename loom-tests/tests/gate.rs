//! Nothing that a settled gate covers is overwritten, however the reader's joining and the writer's claims
//! interleave; a reader that was given up notices.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::ring::Position;
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::hold::{self, EntryMask};
use qadataswap::ring::publish::{Claim, Publisher};
use qadataswap_loom_tests::{HeapRing, Seen, broken_twins, check};

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
    let mut cursor = loop {
        attempt += 1;
        if let Some(cursor) = join(ring, entry, attempt) {
            break cursor;
        }
        thread::yield_now();
    };
    for _ in 0..looks {
        match ring.look(&mut cursor) {
            Seen::Message(_) => hold::move_gate(ring.entry_of(entry), cursor.position()),
            Seen::Lost(lost) => panic!("lost {lost} messages"),
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

/// A full ring of so many slots, whose writer tries so often to publish while so many readers join and look.
fn joiners(slots: usize, readers: usize, tries: usize, looks: usize) {
    let (ring, mut publisher) = begun(slots, readers, slots);
    let joining: Vec<_> = (0..readers)
        .map(|entry| {
            let ring = ring.clone();
            thread::spawn(move || reader(&ring, entry, looks))
        })
        .collect();
    write(&ring, &mut publisher, tries);
    for reader in joining {
        reader.join().unwrap();
    }
}

#[test]
fn a_reader_that_joins_is_never_lapped_in_one_slot() {
    check(3, || joiners(1, 1, 2, 2));
}

#[test]
fn nor_in_two() {
    check(2, || joiners(2, 1, 3, 3));
}

#[test]
fn two_readers_that_join_are_both_waited_for() {
    check(2, || joiners(1, 2, 2, 1));
}

#[test]
fn an_idle_ring_gives_a_joining_reader_all_that_it_retains() {
    check(2, || {
        let (ring, _) = begun(2, 1, 3);
        assert_eq!(join(&ring, 0, 1).unwrap().position(), Position::new(1));
    });
}

/// A writer that was killed when it had begun to claim costs a joining reader what it had claimed, no more.
fn claimer_died() {
    let (ring, mut publisher) = begun(2, 1, 3);
    publisher.pass_gates(&*ring, &*ring, EntryMask::NONE).expect("there is no gate");
    let cursor = join(&ring, 0, 1).expect("nobody is at work");
    assert_eq!(cursor.position(), Position::new(2));
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
    let mut publisher = ring.take_over();
    assert_eq!(publisher.position(), Position::new(2));
    write(&ring, &mut publisher, 2);
    joining.join().unwrap();
}

#[test]
fn a_reader_that_joins_beside_a_takeover_is_never_lapped() {
    check(2, joins_beside_a_takeover);
}

/// The writer gives up whoever is in its way. Whether the reader noticed while it joined or later, it was
/// told, and counted what it lost.
#[test]
fn a_reader_that_was_given_up_notices() {
    check(2, || {
        let (ring, mut publisher) = begun(1, 1, 1);
        let reading = thread::spawn({
            let ring = ring.clone();
            move || {
                let mut cursor = join(&ring, 0, 1)?;
                let first = cursor.position().get();
                let (mut consumed, mut lost) = (0, 0);
                for _ in 0..2 {
                    match ring.look(&mut cursor) {
                        Seen::Message(_) => consumed += 1,
                        Seen::Lost(messages) => lost += messages,
                        Seen::Nothing => {}
                    }
                }
                Some((cursor, first, consumed, lost))
            }
        });
        let mut published = 1;
        for _ in 0..2 {
            let n = publisher.position().get();
            let claim = ring.publish_held(&mut publisher, n, EntryMask::NONE);
            if let Claim::Gated(by) = claim {
                assert_eq!(ring.publish_held(&mut publisher, n, by), Claim::Claimed);
            }
            published += 1;
        }
        if let Some((mut cursor, first, mut consumed, mut lost)) = reading.join().unwrap() {
            loop {
                match ring.look(&mut cursor) {
                    Seen::Message(_) => consumed += 1,
                    Seen::Lost(messages) => lost += messages,
                    Seen::Nothing => break,
                }
            }
            assert_eq!(first + consumed + lost, published);
        }
    });
}

broken_twins! {
    without_the_writers_fence_a_gate_is_missed: H1, 3, || joiners(1, 1, 2, 2);
    without_the_look_at_joins_a_gate_is_missed: H1Look, 3, || joiners(1, 1, 2, 2);
    without_the_look_at_gates_they_hold_nothing: GateLook, 3, || joiners(1, 1, 2, 2);
    without_the_readers_fences_a_gate_is_missed: H2, 3, || joiners(1, 1, 2, 2);
    without_the_floor_a_claim_keeps_readers_out: JoinFloor, 2, claimer_died;
    without_the_look_at_gates_a_takeover_overwrites: GateLook, 2, joins_beside_a_takeover;
}
