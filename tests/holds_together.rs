//! Readers of every kind at once on one ring, each in a process of its own, under a writer at full speed:
//! one that copies and may be lapped, one that leases (or has Arrow in place), one that may not be lapped,
//! and one that is not registered. Message number `n` says so itself, and every byte of it depends on `n`.

mod support;

use std::collections::VecDeque;
use std::sync::Arc;

use qadataswap::arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use qadataswap::{
    Lease, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Writer, WriterOptions,
};
use support::inspect::{self, ParentWatch};
use support::numbered::{self, Random};
use support::raw::{self, Raw};
use support::{Child, Parent, RingName};

/// Longest message at first; a batch of as many bytes of numbers takes up to eight times as much.
const LONGEST: usize = 256;
/// Messages after which those of a growing ring may be twice as long.
const GROWTH_STEP: u64 = 150;
const MOST_GROWTH: u64 = 4;

#[test]
fn child_process() {
    support::play(&[("writer", write), ("reader", read)]);
}

/// What the messages of a ring are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    arrow: bool,
    growing: bool,
}

impl Form {
    const BYTES: &str = "bytes";
    const ARROW: &str = "arrow";
    const GROWING_BYTES: &str = "growing bytes";
    const GROWING_ARROW: &str = "growing arrow";

    fn of(name: &str) -> Self {
        Self { arrow: name.ends_with("arrow"), growing: name.starts_with("growing") }
    }

    /// Short and long messages in turn, so that a slot's old contents would show through.
    fn len(self, number: u64) -> usize {
        let doublings = if self.growing { (number / GROWTH_STEP).min(MOST_GROWTH) } else { 0 };
        let most = (LONGEST as u64) << doublings;
        numbered::SHORTEST + (number * 37 % (most - 7)) as usize
    }

    fn batch(self, number: u64) -> RecordBatch {
        let rows = self.len(number) as u64 / numbered::SHORTEST as u64;
        let mixed = |row: u64| (number ^ row << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let numbers: Int64Array = std::iter::once(number as i64)
            .chain((1..rows).map(|row| mixed(row) as i64))
            .collect::<Vec<_>>()
            .into();
        let names: StringArray =
            (0..rows).map(|row| (row % 5 != 3).then(|| format!("{:x}", mixed(row)))).collect();
        RecordBatch::try_from_iter([("n", Arc::new(numbers) as _), ("s", Arc::new(names) as _)])
            .unwrap()
    }

    fn publish(self, writer: &Writer, buffer: &mut Vec<u8>, number: u64) -> Result<()> {
        if self.arrow {
            return writer.write_arrow(&self.batch(number));
        }
        numbered::fill(buffer, number, self.len(number));
        writer.write(buffer)
    }

    /// The number of the batch, all of which must be what it was made of.
    #[track_caller]
    fn number_of_batch(self, batch: &RecordBatch) -> u64 {
        let numbers = batch.column(0).as_any().downcast_ref::<Int64Array>().expect("Int64");
        let number = numbers.value(0) as u64;
        assert!(*batch == self.batch(number), "batch {number} is not what was published");
        number
    }

    #[track_caller]
    fn number_of_bytes(self, message: &[u8]) -> u64 {
        let number = numbered::number_of(message);
        assert_eq!(message.len(), self.len(number), "message {number}");
        number
    }
}

/// A writer that gives no lossless reader up, however long that takes.
fn writer_of(name: &str, slots: usize, form: Form) -> Writer {
    let capacity = if form.arrow { 8 * LONGEST } else { LONGEST };
    let wait = OnSlowReader::Wait { limit_ms: u64::MAX };
    WriterOptions::new(slots).slot_capacity(capacity).on_slow_reader(wait).create(name).unwrap()
}

/// Goes on with the ring up to message `count`, then closes it. Arguments: ring, slots, form, count.
fn write(parent: Parent, arguments: &[String]) {
    let (form, watch) = (Form::of(&arguments[2]), ParentWatch::new());
    let slots: usize = arguments[1].parse().unwrap();
    let count: u64 = arguments[3].parse().unwrap();
    parent.say("about to open");
    parent.hear();
    let writer = writer_of(&arguments[0], slots, form);
    let stats = writer.stats();
    parent.say(format!("{} {} {}", stats.epoch, stats.position, stats.message_count));
    parent.hear();
    let mut buffer = Vec::new();
    let first = stats.message_count;
    for number in first..count {
        // All slots may be leased for a moment; the write can be tried again.
        while let Err(error) = form.publish(&writer, &mut buffer, number) {
            assert!(matches!(error, QADataSwapError::AllSlotsLeased { .. }), "{error:?}");
            watch.check();
            std::thread::yield_now();
        }
        assert_eq!(writer.stats().message_count, number + 1);
        if number == first + 3 * slots as u64 {
            parent.say("three times round");
        }
        if number.is_multiple_of(256) {
            watch.check();
        }
    }
    let stats = writer.stats();
    assert_eq!((stats.evictions, stats.published), (0, count - first));
    writer.close().unwrap();
    parent.say(format!("{} {}", stats.lease_skips, stats.rollovers));
}

/// A message that was leased, or a batch in place.
enum Held {
    Bytes(Lease),
    Batch(RecordBatch),
}

impl Held {
    #[track_caller]
    fn number(&self, form: Form) -> u64 {
        match self {
            Self::Bytes(lease) => form.number_of_bytes(lease),
            Self::Batch(batch) => form.number_of_batch(batch),
        }
    }
}

/// A reader, attached before the first message, that checks what it reads and what it counts.
struct Checked {
    reader: Reader,
    form: Form,
    lossless: bool,
    next: u64,
    /// Messages held, each with its number when it was leased.
    held: VecDeque<(u64, Held)>,
    copy: Vec<u8>,
}

impl Checked {
    fn new(name: &str, form: Form, options: ReaderOptions, lossless: bool) -> Self {
        let reader = options.lossless(lossless).max_leases(8).attach(name).unwrap();
        Self { reader, form, lossless, next: 0, held: VecDeque::new(), copy: Vec::new() }
    }

