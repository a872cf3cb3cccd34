//! Counters are exact: on both handles, in the control segment, through everything that happens to a
//! ring.

mod support;

use qadataswap::{
    OnOverrun, QADataSwapError, Reader, ReaderOptions, ReaderStats, Start, Writer, WriterOptions,
};
use support::RingName;
use support::raw::{self, Random, Raw, entry};

fn options(slots: usize, capacity: usize) -> WriterOptions {
    WriterOptions::new(slots).slot_capacity(capacity)
}

fn reader(ring: &RingName) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).attach(ring.name()).unwrap()
}

/// What the reader's entry in the control segment says, in the order of `shown`.
fn entry_of(ring: &RingName, index: u64) -> [u64; 5] {
    let control = Raw::control(ring);
    let words = [raw::ENTRY_POSITION, raw::ENTRY_CONSUMED, raw::ENTRY_LOST, raw::ENTRY_OVERRUNS];
    let [position, consumed, lost, overruns] = words.map(|word| control.u64(entry(index, word)));
    [position, consumed, lost, overruns, control.u64(entry(index, raw::ENTRY_TIMEOUTS))]
}

fn shown(stats: &ReaderStats) -> [u64; 5] {
    [stats.position, stats.consumed, stats.lost, stats.overruns, stats.timeouts]
}

/// `consumed`, `lost`, `overruns`, `timeouts` and `lag`, which is all that changes in most tests.
fn counts(reader: &Reader) -> [u64; 5] {
    let stats = reader.stats();
    [stats.consumed, stats.lost, stats.overruns, stats.timeouts, stats.lag]
}

#[test]
fn a_new_ring_has_counted_nothing() {
    let ring = RingName::new("stats-new");
    let writer = options(4, 64).create(ring.name()).unwrap();
    let stats = writer.stats();
    assert_eq!((stats.published, stats.published_bytes, stats.message_count), (0, 0, 0));
    assert_eq!((stats.position, stats.wakes, stats.rollovers, stats.epoch), (0, 0, 0, 1));
    let reader = reader(&ring);
    assert_eq!(counts(&reader), [0; 5]);
    assert_eq!((reader.stats().position, reader.stats().registered), (0, true));
    assert_eq!(entry_of(&ring, 0), [0; 5]);
}

#[test]
fn a_writer_counts_messages_and_their_bytes_and_nothing_that_failed() {
    let ring = RingName::new("stats-writer");
    let mut writer = options(4, 300).rollover(false).create(ring.name()).unwrap();
    let mut bytes = 0;
    for (number, len) in [0, 1, 40, 41, 300].into_iter().enumerate() {
        writer.write(&vec![1; len]).unwrap();
        bytes += len as u64;
        let stats = writer.stats();
        assert_eq!((stats.published, stats.published_bytes), (number as u64 + 1, bytes));
        assert_eq!((stats.position, stats.message_count), (stats.published, stats.published));
    }
    let before = writer.stats();
    assert!(writer.write(&[0; 301]).is_err());
    let _ = writer.reserve(100).unwrap();
    assert!(writer.reserve(301).is_err());
    assert_eq!(writer.stats(), before);
    // A reservation counts for what was stored, not for what was reserved.
    let mut slot = writer.reserve(100).unwrap();
    slot.write_at(0, b"twelve bytes").unwrap();
    slot.publish().unwrap();
    writer.write_value(&7u64).unwrap();
    writer.write_ipc_stream(&[1; 30]).unwrap();
    let stats = writer.stats();
    assert_eq!((stats.published, stats.published_bytes), (8, bytes + 12 + 8 + 30));
    assert_eq!((stats.wakes, stats.rollovers, stats.epoch), (0, 0, 1));
}

