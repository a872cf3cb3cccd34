//! A new writer goes on where the last one was killed, whatever it left half-done: readers that look on see
//! every message whole, in order and once, and every position is published once.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::layout::{Live, Slot, SlotTable};
use qadataswap::ring::Position;
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::publish::Publisher;
use qadataswap_loom_tests::property::*;
use qadataswap_loom_tests::{HeapRing, Reading, broken_twins, check};

/// Where the first writer is killed.
#[derive(Clone, Copy)]
enum Died {
    /// With a slot claimed and half a message in it.
    Writing,
    /// With a message published that the header does not tell of.
    Unannounced,
    /// Between the two.
    Announced,
}

/// A ring as a writer sees it that is killed before it stores to the header: what it announces is lost.
struct Unannounced<'r>(&'r HeapRing, Live);

impl SlotTable for Unannounced<'_> {
    fn slot_count(&self) -> u64 {
        self.0.slot_count()
    }

    fn payload_bytes(&self) -> usize {
        self.0.payload_bytes()
    }

    fn slot(&self, index: u64) -> Slot<'_> {
        self.0.slot(index)
    }

    fn live(&self) -> &Live {
        &self.1
    }

    fn origin(&self) -> (u64, u64) {
        self.0.origin()
    }

    fn segment_number(&self) -> u64 {
        self.0.segment_number()
    }
}

/// A writer publishes `before` messages and is killed; another takes over and publishes one. (That the first is
/// dead, the second knows from the kernel, by the lock: one thread plays both.)
fn write(ring: &HeapRing, before: u64, died: Died) -> u64 {
    let mut first = Publisher::new(ring, Position::new(0), 0);
    for n in 0..before {
        ring.publish(&mut first, n);
    }
    let mut published = before;
    match died {
        Died::Writing => ring.begin_message(&first, before),
        Died::Announced => {}
        Died::Unannounced => {
            ring.begin_message(&first, before);
            ring.end_message(&Unannounced(ring, Live::default()), &mut first, before);
            published += 1;
        }
    }
    // Whatever was left, it can be gone on with, and that one message comes.
    if let Some(mut second) = ring.take_over() {
        let n = second.position().get();
        ring.publish(&mut second, n);
    }
    published + 1
}

/// A reader looks on so often; afterwards it gets what is left.
fn looked_on(slots: usize, before: u64, died: Died, looks: usize) {
    let ring = Arc::new(HeapRing::new(slots));
    let cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let writer = thread::spawn({
        let ring = ring.clone();
        move || write(&ring, before, died)
    });
    let mut reading = Reading::from(cursor);
    for _ in 0..looks {
        reading.look(&ring);
    }
    let published = writer.join().unwrap();
    reading.finish(&ring, published);
    assert_eq!(reading.last, Some(published - 1), "{TO_THE_END}");
}

#[test]
fn a_half_written_slot_is_written_again() {
    check(2, || looked_on(2, 1, Died::Writing, 3));
    check(2, || looked_on(2, 2, Died::Writing, 3));
}

#[test]
fn in_a_ring_of_one_slot_too() {
    check(2, || looked_on(1, 1, Died::Writing, 3));
}

#[test]
fn a_message_that_was_not_announced_counts() {
    check(2, || looked_on(2, 1, Died::Unannounced, 2));
    check(2, || looked_on(1, 1, Died::Unannounced, 2));
}

#[test]
fn a_writer_that_had_nothing_in_hand_is_followed_by_the_next_position() {
    check(2, || looked_on(2, 1, Died::Announced, 3));
}

/// A reader attaches beside the takeover, and accounts for all from its first message on.
fn attaches(died: Died) {
    let ring = Arc::new(HeapRing::new(2));
    let writer = thread::spawn({
        let ring = ring.clone();
        move || write(&ring, 2, died)
    });
    let attached = Cursor::attach(&*ring, Start::Oldest, Position::new(0));
    let published = writer.join().unwrap();
    let Some(cursor) = attached else { return };
    let first = cursor.position().get();
    assert_eq!(cursor.sequence(), first, "{NUMBERED}");
    Reading::from(cursor).finish(&ring, published - first);
}

#[test]
fn a_reader_that_attaches_meanwhile_counts_right() {
    check(2, || attaches(Died::Writing));
    check(2, || attaches(Died::Unannounced));
}

broken_twins! {
    left_alone_a_half_written_slot_ends_the_ring: RecoverWriting, ALL_COUNTED, 2,
        || looked_on(2, 1, Died::Writing, 3);
    left_alone_it_ends_a_ring_of_one_slot: RecoverWriting, ALL_COUNTED, 2,
        || looked_on(1, 1, Died::Writing, 3);
    by_the_header_alone_a_position_is_issued_twice: RecoverUnannounced, ALL_COUNTED, 2,
        || looked_on(2, 1, Died::Unannounced, 2);
    by_the_header_alone_a_late_reader_counts_wrong: RecoverUnannounced, ALL_COUNTED, 2,
        || attaches(Died::Unannounced);
    without_the_fence_after_writing_it_tears: W1, WHOLE, 2, || looked_on(2, 2, Died::Writing, 3);
    without_the_release_of_published_it_tears: W2, WHOLE, 2, || looked_on(2, 1, Died::Writing, 3);
    without_the_release_the_next_message_tears: W2, WHOLE, 2, || looked_on(2, 1, Died::Announced, 3);
}