    /// Copies the next message out; `false` if none came in time or the ring is closed.
    #[track_caller]
    fn copy(&mut self, timeout_ms: u64) -> bool {
        let number = if self.form.arrow {
            let batch = or_closed(self.reader.read_arrow(timeout_ms)).flatten();
            batch.map(|batch| self.form.number_of_batch(&batch))
        } else {
            let read = or_closed(self.reader.read_to(&mut self.copy, timeout_ms)) == Some(true);
            read.then(|| self.form.number_of_bytes(&self.copy))
        };
        number.is_some_and(|number| self.count(number))
    }

    /// Takes the next message in place, and keeps it.
    #[track_caller]
    fn hold(&mut self, timeout_ms: u64) -> bool {
        let held = if self.form.arrow {
            or_closed(self.reader.read_arrow_zero_copy(timeout_ms)).flatten().map(Held::Batch)
        } else {
            or_closed(self.reader.lease(timeout_ms)).flatten().map(Held::Bytes)
        };
        let Some(held) = held else { return false };
        let number = held.number(self.form);
        self.held.push_back((number, held));
        assert_eq!(self.reader.stats().leases, self.held.len() as u64);
        self.count(number)
    }

    #[track_caller]
    fn count(&mut self, number: u64) -> bool {
        assert!(number >= self.next, "message {number} instead of {}", self.next);
        assert!(!self.lossless || number == self.next, "{} is missing", self.next);
        self.next = number + 1;
        let stats = self.reader.stats();
        assert_eq!(stats.consumed + stats.lost, self.next, "{stats:?}");
        assert!(!self.lossless || stats.lost == 0 && stats.evictions == 0, "{stats:?}");
        true
    }

    /// Everything held still is what it was.
    #[track_caller]
    fn check_held(&self) {
        for (number, held) in &self.held {
            assert_eq!(held.number(self.form), *number);
        }
    }

    /// Lets go of the oldest, having checked it once more.
    #[track_caller]
    fn release_oldest(&mut self) {
        let (number, held) = self.held.pop_front().expect("something is held");
        assert_eq!(held.number(self.form), number);
    }
}

/// `None` if the ring has ended.
#[track_caller]
fn or_closed<T>(result: Result<T>) -> Option<T> {
    match result {
        Err(QADataSwapError::Closed) => None,
        result => Some(result.unwrap()),
    }
}

/// Reads to the end of the ring. Arguments: ring, slots, form, kind of reader, messages to hold at a time.
fn read(parent: Parent, arguments: &[String]) {
    let (form, watch) = (Form::of(&arguments[2]), ParentWatch::new());
    let slots: u64 = arguments[1].parse().unwrap();
    let kind = arguments[3].as_str();
    let keep: usize = arguments[4].parse().unwrap();
    let options = ReaderOptions::new().register(kind != "unregistered");
    let mut own = Checked::new(&arguments[0], form, options, kind == "lossless");
    assert_eq!(own.reader.stats().registered, kind != "unregistered");
    parent.say("ready");
    parent.hear();
    let mut leased = 0;
    loop {
        let hold = own.held.len() < keep;
        let got = if hold { own.hold(u64::MAX) } else { own.copy(u64::MAX) };
        if !got {
            break;
        }
        leased += u64::from(hold);
        // Some are released soon, some when the writer has gone round many times.
        while own.held.front().is_some_and(|(number, _)| own.next > number + slots * (number % 8)) {
            own.release_oldest();
        }
        // Now and then slow enough to be lapped, if it may be.
        if own.next.is_multiple_of(61) {
            (0..own.next % 7 * 2_000).for_each(|_| std::hint::spin_loop());
            watch.check();
        }
    }
    own.check_held();
    let stats = own.reader.stats();
    drop(own.reader);
    // Also without the reader.
    for (number, held) in own.held {
        assert_eq!(held.number(form), number);
    }
    parent.say(format!("{} {} {leased}", stats.consumed, stats.lost));
}

/// Counts in a line of the conversation.
fn numbers<const N: usize>(line: &str) -> [u64; N] {
    let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("{line}"))
}

