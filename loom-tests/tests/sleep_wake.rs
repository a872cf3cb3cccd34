//! No reader sleeps through a message. Loom reports a reader that is never woken as a deadlock.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::ring::Position;
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::publish::Publisher;
use qadataswap_loom_tests::{HeapRing, Seen, broken_twins, check};

fn read_all(ring: &HeapRing, messages: u64) {
    let mut cursor = Cursor::attach(ring, Start::Oldest, Position::new(0)).unwrap();
    let mut accounted = 0;
    while accounted < messages {
        match ring.look(&mut cursor) {
            Seen::Message(_) => accounted += 1,
            Seen::Lost(lost) => accounted += lost,
            Seen::Nothing => ring.sleep(&mut cursor),
        }
    }
}

fn sleepers(readers: usize, messages: u64) {
    let ring = Arc::new(HeapRing::new(2));
    let readers: Vec<_> = (0..readers)
        .map(|_| {
            let ring = ring.clone();
            thread::spawn(move || read_all(&ring, messages))
        })
        .collect();
    let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
    for n in 0..messages {
        ring.publish(&mut publisher, n);
        ring.wake();
    }
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn one_sleeper_gets_every_message() {
    check(3, || sleepers(1, 2));
}

#[test]
fn two_sleepers_do_not_lose_each_others_wake_up() {
    check(3, || sleepers(2, 1));
}

broken_twins! {
    without_the_writers_fence_a_wake_up_is_lost: W4, AWAKE, 3, || sleepers(1, 2);
    without_the_readers_fence_a_wake_up_is_lost: R4, AWAKE, 3, || sleepers(1, 2);
    without_the_second_look_a_wake_up_is_lost: R4Look, AWAKE, 3, || sleepers(1, 2);
    without_the_second_look_two_sleepers_lose_one: R4Look, AWAKE, 3, || sleepers(2, 1);
    without_moving_the_futex_word_a_wake_up_is_lost: W5Move, AWAKE, 3, || sleepers(1, 2);
    without_the_release_of_the_futex_word_a_wake_up_is_lost: W5, AWAKE, 3, || sleepers(1, 2);
    without_the_acquire_of_the_futex_word_a_wake_up_is_lost: R5, AWAKE, 3, || sleepers(1, 2);
}