#[test]
fn reads_without_a_message_count_as_timeouts_and_errors_do_not() {
    let ring = RingName::new("stats-timeouts");
    let writer = options(4, 64).create(ring.name()).unwrap();
    let reader = reader(&ring);
    assert_eq!(reader.read(0).unwrap(), None);
    assert_eq!(reader.read_into(&mut [0; 8], 1).unwrap(), None);
    assert!(!reader.read_to(&mut Vec::new(), 0).unwrap());
    assert_eq!(reader.read_value::<u64>(2).unwrap(), None);
    assert_eq!(reader.read_arrow(0).unwrap(), None);
    assert_eq!(reader.read_batches(1).unwrap(), None);
    assert!(!reader.skip().unwrap());
    assert_eq!(counts(&reader), [0, 0, 0, 7, 0]);
    assert_eq!(entry_of(&ring, 0), shown(&reader.stats()));
    writer.write(&[1; 10]).unwrap();
    assert!(reader.read_into(&mut [0; 8], 0).is_err());
    assert!(reader.read_value::<u64>(0).is_err());
    assert_eq!(counts(&reader), [0, 0, 0, 7, 1]);
    reader.read(0).unwrap().unwrap();
    writer.close().unwrap();
    for timeout_ms in [0, 1, u64::MAX] {
        assert!(matches!(reader.read(timeout_ms), Err(QADataSwapError::Closed)));
    }
    assert_eq!(counts(&reader), [1, 0, 0, 7, 0]);
    assert_eq!(entry_of(&ring, 0), shown(&reader.stats()));
}

#[test]
fn an_overrun_moves_messages_from_the_lag_to_the_loss() {
    let ring = RingName::new("stats-overrun");
    let writer = options(8, 64).create(ring.name()).unwrap();
    let silent = reader(&ring);
    let told = ReaderOptions::new().on_overrun(OnOverrun::Error).attach(ring.name()).unwrap();
    for number in 0..30u64 {
        writer.write_value(&number).unwrap();
    }
    // Nobody has noticed yet.
    assert_eq!((counts(&silent), counts(&told)), ([0, 0, 0, 0, 30], [0, 0, 0, 0, 30]));
    let first = silent.read_value::<u64>(0).unwrap().unwrap();
    assert_eq!(counts(&silent), [1, first, 1, 0, 29 - first]);
    assert!(matches!(told.read(0), Err(QADataSwapError::Overrun { lost }) if lost == first));
    assert_eq!(counts(&told), [0, first, 1, 0, 30 - first]);
    for (index, reader) in (0..).zip([&silent, &told]) {
        assert_eq!(entry_of(&ring, index), shown(&reader.stats()));
    }
    // A second one adds to the first.
    for number in 30..60u64 {
        writer.write_value(&number).unwrap();
    }
    let next = silent.read_value::<u64>(0).unwrap().unwrap();
    assert_eq!(counts(&silent), [2, next - 1, 2, 0, 59 - next]);
    assert_eq!(entry_of(&ring, 0), shown(&silent.stats()));
}

#[test]
fn a_skipped_message_is_consumed_and_a_damaged_one_lost() {
    let ring = RingName::new("stats-skip");
    let writer = options(8, 64).create(ring.name()).unwrap();
    let reader = reader(&ring);
    for number in 0..4u64 {
        writer.write_value(&number).unwrap();
    }
    let raw = Raw::data(&ring);
    raw.set_u32(raw.slot(1, raw::LENGTH), u32::MAX);
    assert!(reader.skip().unwrap());
    assert_eq!(counts(&reader), [1, 0, 0, 0, 3]);
    assert!(matches!(reader.skip(), Err(QADataSwapError::CorruptMessage { position: 1, .. })));
    assert_eq!(counts(&reader), [1, 1, 0, 0, 2]);
    assert_eq!(entry_of(&ring, 0), shown(&reader.stats()));
    assert!(reader.skip().unwrap());
    assert_eq!(reader.read_value(0).unwrap(), Some(3u64));
    assert_eq!(counts(&reader), [3, 1, 0, 0, 0]);
    assert_eq!(entry_of(&ring, 0), shown(&reader.stats()));
}

