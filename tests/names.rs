//! Ring names and the options of a ring: what is accepted, and what is refused before anything was
//! made.

mod support;

use qadataswap::{QADataSwapError, ReaderOptions, WriterOptions, create_writer};
use support::RingName;

const LONGEST: usize = qadataswap::MAX_NAME_BYTES;

/// Everything that takes a name, and what it says to this one.
fn refusals(name: &str) -> [QADataSwapError; 3] {
    [
        create_writer(name, 4).expect_err("no writer"),
        ReaderOptions::new().attach_timeout_ms(0).attach(name).expect_err("no reader"),
        qadataswap::unlink(name).expect_err("nothing to unlink"),
    ]
}

#[track_caller]
fn assert_invalid(name: &str) {
    for error in refusals(name) {
        assert!(matches!(error, QADataSwapError::InvalidName), "{name:?}: {error:?}");
        assert!(error.to_string().contains("245"), "says what the rules are: {error}");
    }
}

/// A name of `bytes` bytes that ends in as many of `fill` as fit.
fn padded(bytes: usize, fill: char) -> String {
    let mut name = RingName::new("pad").name().to_owned();
    while name.len() + fill.len_utf8() <= bytes {
        name.push(fill);
    }
    while name.len() < bytes {
        name.insert(0, 'p');
    }
    name
}

/// Publishes, reads, lists and unlinks under this name.
#[track_caller]
fn assert_usable(name: String) {
    let ring = RingName::exactly(name);
    let writer = create_writer(ring.name(), 4).unwrap();
    assert_eq!(writer.name(), ring.name());
    writer.write(b"by name").unwrap();
    let reader = ReaderOptions::new().attach_timeout_ms(0).attach(ring.name()).unwrap();
    assert_eq!(reader.name(), ring.name());
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"by name"[..]));
    assert!(qadataswap::list().unwrap().contains(&ring.name().to_owned()));
    for path in [ring.data_path(), ring.control_path()] {
        assert!(std::fs::exists(&path).unwrap(), "{path}");
    }
    drop(writer);
    qadataswap::unlink(ring.name()).unwrap();
    assert!(!qadataswap::list().unwrap().contains(&ring.name().to_owned()));
    for path in [ring.data_path(), ring.control_path()] {
        assert!(!std::fs::exists(&path).unwrap(), "{path}");
    }
}

#[test]
fn an_empty_name_is_refused() {
    assert_invalid("");
}

#[test]
fn a_name_of_245_bytes_is_the_longest() {
    assert_eq!(LONGEST, 245);
    assert_usable(padded(LONGEST, 'x'));
    assert_invalid(&padded(LONGEST + 1, 'x'));
    assert_invalid(&"x".repeat(100_000));
}

#[test]
fn the_longest_name_is_counted_in_bytes_not_characters() {
    for fill in ['ü', '行', '𝄞'] {
        assert_usable(padded(LONGEST, fill));
        let longer = padded(LONGEST + 1, fill);
        assert!(longer.chars().count() < LONGEST && longer.len() == LONGEST + 1);
        assert_invalid(&longer);
    }
}

#[test]
fn a_ring_of_the_longest_name_can_roll_over() {
    let ring = RingName::exactly(padded(LONGEST, 'r'));
    let writer = WriterOptions::new(2).slot_capacity(16).create(ring.name()).unwrap();
    writer.write(&[7; 1000]).unwrap();
    assert_eq!(writer.stats().rollovers, 1);
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    assert_eq!(reader.read(0).unwrap(), Some(vec![7; 1000]));
}

#[test]
fn a_slash_anywhere_is_refused() {
    for name in ["/", "/a", "a/", "a/b", "../a", "a/../b"] {
        assert_invalid(name);
    }
}

#[test]
fn control_characters_are_refused() {
    // NUL, the rest of ASCII's, DEL, and the second set (C1) of Unicode.
    let control = ('\0'..' ').chain('\u{7f}'..='\u{9f}');
    for character in control {
        for name in [format!("{character}a"), format!("a{character}b"), format!("a{character}")] {
            assert_invalid(&name);
        }
    }
}

#[test]
fn a_leading_dot_is_refused() {
    for name in [".", "..", ".a", "..."] {
        assert_invalid(name);
    }
}

#[test]
fn the_suffixes_of_a_rings_other_objects_are_refused() {
    for name in [".ctl", ".next", "a.ctl", "a.next", "a.ctl.next"] {
        assert_invalid(name);
    }
}

#[test]
fn unusual_names_are_as_good_as_any() {
    let id = std::process::id();
    for name in [
        "with space",
        " leading and trailing ",
        "行情-ES",
        "naïve-übung",
        "emoji-📈",
        "a.b.c",
        "x.ctl.y",
        "x.nextone",
        "-rf",
        "*?[]{}$~'\"\\|;&<>!#%",
        "trailing.",
        "UPPER.CTL",
        "\u{a0}nbsp",
        "e\u{301}combining",
    ] {
        // The id goes into the middle where the end or the start matters.
        let middle = name.char_indices().nth(1).map_or(name.len(), |(at, _)| at);
        assert_usable(format!("{}{id}{}", &name[..middle], &name[middle..]));
    }
}

