//! Nothing torn is returned, nothing goes backwards, every loss is counted.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::ring::Position;
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::hold::{self, EntryMask};
use qadataswap::ring::publish::Publisher;
use qadataswap_loom_tests::property::*;
use qadataswap_loom_tests::{HeapRing, Reading, broken_twins, check};

/// A writer publishes `messages` into `slots` while a reader looks `looks` times; afterwards the reader
/// drains the ring. What it consumed and what it was told it lost make up everything.
fn lossy_reader(slots: usize, messages: u64, looks: usize) {
    let ring = Arc::new(HeapRing::new(slots));
    let cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let writer = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
            for n in 0..messages {
                ring.publish(&mut publisher, n);
            }
        }
    });
    let mut reading = Reading::from(cursor);
    for _ in 0..looks {
        reading.look(&ring);
    }
    writer.join().unwrap();
    reading.finish(&ring, messages);
    assert_eq!(reading.last, Some(messages - 1), "{TO_THE_END}");
}

#[test]
fn one_slot_never_tears() {
    check(2, || lossy_reader(1, 3, 2));
}

#[test]
fn two_slots_count_every_loss() {
    check(2, || lossy_reader(2, 4, 2));
}

/// The writer has passed over a position that a reader comes to only after it was lapped: a ring of one slot
/// gives the writer's own count, and what the reader lost are messages, not positions.
fn lapped_over_a_skip() {
    let ring = Arc::new(HeapRing::with_entries(1, 1));
    let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
    ring.publish_held(&mut publisher, 0, EntryMask::NONE);
    let cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let floor = hold::begin_leasing(&*ring, &*ring, 0);
    ring.lease(&mut cursor.clone(), 0, floor).expect("nobody else is there");
    ring.publish_held(&mut publisher, 1, EntryMask::NONE);
    hold::release(ring.entry_of(0), 0);
    let writer = thread::spawn({
        let ring = ring.clone();
        move || {
            for n in 2..4 {
                ring.publish(&mut publisher, n);
            }
        }
    });
    let mut reading = Reading::from(cursor);
    for _ in 0..2 {
        reading.look(&ring);
    }
    writer.join().unwrap();
    reading.finish(&ring, 3);
}

#[test]
fn a_lapped_reader_counts_messages() {
    check(2, lapped_over_a_skip);
}

/// A reader attaches beside a writer of three messages, and accounts for all from its first on.
fn late_reader(slots: usize, start: Start) {
    let ring = Arc::new(HeapRing::new(slots));
    let writer = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
            for n in 0..3 {
                ring.publish(&mut publisher, n);
            }
        }
    });
    let attached = Cursor::attach(&*ring, start, Position::new(0));
    writer.join().unwrap();
    if let Some(cursor) = attached {
        let first = cursor.position().get();
        assert_eq!(cursor.sequence(), first, "{NUMBERED}");
        Reading::from(cursor).finish(&ring, 3 - first);
    }
}

#[test]
fn a_late_reader_starts_with_a_whole_message() {
    for start in [Start::Oldest, Start::Newest, Start::Next] {
        check(2, move || late_reader(2, start));
        check(2, move || late_reader(1, start));
    }
}

broken_twins! {
    without_the_fence_after_writing_it_tears: W1, WHOLE, 2, || lossy_reader(1, 3, 2);
    without_the_release_of_published_it_tears: W2, WHOLE, 2, || lossy_reader(1, 3, 2);
    without_the_acquire_of_the_generation_it_tears: R1, WHOLE, 2, || lossy_reader(1, 3, 2);
    without_the_fence_after_the_copy_it_tears: R2, WHOLE, 2, || lossy_reader(1, 3, 2);
    without_the_second_look_it_tears: R2Look, WHOLE, 2, || lossy_reader(1, 3, 2);
    without_the_second_look_it_tears_in_two_slots: R2Look, WHOLE, 2, || lossy_reader(2, 4, 2);
    counted_in_positions_a_skip_would_be_a_loss: LossInMessages, ALL_COUNTED, 2, lapped_over_a_skip;
    without_the_second_look_at_the_count_it_is_wrong: NextLook, ALL_COUNTED, 2, lapped_over_a_skip;
    without_the_release_of_the_header_attaching_fails: W3, NUMBERED, 2, || late_reader(1, Start::Next);
    without_the_second_look_a_late_reader_counts_wrong: SequenceLook, NUMBERED, 2,
        || late_reader(2, Start::Oldest);
    without_the_second_look_at_the_count_a_late_reader_counts_wrong: NextLook, NUMBERED, 2,
        || late_reader(1, Start::Next);
}
