//! A leased message is not overwritten, whoever comes first; a slot passed over is no loss.
#![cfg(qads_loom)]

use loom::sync::Arc;
use loom::thread;
use qadataswap::layout::{HoldTable, SlotTable};
use qadataswap::ring::consume::{Cursor, Found, Start};
use qadataswap::ring::hold::{self, EntryMask};
use qadataswap::ring::publish::{Claim, Publisher};
use qadataswap::ring::{Position, State};
use qadataswap::sync::Ordering;
use qadataswap_loom_tests::property::*;
use qadataswap_loom_tests::{HeapRing, Reading, broken_twins, check};

/// A ring in which message 0 is published, and its publisher.
fn begun(slots: usize, entries: usize) -> (Arc<HeapRing>, Publisher) {
    let ring = Arc::new(HeapRing::with_entries(slots, entries));
    let mut publisher = Publisher::new(&*ring, Position::new(0), 0);
    ring.publish_held(&mut publisher, 0, EntryMask::NONE);
    (ring, publisher)
}

/// Looks twice at a message that is leased through `entry`, and ends the lease.
fn read_and_release(ring: &HeapRing, found: &Found<'_>, entry: usize) {
    let n = found.position().get();
    assert_eq!(ring.words(found), (n, n), "{LEASED}");
    thread::yield_now();
    assert_eq!(ring.words(found), (n, n), "{LEASED}");
    hold::release(ring.entry_of(entry), 0);
}

/// Leases message 0 through `entry` and looks at it twice.
fn leaseholder(ring: &HeapRing, entry: usize) {
    let Some(mut cursor) = Cursor::attach(ring, Start::Oldest, Position::new(0)) else { return };
    let floor = hold::begin_leasing(ring, ring, entry);
    let Some(found) = ring.lease(&mut cursor, entry, floor) else { return };
    read_and_release(ring, &found, entry);
}

/// A writer that tries so often to publish beside a leaseholder.
fn overwriter(slots: usize, tries: usize) {
    let (ring, mut publisher) = begun(slots, 1);
    let reader = thread::spawn({
        let ring = ring.clone();
        move || leaseholder(&ring, 0)
    });
    for _ in 0..tries {
        let n = publisher.position().get();
        ring.publish_held(&mut publisher, n, EntryMask::NONE);
    }
    reader.join().unwrap();
}

#[test]
fn a_leased_message_is_not_overwritten() {
    check(3, || overwriter(1, 1));
}

#[test]
fn nor_after_a_lap() {
    check(2, || overwriter(2, 3));
}

/// A reader leases one message after the other, and says each time that it needs nothing before.
fn one_after_the_other(slots: usize, messages: u64) {
    let (ring, mut publisher) = begun(slots, 1);
    let reader = thread::spawn({
        let ring = ring.clone();
        move || {
            let ring = &*ring;
            let attached = Cursor::attach(ring, Start::Oldest, Position::new(0));
            let Some(mut cursor) = attached else { return };
            let floor = hold::begin_leasing(ring, ring, 0);
            for _ in 0..2 {
                hold::lease_from(ring.entry_of(0), cursor.position());
                let Some(found) = ring.lease(&mut cursor, 0, floor) else { return };
                read_and_release(ring, &found, 0);
                cursor.advance(&found);
            }
        }
    });
    for _ in 0..messages {
        let n = publisher.position().get();
        ring.publish_held(&mut publisher, n, EntryMask::NONE);
    }
    reader.join().unwrap();
}

#[test]
fn messages_leased_one_after_the_other_are_not_overwritten() {
    check(2, || one_after_the_other(1, 2));
    check(2, || one_after_the_other(2, 3));
}

