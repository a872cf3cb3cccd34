//! A data segment whose header has been damaged, word by word. Whoever opens it gets a clear error or,
//! where the damage does not matter, a ring that works.
//!
//! Segments that are wrong as a whole are in `bad_objects.rs`, damage to slots is in `bad_slots.rs`, to
//! the control segment in `bad_control.rs`.

mod support;

use std::sync::Arc;

use qadataswap::QADataSwapError;
use support::damage::{
    MESSAGES, Ring, SLOTS, exercise, latest, message, reader, with_bad_values, writer,
};
use support::raw::{self, Random};
use support::threads::must_return;

/// The words that the checksum covers, and their widths.
const FIXED: [(&str, u64, u32); 11] = [
    ("header_bytes", raw::HEADER_BYTES_WORD, 32),
    ("segment_bytes", raw::SEGMENT_BYTES, 64),
    ("slot_count", raw::SLOT_COUNT, 64),
    ("slot_stride", raw::SLOT_STRIDE, 64),
    ("payload_capacity", raw::PAYLOAD_CAPACITY, 64),
    ("features", raw::FEATURES, 64),
    ("ring_id", raw::RING_ID, 64),
    ("created_ns", raw::CREATED_NS, 64),
    ("first_position", raw::FIRST_POSITION, 64),
    ("first_sequence", raw::FIRST_SEQUENCE, 64),
    ("segment_number", raw::SEGMENT_NUMBER, 64),
];

#[test]
fn the_helpers_agree_with_the_library_about_the_header() {
    let ring = Ring::new("agree", MESSAGES);
    let raw = ring.restore();
    assert_eq!(raw.bytes(raw::MAGIC, 8), b"QADSRING");
    assert_eq!((raw.u32(raw::ABI_VERSION), raw.u32(raw::HEADER_BYTES_WORD)), (3, 4096));
    assert_eq!((raw.u64(raw::SLOT_COUNT), raw.u64(raw::PAYLOAD_CAPACITY)), (SLOTS, 40));
    assert_eq!(raw.u64(raw::SEGMENT_BYTES), raw.len());
    assert_eq!((raw.u64(raw::PUBLISHED), raw.u64(raw::MESSAGE_COUNT)), (MESSAGES, MESSAGES));
    assert_eq!((raw.u32(raw::PID), raw.u64(raw::EPOCH)), (std::process::id(), 1));
    let checksum = raw.u64(raw::CHECKSUM);
    raw.fix_checksum();
    assert_eq!(raw.u64(raw::CHECKSUM), checksum);
    ring.assert_harmless("a copy of the segment");
}

#[test]
fn a_wrong_magic_number_is_damage_and_none_is_a_ring_never_finished() {
    let ring = Ring::new("magic", MESSAGES);
    with_bad_values(&ring, raw::MAGIC, 64, |_, value| match value {
        0 => ring.assert_started_over("magic 0"),
        _ => ring.assert_damaged(&format!("magic {value:#x}"), &["magic"]),
    });
}

#[test]
fn another_version_is_named_beside_ones_own() {
    let ring = Ring::new("version", MESSAGES);
    with_bad_values(&ring, raw::ABI_VERSION, 32, |_, value| {
        ring.assert_refused(&format!("version {value}"), |error| {
            let text = error.to_string();
            assert!(text.contains(&format!("version {value}")), "{text}");
            matches!(error, QADataSwapError::VersionMismatch { found, expected: 3, .. }
                if u64::from(*found) == value)
        });
    });
}

#[test]
fn no_field_that_never_changes_can_be_changed() {
    let ring = Ring::new("fixed", MESSAGES);
    for (name, at, bits) in FIXED.into_iter().chain([("checksum", raw::CHECKSUM, 64)]) {
        with_bad_values(&ring, at, bits, |_, value| {
            let fields = [name, "slot_count or payload_capacity", "slot_stride", "segment_bytes"];
            let fields = [&fields[..], &["segment size", "checksum"]].concat();
            ring.assert_damaged(&format!("{name} {value:#x}"), &fields);
        });
    }
}

