//! Nothing torn is returned, nothing goes backwards, every loss is counted.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::ring::Position;
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::publish::Publisher;
use qadataswap_loom_tests::{HeapRing, Seen, broken_twins, check};

/// A writer publishes `messages` into `slots` while a reader looks `looks` times; afterwards the reader
/// drains the ring. What it consumed and what it was told it lost make up everything.
fn lossy_reader(slots: usize, messages: u64, looks: usize) {
    let ring = Arc::new(HeapRing::new(slots));
    let mut cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let writer = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
            for n in 0..messages {
                ring.publish(&mut publisher, n);
            }
        }
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
    writer.join().unwrap();
    while count(ring.look(&mut cursor)) {}
    assert_eq!(consumed + lost, messages);
    assert_eq!(last, Some(messages - 1), "the last message is in the ring");
}

#[test]
fn one_slot_never_tears() {
    check(2, || lossy_reader(1, 3, 3));
}

#[test]
fn two_slots_count_every_loss() {
    check(2, || lossy_reader(2, 4, 3));
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
    if let Some(mut cursor) = attached {
        let from = cursor.position().get();
        let (mut consumed, mut lost) = (0, 0);
        loop {
            match ring.look(&mut cursor) {
                Seen::Message(_) => consumed += 1,
                Seen::Lost(messages) => lost += messages,
                Seen::Nothing => break,
            }
        }
        assert_eq!(consumed + lost, 3 - from);
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
    without_the_fence_after_writing_it_tears: W1, 2, || lossy_reader(1, 3, 3);
    without_the_release_of_published_it_tears: W2, 2, || lossy_reader(1, 3, 3);
    without_the_acquire_of_the_generation_it_tears: R1, 2, || lossy_reader(1, 3, 3);
    without_the_fence_after_the_copy_it_tears: R2, 2, || lossy_reader(1, 3, 3);
    without_the_second_look_it_tears: R2Look, 2, || lossy_reader(1, 3, 3);
    without_the_release_of_the_header_attaching_fails: W3, 2, || late_reader(1, Start::Next);
}
