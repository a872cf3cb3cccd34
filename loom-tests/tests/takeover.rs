//! A new writer goes on where the last one was killed, whatever it left half-done: readers that look on see
//! every message whole, in order and once, and every position is published once.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::layout::{Live, Slot, SlotTable};
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::publish::Publisher;
use qadataswap::ring::{Position, State};
use qadataswap_loom_tests::{HeapRing, Seen, broken_twins, check};

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
    let mut second = ring.take_over();
    assert_eq!((second.position().get(), second.sequence()), (published, published));
    ring.publish(&mut second, published);
    published + 1
}

/// A reader looks on so often; afterwards it gets what is left.
fn looked_on(slots: usize, before: u64, died: Died, looks: usize) {
    let ring = Arc::new(HeapRing::new(slots));
    let mut cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let writer = thread::spawn({
        let ring = ring.clone();
        move || write(&ring, before, died)
    });
    let (mut consumed, mut lost, mut last) = (0, 0, None);
    let mut count = |seen| match seen {
        Seen::Message(n) => {
            assert!(last < Some(n), "went backwards");
            last = Some(n);
            consumed += 1;
            true
        }
        Seen::Lost(messages) => {
            lost += messages;
            true
        }
        Seen::Nothing => false,
    };
    for _ in 0..looks {
        count(ring.look(&mut cursor));
    }
    let published = writer.join().unwrap();
    while count(ring.look(&mut cursor)) {}
    assert_eq!(consumed + lost, published);
    assert_eq!(last, Some(published - 1), "the last message is in the ring");
    assert_eq!(ring.state_of(((published - 1) % slots as u64) as usize), State::Published);
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
#[test]
fn a_reader_that_attaches_meanwhile_counts_right() {
    for died in [Died::Writing, Died::Unannounced] {
        check(2, move || {
            let ring = Arc::new(HeapRing::new(2));
            let writer = thread::spawn({
                let ring = ring.clone();
                move || write(&ring, 2, died)
            });
            let attached = Cursor::attach(&*ring, Start::Oldest, Position::new(0));
            let published = writer.join().unwrap();
            let Some(mut cursor) = attached else { return };
            let mut accounted = cursor.position().get();
            loop {
                match ring.look(&mut cursor) {
                    Seen::Message(_) => accounted += 1,
                    Seen::Lost(messages) => accounted += messages,
                    Seen::Nothing => break,
                }
            }
            assert_eq!(accounted, published);
        });
    }
}

broken_twins! {
    left_alone_a_half_written_slot_ends_the_ring: RecoverWriting, 2,
        || looked_on(2, 1, Died::Writing, 3);
    without_the_fence_after_writing_it_tears: W1, 2, || looked_on(2, 2, Died::Writing, 3);
    without_the_release_of_published_it_tears: W2, 2, || looked_on(2, 1, Died::Writing, 3);
}