/// A reader that may lease nothing before position 3 any more, as the writer knows, dies in the middle of a lease or
/// without one. Another takes its entry and leases what the first had done with.
fn an_entry_changes_hands(died_leasing: bool) {
    let (ring, mut publisher) = begun(2, 1);
    let publish = |publisher: &mut Publisher| {
        let n = publisher.position().get();
        ring.publish_held(publisher, n, EntryMask::NONE)
    };
    publish(&mut publisher);
    let floor = hold::begin_leasing(&*ring, &*ring, 0);
    let from = if died_leasing { 1 } else { 3 };
    hold::lease_from(ring.entry_of(0), Position::new(from));
    if died_leasing {
        let mut cursor = Cursor::attach(&*ring, Start::Newest, Position::new(0)).unwrap();
        ring.lease(&mut cursor, 0, floor).expect("nobody else is there");
    }
    // The writer looks, and need not look again before the position `from + 2`.
    assert_eq!(publish(&mut publisher), Claim::Claimed);
    let reader = thread::spawn({
        let ring = ring.clone();
        move || {
            let ring = &*ring;
            // What its lock tells of the first is that it is dead: this thread plays both.
            ring.clear_holds(0);
            let attached = Cursor::attach(ring, Start::Newest, Position::new(0));
            let Some(mut cursor) = attached else { return };
            let floor = hold::begin_leasing(ring, ring, 0);
            hold::lease_from(ring.entry_of(0), cursor.position());
            let Some(found) = ring.lease(&mut cursor, 0, floor) else { return };
            read_and_release(ring, &found, 0);
        }
    });
    publish(&mut publisher);
    if !died_leasing {
        publish(&mut publisher);
    }
    reader.join().unwrap();
}

#[test]
fn an_entry_that_another_takes_may_lease_earlier_messages_again() {
    check(3, || an_entry_changes_hands(false));
    check(1, || an_entry_changes_hands(true));
}

/// A writer that was refused a slot asks for it again, as one does that waits.
#[test]
fn a_slot_that_is_asked_for_twice_is_looked_at_twice() {
    check(1, || {
        let (ring, mut publisher) = begun(1, 1);
        let mut cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
        let floor = hold::begin_leasing(&*ring, &*ring, 0);
        let found = ring.lease(&mut cursor, 0, floor).expect("nobody else is there");
        for _ in 0..2 {
            let claim = publisher.claim(&*ring, &*ring, EntryMask::NONE);
            assert_eq!(claim, Claim::Leased(EntryMask::of(0)), "{LEASED}");
        }
        assert_eq!(ring.words(&found), (0, 0), "{LEASED}");
    });
}

/// Two readers lease one slot; one of them did before, and ends its lease meanwhile.
fn two_leases() {
    let (ring, mut publisher) = begun(1, 2);
    let mut cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let floor = hold::begin_leasing(&*ring, &*ring, 1);
    let first = ring.lease(&mut cursor, 1, floor).expect("nobody else is there");
    let second = thread::spawn({
        let ring = ring.clone();
        move || leaseholder(&ring, 0)
    });
    let writer = thread::spawn({
        let ring = ring.clone();
        move || ring.publish_held(&mut publisher, 1, EntryMask::NONE)
    });
    assert_eq!(ring.words(&first), (0, 0), "{LEASED}");
    hold::release(ring.entry_of(1), 0);
    second.join().unwrap();
    writer.join().unwrap();
}

#[test]
fn two_leases_on_one_slot_are_both_seen() {
    check(3, two_leases);
}

/// A writer that passes over a leased slot, and a lossy reader beside the leaseholder: what it consumes and
/// what it loses are all messages.
fn skips() {
    let (ring, mut publisher) = begun(2, 1);
    // The lease stands for the whole of the model.
    let cursor = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
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
    let mut reading = Reading::from(cursor);
    for _ in 0..3 {
        reading.look(&ring);
    }
    let published = writer.join().unwrap();
    reading.finish(&ring, published);
    assert_eq!(ring.state_of(0), State::Skipped, "the leased slot was passed over");
}

#[test]
fn a_skip_is_not_a_loss() {
    check(2, skips);
}