#[test]
fn fields_that_were_changed_with_the_checksum_are_checked_against_each_other() {
    let ring = Ring::new("forged", MESSAGES);
    for (name, at, bits) in FIXED {
        with_bad_values(&ring, at, bits, |raw, value| {
            raw.fix_checksum();
            let what = format!("{name} {value:#x}");
            match name {
                // For operators, and to tell rings and their segments apart.
                "ring_id" | "created_ns" | "segment_number" => ring.assert_harmless(&what),
                // Counts from it only when there is no message.
                "first_sequence" => exercise(&ring.name, &what),
                // A ring without holds: the next writer moves it to one with them.
                "features" if value == 0 => exercise(&ring.name, &what),
                // The slots take that much too.
                "payload_capacity" if (1..=64).contains(&value) => exercise(&ring.name, &what),
                // The segment could well have begun there.
                "first_position" if value <= MESSAGES => exercise(&ring.name, &what),
                "first_position" => ring.assert_damaged(&what, &["first_position", "published"]),
                _ => {
                    let fields = [name, "slot_count or payload_capacity", "slot_stride"];
                    let fields = [&fields[..], &["segment_bytes", "segment size"]].concat();
                    ring.assert_damaged(&what, &fields);
                }
            }
        });
    }
}

#[test]
fn a_forged_first_position_of_an_empty_ring_does_no_harm() {
    let ring = Ring::new("forged-position", 0);
    with_bad_values(&ring, raw::FIRST_POSITION, 64, |raw, value| {
        raw.set_u64(raw::PUBLISHED, value);
        raw.fix_checksum();
        exercise(&ring.name, &format!("first position {value:#x}"));
    });
}

#[test]
fn a_forged_first_sequence_of_an_empty_ring_does_no_harm() {
    let ring = Ring::new("forged-sequence", 0);
    with_bad_values(&ring, raw::FIRST_SEQUENCE, 64, |raw, value| {
        raw.fix_checksum();
        exercise(&ring.name, &format!("first sequence {value:#x}"));
    });
}

#[test]
fn the_owner_and_the_futex_word_may_be_anything() {
    let ring = Ring::new("owner", MESSAGES);
    for (name, at, bits) in [
        ("pid", raw::PID, 32),
        ("start_ticks", raw::START_TICKS, 64),
        ("epoch", raw::EPOCH, 64),
        ("wake_sequence", raw::WAKE_SEQUENCE, 32),
        ("claimed", raw::CLAIMED, 64),
    ] {
        with_bad_values(&ring, at, bits, |_, value| {
            ring.assert_harmless(&format!("{name} {value:#x}"));
        });
    }
}

#[test]
fn a_wrong_message_count_does_not_matter_to_readers_and_deceives_no_writer() {
    let ring = Ring::new("message-count", MESSAGES);
    with_bad_values(&ring, raw::MESSAGE_COUNT, 64, |_, value| {
        let what = format!("message count {value:#x}");
        let reader = reader(&ring.name).unwrap();
        for number in MESSAGES - SLOTS..MESSAGES {
            assert_eq!(reader.read(0).unwrap(), Some(message(number)), "{what}");
        }
        // The slots say otherwise.
        match writer(&ring.name) {
            Err(QADataSwapError::Damaged { .. }) => {}
            Err(other) => panic!("{what}: {other:?}"),
            Ok(writer) => assert_eq!(writer.stats().message_count, MESSAGES, "{what}"),
        }
    });
}

#[test]
fn a_published_word_that_says_more_than_the_slots_is_damage() {
    let ring = Ring::new("published-more", MESSAGES);
    with_bad_values(&ring, raw::PUBLISHED, 64, |_, value| {
        if value > MESSAGES {
            ring.assert_damaged(&format!("published {value:#x}"), &["published"]);
        }
    });
}