/// Has the writer open the ring: the epoch, position and number that it begins with.
fn open(writer: &mut Child) -> [u64; 3] {
    assert_eq!(writer.hear(), "about to open");
    writer.say("open");
    numbers(&writer.hear())
}

/// A reader process that has attached.
struct Attached {
    process: Child,
    kind: &'static str,
    keep: u64,
    /// What it has lost when it begins.
    least_lost: u64,
}

fn attach(
    ring: &RingName,
    slots: usize,
    form: &str,
    readers: &[(&'static str, u64)],
) -> Vec<Attached> {
    let start = |&(kind, keep): &(&'static str, u64)| {
        let arguments = [ring.name(), &slots.to_string(), form, kind, &keep.to_string()];
        Attached { process: Child::spawn("reader", &arguments), kind, keep, least_lost: 0 }
    };
    let mut readers: Vec<Attached> = readers.iter().map(start).collect();
    for reader in &mut readers {
        assert_eq!(reader.process.hear(), "ready");
    }
    readers
}

/// Waits for the readers to end, whose counts must add up.
#[track_caller]
fn check_counts(readers: Vec<Attached>, published: u64) {
    for Attached { mut process, kind, keep, least_lost } in readers {
        let [consumed, lost, leased] = numbers(&process.hear());
        process.finish();
        assert_eq!(consumed + lost, published, "{kind}");
        assert!(kind != "lossless" || lost == 0, "{lost} lost");
        assert!(leased >= keep, "{kind}: {leased} leased");
        assert!(lost >= least_lost, "{kind}: {lost} lost");
    }
}

/// Nothing is held any more, and nobody is taken to hold anything.
#[track_caller]
fn assert_nothing_held(ring: &RingName) {
    let control = Raw::control(ring);
    assert_eq!((control.u64(raw::GATING), control.u64(raw::LEASING)), (0, 0));
    for index in 0..64 {
        let leases = control.bytes(raw::entry(index, raw::ENTRY_LEASES), 32);
        assert_eq!(leases, [0; 32], "entry {index}");
        assert_eq!(control.u64(raw::entry(index, raw::ENTRY_GATE)), 0, "entry {index}");
        assert_eq!(control.u32(raw::entry(index, raw::ENTRY_KIND)), 0, "entry {index}");
    }
    assert_eq!(inspect::objects(ring.name()).len(), 2);
}

/// One writer and such readers, to the end. Those that may be lapped begin when they have been.
fn share_a_ring(slots: usize, form: &str, count: u64, readers: &[(&'static str, u64)]) {
    let ring = RingName::new("together");
    let arguments = [ring.name(), &slots.to_string(), form, &count.to_string()];
    let mut writer = Child::spawn("writer", &arguments);
    assert_eq!(open(&mut writer), [1, 0, 0]);
    let mut readers = attach(&ring, slots, form, readers);
    let (mut late, mut at_once): (Vec<_>, Vec<_>) =
        readers.iter_mut().partition(|reader| reader.keep == 0 && reader.kind != "lossless");
    at_once.iter_mut().for_each(|reader| reader.process.say("go"));
    writer.say("go");
    assert_eq!(writer.hear(), "three times round");
    for reader in &mut late {
        reader.least_lost = 2 * slots as u64;
        reader.process.say("go");
    }
    let [lease_skips, rollovers] = numbers(&writer.hear());
    writer.finish();
    check_counts(readers, count);
    assert!(lease_skips > 0, "no lease was ever in the way");
    assert_eq!(rollovers > 0, Form::of(form).growing, "{rollovers} rollovers");
    assert_nothing_held(&ring);
}

#[test]
fn readers_of_all_kinds_share_a_ring_of_bytes() {
    let readers = [("lossy", 0), ("unregistered", 0), ("lossy", 4), ("lossless", 0)];
    share_a_ring(64, Form::BYTES, 30_000, &readers);
}

#[test]
fn readers_of_all_kinds_share_a_ring_of_record_batches() {
    let readers = [("lossy", 0), ("unregistered", 0), ("lossy", 4), ("lossless", 2)];
    share_a_ring(16, Form::ARROW, 2_000, &readers);
}

/// Leases of a lossy and of a lossless reader that leave a ring of so many slots one to write in.
const FEW_SLOTS: [(usize, u64, u64); 4] = [(2, 1, 0), (3, 1, 1), (4, 1, 1), (8, 3, 3)];

#[test]
fn readers_of_all_kinds_share_rings_of_few_slots() {
    for (slots, lossy, lossless) in FEW_SLOTS {
        let readers = [("lossy", 0), ("unregistered", 0), ("lossy", lossy), ("lossless", lossless)];
        share_a_ring(slots, Form::BYTES, 4_000, &readers);
    }
}

#[test]
fn readers_of_all_kinds_follow_rings_of_few_slots_that_grow() {
    for (slots, lossy, lossless) in FEW_SLOTS {
        let readers = [("lossy", 0), ("unregistered", 0), ("lossy", lossy), ("lossless", lossless)];
        share_a_ring(slots, Form::GROWING_BYTES, 2_000, &readers);
    }
}

#[test]
fn record_batches_in_place_survive_rollovers_of_rings_of_few_slots() {
    for (slots, lossy, lossless) in FEW_SLOTS {
        let readers = [("lossy", lossy), ("lossless", lossless)];
        share_a_ring(slots, Form::GROWING_ARROW, 900, &readers);
    }
}

/// Writers killed one after the other, each of which has to go on where the one before it was stopped, while
/// others hold messages. `slots` are those that the writers want in turn.
fn replace_killed_writers(slots: &[usize], form: &str, rounds: usize, keep: [u64; 3]) {
    let ring = RingName::new("replaced");
    drop(writer_of(ring.name(), slots[0], Form::of(form)));
    let [lossy, lossless, own_keep] = keep;
    let mut own = Checked::new(ring.name(), Form::of(form), ReaderOptions::new(), true);
    let readers = [("lossy", 0), ("unregistered", 0), ("lossy", lossy), ("lossless", lossless)];
    let mut readers = attach(&ring, slots[0], form, &readers);
    readers.iter_mut().for_each(|reader| reader.process.say("go"));

    let mut random = Random::new();
    let start = |round: usize, count: u64| {
        let slots = slots[round % slots.len()].to_string();
        Child::spawn("writer", &[ring.name(), &slots, form, &count.to_string()])
    };
    let mut epochs = 1;
    for round in 0..rounds {
        // Every other one comes after one that was killed while it took over, or before.
        let cut_short = round % 2;
        if cut_short == 1 {
            let mut writer = start(round + 1, u64::MAX);
            assert_eq!(writer.hear(), "about to open");
            writer.say("open");
            random.dawdle(40_000);
            writer.kill();
        }
        let mut writer = start(round, u64::MAX);
        // No number and no position twice, and none left out.
        let [epoch, position, message_count] = open(&mut writer);
        assert!((epochs + 1..=epochs + 1 + cut_short as u64).contains(&epoch), "{epoch}");
        epochs = epoch;
        assert_eq!((position, message_count), (own.reader.stats().position, own.next));
        own.check_held();
        writer.say("go");
        for _ in 0..random.below(200) {
            let hold = (own.held.len() as u64) < own_keep;
            assert!(if hold { own.hold(u64::MAX) } else { own.copy(u64::MAX) });
            // The first stays held, for as long as its segment is the ring's or longer.
            if own.held.len() > 1 {
                let (number, held) = own.held.pop_back().expect("more than one");
                assert_eq!(held.number(own.form), number);
            }
        }
        random.dawdle(20_000);
        writer.kill();
        while own.copy(0) {}
        own.check_held();
        if round % 4 == 3 && !own.held.is_empty() {
            own.release_oldest();
        }
    }

    let published = own.next + 100;
    let mut writer = start(rounds, published);
    open(&mut writer);
    writer.say("go");
    while own.copy(u64::MAX) {}
    assert_eq!(own.next, published);
    check_counts(readers, published);
    while !own.held.is_empty() {
        own.release_oldest();
    }
    drop(own);
    assert_nothing_held(&ring);
}

#[test]
fn writers_that_replace_killed_ones_honour_what_readers_hold() {
    replace_killed_writers(&[16], Form::BYTES, 40, [3, 2, 1]);
    replace_killed_writers(&[8, 8, 12], Form::GROWING_BYTES, 40, [2, 2, 1]);
}

#[test]
fn writers_that_replace_killed_ones_honour_batches_in_place() {
    replace_killed_writers(&[8, 6], Form::GROWING_ARROW, 30, [2, 2, 1]);
}

#[test]
fn writers_that_replace_killed_ones_honour_holds_in_rings_of_few_slots() {
    replace_killed_writers(&[2], Form::BYTES, 20, [1, 0, 0]);
    replace_killed_writers(&[3], Form::BYTES, 20, [1, 0, 1]);
    replace_killed_writers(&[4, 3], Form::GROWING_BYTES, 20, [1, 0, 1]);
}