/// A reader attaches while the writer passes over the slot of the oldest message: it begins with that one or
/// with the next, and counts right from there.
fn attaches_beside_a_skip(slots: u64) {
    let (ring, mut publisher) = begun(slots as usize, 1);
    let mut own = Cursor::attach(&*ring, Start::Oldest, Position::new(0)).unwrap();
    let floor = hold::begin_leasing(&*ring, &*ring, 0);
    ring.lease(&mut own, 0, floor).expect("nobody else is there");
    for n in 1..slots {
        ring.publish_held(&mut publisher, n, EntryMask::NONE);
    }
    let attaching = thread::spawn({
        let ring = ring.clone();
        move || Cursor::attach(&*ring, Start::Oldest, Position::new(0))
    });
    // Passes over the slot of message 0.
    ring.publish_held(&mut publisher, slots, EntryMask::NONE);
    if let Some(cursor) = attaching.join().unwrap() {
        // That position has no message, so that from there on the numbers differ.
        let sequence = cursor.position().get().min(slots);
        assert_eq!(cursor.sequence(), sequence, "{NUMBERED}");
    }
}

#[test]
fn a_reader_that_attaches_beside_a_skip_counts_right() {
    check(3, || attaches_beside_a_skip(1));
    check(3, || attaches_beside_a_skip(2));
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
    ring.take_over().expect("nothing is damaged");
    reader.join().unwrap();
}

#[test]
fn a_half_written_message_is_not_leased_after_a_takeover() {
    check(3, takeover);
}

broken_twins! {
    without_the_writers_fence_it_is_overwritten: L1, LEASED, 3, || overwriter(1, 1);
    without_the_writers_second_look_it_is_overwritten: L1Look, LEASED, 3, || overwriter(1, 1);
    without_the_readers_fence_it_is_overwritten: L2, LEASED, 3, || overwriter(1, 1);
    without_the_readers_second_look_it_is_overwritten: L2Look, LEASED, 3, || overwriter(1, 1);
    without_the_fence_of_the_first_lease_it_is_overwritten: H2Lease, LEASED, 3, || overwriter(1, 1);
    without_the_fence_of_the_claim_it_is_overwritten: H1, LEASED, 3, || overwriter(1, 1);
    without_the_floor_of_the_first_lease_it_is_overwritten: LeaseFloor, LEASED, 3, || overwriter(1, 1);
    where_nobody_says_that_it_begins_it_is_overwritten: LeaseJoins, LEASED, 3, || overwriter(1, 1);
    where_nobody_says_that_an_entry_is_anothers_it_is_overwritten: LeaseJoins, LEASED, 3, || an_entry_changes_hands(false);
    where_an_entry_says_what_its_last_owner_said_it_is_overwritten: LeaseFromZero, LEASED, 3, || an_entry_changes_hands(false);
    where_who_joins_is_seen_before_what_it_says_it_is_overwritten: JoinsRelease, LEASED, 3, || an_entry_changes_hands(false);
    without_the_floor_it_is_where_an_entry_is_anothers: LeaseFloor, LEASED, 3, || an_entry_changes_hands(false);
    without_a_look_at_what_may_be_leased_it_is_overwritten: LeaseFromLook, LEASED, 3, || overwriter(1, 1);
    without_that_look_one_of_several_is_overwritten: LeaseFromLook, LEASED, 2, || one_after_the_other(2, 3);
    without_the_second_look_it_is_overwritten_after_a_lap: L1Look, LEASED, 3, || overwriter(2, 3);
    without_the_writers_fence_one_of_two_is_overwritten: L1, LEASED, 2, two_leases;
    without_the_release_of_what_is_taken_back_it_is: H1Back, LEASED, 3, takeover;
    counted_in_positions_a_skip_is_a_loss: LossInMessages, ALL_COUNTED, 2, skips;
    without_writing_a_skip_is_counted_wrong: SkipWriting, NUMBERED, 3, || attaches_beside_a_skip(2);
    without_the_release_of_skipped_it_is_counted_wrong: SkipRelease, NUMBERED, 3, || attaches_beside_a_skip(1);
}