#[test]
fn a_published_word_that_lags_behind_the_slots_deceives_no_writer() {
    let ring = Ring::new("published-less", MESSAGES);
    let all: Vec<_> = (0..MESSAGES).map(message).collect();
    for value in 0..MESSAGES {
        ring.restore().set_u64(raw::PUBLISHED, value);
        let what = format!("published {value}");
        let before = reader(&ring.name);
        match &before {
            Err(QADataSwapError::Damaged { .. }) => {}
            Err(other) => panic!("{what}: {other:?}"),
            // It may begin anywhere, but from there on it misses nothing.
            Ok(reader) => {
                let seen: Vec<_> = std::iter::from_fn(|| reader.read(0).unwrap()).collect();
                assert!(all.ends_with(&seen), "{what}: {seen:?}");
            }
        }
        // The next position comes from the slots. A writer that was killed can have left the word one
        // behind; one that lags further may also be refused.
        let writer = match writer(&ring.name) {
            Err(QADataSwapError::Damaged { .. }) if value + 1 < MESSAGES => continue,
            result => result.unwrap_or_else(|error| panic!("{what}: {error:?}")),
        };
        let stats = writer.stats();
        assert_eq!((stats.message_count, stats.position), (MESSAGES, MESSAGES), "{what}");
        ring.assert_works(&what, &writer, latest(&ring.name));
        if let Ok(reader) = before {
            let read = must_return(&what, move || reader.read(u64::MAX));
            assert!(matches!(read, Ok(Some(_))), "{what}: {read:?}");
        }
    }
}

#[test]
fn a_state_that_is_none_is_damage() {
    let ring = Ring::new("state", MESSAGES);
    with_bad_values(&ring, raw::STATE, 32, |_, value| {
        if value > 2 {
            ring.assert_damaged(&format!("state {value:#x}"), &["state"]);
        }
    });
}

#[test]
fn a_ring_that_looks_closed_is_drained_and_can_be_reopened() {
    let ring = Ring::new("state-closed", MESSAGES);
    ring.restore().set_u32(raw::STATE, 1);
    let reader = reader(&ring.name).unwrap();
    for number in MESSAGES - SLOTS..MESSAGES {
        assert_eq!(reader.read(0).unwrap(), Some(message(number)));
    }
    assert!(matches!(reader.read(u64::MAX), Err(QADataSwapError::Closed)));
    let writer = writer(&ring.name).unwrap();
    assert_eq!(writer.stats().message_count, MESSAGES);
    ring.assert_works("reopened", &writer, reader);
}

#[test]
fn a_ring_that_looks_superseded_and_is_not_does_not_hang_its_readers() {
    let ring = Ring::new("state-superseded", MESSAGES);
    ring.restore().set_u32(raw::STATE, 2);
    let reader = reader(&ring.name).unwrap();
    for number in MESSAGES - SLOTS..MESSAGES {
        assert_eq!(reader.read(0).unwrap(), Some(message(number)));
    }
    let reader = must_return("reading after the end", move || {
        for timeout_ms in [0, 1] {
            match reader.read(timeout_ms) {
                Ok(None) | Err(QADataSwapError::Damaged { .. } | QADataSwapError::Closed) => {}
                other => panic!("{other:?}"),
            }
        }
        reader
    });
    let writer = writer(&ring.name).unwrap();
    ring.assert_works("taken over", &writer, reader);
}

#[test]
fn no_word_of_the_header_page_can_crash_or_hang_anybody() {
    let ring = Arc::new(Ring::new("any-word", MESSAGES));
    let mut random = Random(1);
    for at in (0..raw::HEADER_BYTES).step_by(4) {
        let values = [0, 1, 2, u32::MAX, random.next() as u32];
        let ring = ring.clone();
        must_return(&format!("the word at {at}"), move || {
            for value in values {
                ring.restore().set_u32(at, value);
                exercise(&ring.name, &format!("{value:#x} at {at}"));
            }
        });
    }
}

#[test]
fn words_that_mean_nothing_may_be_anything() {
    let ring = Ring::new("unused", MESSAGES);
    let used = [raw::MAGIC..104, raw::PUBLISHED..160, raw::PID..280];
    let mut random = Random(2);
    for at in (0..raw::HEADER_BYTES).step_by(4) {
        if !used.iter().any(|used| used.contains(&at)) {
            ring.restore().set_u32(at, random.next() as u32 | 1);
            // One look is enough for the many that are far from anything.
            if at < 512 || at % 256 == 0 {
                ring.assert_harmless(&format!("the word at {at}"));
            } else {
                let reader = reader(&ring.name).unwrap();
                assert_eq!(reader.read(0).unwrap(), Some(message(MESSAGES - SLOTS)), "at {at}");
            }
        }
    }
}