#[test]
fn each_reader_counts_for_itself_from_where_it_started() {
    let ring = RingName::new("stats-starts");
    let writer = options(8, 64).create(ring.name()).unwrap();
    for number in 0..20u64 {
        writer.write_value(&number).unwrap();
    }
    let start = |start| ReaderOptions::new().start(start).attach(ring.name()).unwrap();
    let readers = [start(Start::Oldest), start(Start::Newest), start(Start::Next)];
    for (reader, (position, lag)) in readers.iter().zip([(12, 8), (19, 1), (20, 0)]) {
        assert_eq!(counts(reader), [0, 0, 0, 0, lag]);
        assert_eq!(reader.stats().position, position);
    }
    writer.write_value(&20u64).unwrap();
    assert_eq!(readers[0].read_value(0).unwrap(), Some(readers[0].stats().position - 1));
    assert_eq!(readers[1].read_value(0).unwrap(), Some(19u64));
    assert_eq!(readers[2].read_value(0).unwrap(), Some(20u64));
    // Of the first, message 12 was overwritten meanwhile.
    let [consumed, lost, overruns, _, lag] = counts(&readers[0]);
    assert_eq!((consumed + lost + lag, overruns), (9, 1));
    assert_eq!((counts(&readers[1]), counts(&readers[2])), ([1, 0, 0, 0, 1], [1, 0, 0, 0, 0]));
    for (index, reader) in (0..).zip(&readers) {
        assert_eq!(entry_of(&ring, index), shown(&reader.stats()));
    }
}

#[test]
fn an_entry_starts_from_zero_for_its_next_owner() {
    let ring = RingName::new("stats-entry");
    let writer = options(2, 64).create(ring.name()).unwrap();
    let first = reader(&ring);
    for number in 0..10u64 {
        writer.write_value(&number).unwrap();
    }
    while first.read(0).unwrap().is_some() {}
    assert!(entry_of(&ring, 0).iter().all(|count| *count > 0));
    drop(first);
    let second = ReaderOptions::new().start(Start::Next).attach(ring.name()).unwrap();
    assert_eq!(entry_of(&ring, 0), [10, 0, 0, 0, 0]);
    assert_eq!(shown(&second.stats()), [10, 0, 0, 0, 0]);
}

#[test]
fn counts_go_on_through_a_rollover() {
    let ring = RingName::new("stats-rollover");
    let writer = options(8, 64).create(ring.name()).unwrap();
    let reader = reader(&ring);
    for number in 0..3u64 {
        writer.write_value(&number).unwrap();
    }
    reader.skip().unwrap();
    for rollovers in 1..4 {
        writer.write(&vec![0; writer.slot_capacity() + 1]).unwrap();
        writer.write(b"small").unwrap();
        let stats = writer.stats();
        assert_eq!((stats.published, stats.rollovers), (3 + 2 * rollovers, rollovers));
        assert_eq!((stats.position, stats.message_count), (stats.published, stats.published));
        assert_eq!(stats.epoch, 1);
    }
    while reader.skip().unwrap() {}
    assert_eq!(counts(&reader), [9, 0, 0, 1, 0]);
    assert_eq!(reader.stats().position, 9);
    assert!(reader.stats().registered);
    assert_eq!(entry_of(&ring, 0), shown(&reader.stats()));
}

#[test]
fn the_lag_counts_what_was_published_after_a_rollover_too() {
    let ring = RingName::new("stats-lag");
    let writer = options(8, 64).create(ring.name()).unwrap();
    let reader = reader(&ring);
    for number in 0..3u64 {
        writer.write_value(&number).unwrap();
    }
    writer.write(&[0; 1000]).unwrap();
    writer.write(&[0; 10_000]).unwrap();
    // The reader is still in the segment before the last but one.
    assert_eq!(counts(&reader), [0, 0, 0, 0, 5]);
    for consumed in 1..=5 {
        assert!(reader.skip().unwrap());
        assert_eq!(counts(&reader), [consumed, 0, 0, 0, 5 - consumed]);
    }
}

