//! A leased message is not overwritten, whoever comes first; a slot passed over is no loss.
#![cfg(qads_loom)]

use std::convert::Infallible;

use loom::sync::Arc;
use loom::thread;
use qadataswap::layout::SlotTable;
use qadataswap::ring::consume::{Cursor, Start};
use qadataswap::ring::hold::{self, EntryMask};
use qadataswap::ring::publish::{Claim, Publisher};
use qadataswap::ring::{Position, State};
use qadataswap::sync::Ordering;
use qadataswap_loom_tests::{HeapRing, Seen, broken_twins, check};

/// A ring in which message 0 is published, and its publisher.
fn begun(slots: usize, entries: usize) -> (Arc<HeapRing>, Publisher) {
    let ring = Arc::new(HeapRing::with_entries(slots, entries));
    let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
    ring.publish_held(&mut publisher, 0, EntryMask::NONE);
    (ring, publisher)
}

/// Leases message 0 through `entry` and looks at it twice.
fn leaseholder(ring: &HeapRing, entry: usize) {
    let Some(mut cursor) = Cursor::attach(ring, Start::Oldest, Position::new(0)) else { return };
    let floor = hold::begin_leasing(ring, ring, entry);
    let Some(found) = ring.lease(&mut cursor, entry, floor) else { return };
    let n = found.position().get();
    assert_eq!(ring.words(&found), (n, n), "not the message");
    thread::yield_now();
    assert_eq!(ring.words(&found), (n, n), "overwritten under a lease");
    hold::release(ring.entry_of(entry), 0);
}

/// A writer that tries so often to publish beside so many leaseholders.
fn overwriter(slots: usize, readers: usize, tries: usize) {
    let (ring, mut publisher) = begun(slots, readers);
    let readers: Vec<_> = (0..readers)
        .map(|entry| {
            let ring = ring.clone();
            thread::spawn(move || leaseholder(&ring, entry))
        })
        .collect();
    for _ in 0..tries {
        let n = publisher.position().get();
        ring.publish_held(&mut publisher, n, EntryMask::NONE);
    }
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn a_leased_message_is_not_overwritten() {
    check(3, || overwriter(1, 1, 1));
}

#[test]
fn nor_after_a_lap() {
    check(2, || overwriter(2, 1, 4));
}

#[test]
fn two_leases_on_one_slot_are_both_seen() {
    check(2, || overwriter(1, 2, 1));
}

/// A writer that passes over a leased slot, and a lossy reader beside the leaseholder: what it consumes and
/// what it loses are all messages.
fn skips() {
    let (ring, mut publisher) = begun(2, 1);
    // The lease stands for the whole of the model.
    let mut cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let mut own = cursor;
    let floor = hold::begin_leasing(&*ring, &*ring, 0);
    ring.lease(&mut own, 0, floor).expect("nobody else is there");
    let writer = thread::spawn({
        let ring = ring.clone();
        move || {
            let mut published = 1;
            for _ in 0..3 {
                // Messages are numbered by position here; the skipped one has none.
                let n = publisher.position().get();
                let before = publisher.sequence();
                ring.publish_held(&mut publisher, n, EntryMask::NONE);
                published += publisher.sequence() - before;
            }
            published
        }
    });
    let (mut consumed, mut lost) = (0, 0);
    let mut count = |seen| match seen {
        Seen::Message(_) => {
            consumed += 1;
            true
        }
        Seen::Lost(messages) => {
            lost += messages;
            true
        }
        Seen::Nothing => false,
    };
    for _ in 0..3 {
        count(ring.look(&mut cursor));
    }
    let published = writer.join().unwrap();
    while count(ring.look(&mut cursor)) {}
    assert_eq!(consumed + lost, published);
    assert_eq!(ring.state_of(0), State::Skipped, "the leased slot was passed over");
}

#[test]
fn a_skip_is_not_a_loss() {
    check(2, skips);
}

/// A reader attaches while the writer passes over the slot of the oldest message: it begins with that one or
/// with the next, and counts right from there.
fn attaches_beside_a_skip() {
    let (ring, mut publisher) = begun(2, 1);
    let mut own = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let floor = hold::begin_leasing(&*ring, &*ring, 0);
    ring.lease(&mut own, 0, floor).expect("nobody else is there");
    ring.publish_held(&mut publisher, 1, EntryMask::NONE);
    let attaching = thread::spawn({
        let ring = ring.clone();
        move || Cursor::attach(&*ring, Start::Oldest, Position::new(0))
    });
    // Passes over position 2.
    ring.publish_held(&mut publisher, 2, EntryMask::NONE);
    if let Some(cursor) = attaching.join().unwrap() {
        // Position 2 has no message, so that from there on the numbers differ.
        let sequence = cursor.position().get().min(2);
        assert_eq!(cursor.sequence(), sequence);
    }
}

#[test]
fn a_reader_that_attaches_beside_a_skip_counts_right() {
    check(3, attaches_beside_a_skip);
}

/// A writer dies while it overwrites message 0, and another takes over, beside a reader that leases.
fn takeover() {
    let (ring, mut publisher) = begun(1, 1);
    let reader = thread::spawn({
        let ring = ring.clone();
        move || leaseholder(&ring, 0)
    });
    let dying = thread::spawn({
        let ring = ring.clone();
        move || {
            if let Claim::Claimed = publisher.claim(&*ring, &*ring, EntryMask::NONE) {
                // Relaxed, like all payload.
                ring.slot(publisher.index()).payload[0].store(1, Ordering::Relaxed);
            }
        }
    });
    // The lock of the dead orders what it did, like a join.
    dying.join().unwrap();
    let recovered = Publisher::recover(&*ring, |_| Ok::<_, Infallible>(true));
    let publisher = recovered.unwrap().expect("nothing is damaged");
    publisher.announce_position(&*ring);
    publisher.withdraw(&*ring);
    reader.join().unwrap();
}

#[test]
fn a_half_written_message_is_not_leased_after_a_takeover() {
    check(3, takeover);
}

broken_twins! {
    without_the_writers_fence_it_is_overwritten: L1, 3, || overwriter(1, 1, 1);
    without_the_writers_second_look_it_is_overwritten: L1Look, 3, || overwriter(1, 1, 1);
    without_the_readers_fence_it_is_overwritten: L2, 3, || overwriter(1, 1, 1);
    without_the_readers_second_look_it_is_overwritten: L2Look, 3, || overwriter(1, 1, 1);
    without_the_fence_of_the_first_lease_it_is_overwritten: H2Lease, 3, || overwriter(1, 1, 1);
    without_the_fence_of_the_claim_it_is_overwritten: H1, 3, || overwriter(1, 1, 1);
    without_the_release_of_what_is_taken_back_it_is: H1Back, 3, takeover;
    without_the_floor_of_the_first_lease_it_is_overwritten: LeaseFloor, 3, || overwriter(1, 1, 1);
    without_writing_a_skip_is_counted_wrong: SkipWriting, 3, attaches_beside_a_skip;
}