#[test]
fn names_that_differ_in_case_or_normal_form_are_different_rings() {
    let id = std::process::id();
    let pairs = [("Case", "case"), ("\u{e9}", "e\u{301}")];
    for (one, other) in pairs {
        let (one, other) = (format!("t{id}{one}"), format!("t{id}{other}"));
        let (one, other) = (RingName::exactly(one), RingName::exactly(other));
        let first = create_writer(one.name(), 2).unwrap();
        let second = create_writer(other.name(), 2).unwrap();
        first.write(b"1").unwrap();
        second.write(b"2").unwrap();
        for (ring, message) in [(&one, b"1"), (&other, b"2")] {
            let reader = ReaderOptions::new().attach(ring.name()).unwrap();
            assert_eq!(reader.read(0).unwrap().as_deref(), Some(&message[..]));
        }
    }
}

/// Creating with these options is refused, says which option it is, and leaves nothing behind.
#[track_caller]
fn assert_refused(options: &WriterOptions, wrong_option: &str, wrong_value: u64) {
    let ring = RingName::new("refused");
    match options.create(ring.name()) {
        Err(ref error @ QADataSwapError::InvalidOption { option, value, rule }) => {
            assert_eq!((option, value), (wrong_option, wrong_value));
            let text = error.to_string();
            assert!(text.contains(rule) && text.contains(&value.to_string()), "{text}");
        }
        other => panic!("{options:?}: {other:?}"),
    }
    for path in [ring.data_path(), ring.control_path(), ring.next_path()] {
        assert!(!std::fs::exists(&path).unwrap(), "{path} was left behind");
    }
}

const MOST_SLOTS: usize = 1 << 24;
const LARGEST_SLOT: usize = 4_294_963_200;

#[test]
fn slot_counts_that_cannot_be_are_refused() {
    for count in [0, MOST_SLOTS + 1, u32::MAX as usize, 1 << 62, usize::MAX - 1, usize::MAX] {
        assert_refused(&WriterOptions::new(count), "slot_count", count as u64);
        let sized = WriterOptions::new(count).slot_capacity(1);
        assert_refused(&sized, "slot_count", count as u64);
    }
}

#[test]
fn slot_capacities_that_cannot_be_are_refused() {
    for bytes in [0, LARGEST_SLOT + 1, u32::MAX as usize, 1 << 62, usize::MAX - 63, usize::MAX] {
        let options = WriterOptions::new(1).slot_capacity(bytes);
        assert_refused(&options, "slot_capacity", bytes as u64);
    }
}

#[test]
fn a_ring_too_large_as_a_whole_is_refused() {
    // The largest of both, and pairs whose product is just beyond the limit of 1 TiB.
    for (count, bytes) in [
        (MOST_SLOTS, LARGEST_SLOT),
        (257, LARGEST_SLOT),
        (MOST_SLOTS, 1 << 16),
        (1 << 20, 1 << 20),
        (1 << 14, 1 << 26),
    ] {
        let ring = RingName::new("too-large");
        let error = WriterOptions::new(count).slot_capacity(bytes).create(ring.name()).unwrap_err();
        let QADataSwapError::InvalidOption { value, .. } = error else { panic!("{error:?}") };
        assert!(value > 1 << 40, "{value} bytes in all");
        assert!(!std::fs::exists(ring.data_path()).unwrap());
    }
}

#[test]
fn the_extremes_that_are_allowed_work() {
    // Address space only: the segments are sparse.
    for (count, bytes) in [(1, 1), (1, LARGEST_SLOT), (256, 1 << 31), (MOST_SLOTS, 1)] {
        let ring = RingName::new("extreme");
        let writer = WriterOptions::new(count).slot_capacity(bytes).create(ring.name()).unwrap();
        assert_eq!((writer.slot_count(), writer.slot_capacity()), (count, bytes));
        writer.write(b"x").unwrap();
        let reader = ReaderOptions::new().attach(ring.name()).unwrap();
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"x"[..]));
    }
}

#[test]
fn without_a_size_slots_are_large_but_the_ring_is_bounded() {
    for (count, capacity) in
        [(1, 16 << 20), (1024, 16 << 20), (1025, (16 << 30) / 1025), (MOST_SLOTS, 4096)]
    {
        let ring = RingName::new("default-size");
        let writer = create_writer(ring.name(), count).unwrap();
        assert_eq!(writer.slot_capacity(), capacity);
    }
}

#[test]
fn modes_that_make_no_sense_are_refused() {
    // No access for the owner, execute, set-uid and sticky bits, bits that are no mode at all.
    for mode in [0, 0o400, 0o200, 0o066, 0o700, 0o777, 0o601, 0o4600, 0o1666, 0o10_0600, u32::MAX] {
        assert_refused(&WriterOptions::new(4).mode(mode), "mode", mode.into());
        let control = WriterOptions::new(4).control_mode(mode);
        assert_refused(&control, "control_mode", mode.into());
    }
}

#[test]
fn a_bad_option_does_not_touch_a_ring_that_is_there() {
    let ring = RingName::new("untouched");
    let writer = create_writer(ring.name(), 4).unwrap();
    writer.write(b"kept").unwrap();
    drop(writer);
    for options in [WriterOptions::new(0), WriterOptions::new(4).slot_capacity(0)] {
        let refused = options.create(ring.name());
        assert!(matches!(refused, Err(QADataSwapError::InvalidOption { .. })), "{refused:?}");
    }
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"kept"[..]));
}