#[test]
fn counts_go_on_through_a_takeover() {
    let ring = RingName::new("stats-takeover");
    let mut reader = None;
    for epoch in 1..6 {
        let writer = options(8, 64).create(ring.name()).unwrap();
        let before = (epoch - 1) * 3;
        let stats = writer.stats();
        // This handle has published nothing, the ring has.
        assert_eq!((stats.published, stats.published_bytes, stats.wakes), (0, 0, 0));
        assert_eq!((stats.message_count, stats.position), (before, before));
        assert_eq!((stats.epoch, stats.rollovers), (epoch, 0));
        let reader = reader.get_or_insert_with(|| self::reader(&ring));
        for number in before..before + 3 {
            writer.write_value(&number).unwrap();
        }
        assert_eq!((writer.stats().published, writer.stats().message_count), (3, before + 3));
        assert_eq!(counts(reader), [before, 0, 0, 0, 3]);
        for number in before..before + 3 {
            assert_eq!(reader.read_value(0).unwrap(), Some(number));
        }
        assert_eq!(entry_of(&ring, 0), shown(&reader.stats()));
    }
    // With other slots it is a rollover as well.
    let writer = options(16, 64).create(ring.name()).unwrap();
    let stats = writer.stats();
    assert_eq!((stats.rollovers, stats.epoch, stats.message_count), (1, 6, 15));
    writer.write_value(&15u64).unwrap();
    let reader = reader.unwrap();
    assert_eq!(reader.read_value(0).unwrap(), Some(15u64));
    assert_eq!(counts(&reader), [16, 0, 0, 0, 0]);
}

/// A reader, and how many messages there had been before its first.
struct Counted {
    reader: Reader,
    before: u64,
    /// Its entry of the control segment.
    index: u64,
    /// May not have followed a rollover yet.
    behind: bool,
    reads_in_vain: u64,
}

impl Counted {
    fn attach(ring: &RingName, index: u64, start: Start) -> Self {
        let reader = ReaderOptions::new().start(start).attach(ring.name()).unwrap();
        let before = reader.stats().position;
        Self { reader, before, index, behind: false, reads_in_vain: 0 }
    }

    #[track_caller]
    fn check(&self, ring: &RingName, writer: &Writer) {
        let (stats, published) = (self.reader.stats(), writer.stats().message_count);
        if !self.behind {
            let all = stats.consumed + stats.lost + stats.lag;
            assert_eq!(all, published - self.before, "{stats:?}");
        }
        // No position was skipped, so that positions count messages.
        assert_eq!(self.before + stats.consumed + stats.lost, stats.position);
        assert_eq!(stats.timeouts, self.reads_in_vain);
        assert_eq!(stats.overruns == 0, stats.lost == 0);
        assert_eq!(entry_of(ring, self.index), shown(&stats));
    }

    fn read(&mut self) {
        if self.reader.read(0).unwrap().is_none() {
            self.reads_in_vain += 1;
            self.behind = false;
        }
    }
}

#[test]
fn every_count_is_exact_at_every_moment_of_a_long_history() {
    for seed in 0..12 {
        let ring = RingName::new("stats-history");
        let mut random = Random(seed);
        let slots = [2, 3, 4, 8, 16][random.below(5) as usize];
        let mut writer = options(slots, 64).create(ring.name()).unwrap();
        let mut readers: Vec<_> =
            (0..3).map(|index| Counted::attach(&ring, index, Start::Oldest)).collect();
        let mut published = 0;
        for _ in 0..400 {
            match random.below(20) {
                0..6 => {
                    let burst = random.below(2 * slots as u64 + 2);
                    for _ in 0..burst {
                        writer.write(&random.bytes(40)).unwrap();
                    }
                    published += burst;
                }
                6..16 => {
                    let reader = &mut readers[random.below(3) as usize];
                    for _ in 0..random.below(slots as u64 + 3) {
                        reader.read();
                    }
                }
                16 => {
                    let _ = writer.reserve(8).unwrap();
                }
                17 => {
                    let index = random.below(3);
                    let start = [Start::Oldest, Start::Newest, Start::Next];
                    // The entry of the one before is free again only once that one is gone.
                    let old = readers.remove(index as usize);
                    drop(old.reader);
                    let start = start[random.below(3) as usize];
                    readers.insert(index as usize, Counted::attach(&ring, index, start));
                }
                18 if writer.slot_capacity() < 1 << 16 => {
                    writer.write(&vec![1; writer.slot_capacity() + 1]).unwrap();
                    published += 1;
                    readers.iter_mut().for_each(|reader| reader.behind = true);
                }
                _ => {
                    let epoch = writer.stats().epoch;
                    drop(writer);
                    writer = options(slots, 64).create(ring.name()).unwrap();
                    assert_eq!(writer.stats().epoch, epoch + 1);
                }
            }
            assert_eq!(writer.stats().message_count, published);
            assert_eq!(writer.stats().position, published);
            for reader in &readers {
                reader.check(&ring, &writer);
            }
        }
    }
}
