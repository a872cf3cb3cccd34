//! A full `/dev/shm`: clean errors, no signal, and nothing lost that was published.
//!
//! Each test runs in a process that has a small `/dev/shm` of its own; where that is not permitted it is
//! skipped, saying so.

mod support;

use std::fs::{self, File};
use std::io::Write;

use qadataswap::{
    QADataSwapError, Reader, ReaderOptions, Result, WaitStrategy, Writer, WriterOptions,
};
use support::{Child, Parent, RingName, inspect, numbered, small_shm};

const PAGE: usize = 4096;
/// How much memory a process that plays a role has in its `/dev/shm`.
const SHM_BYTES: u64 = 2 << 20;

#[test]
fn child_process() {
    support::play(&[
        ("write-until-full", write_until_full),
        ("poll", poll),
        ("create-when-full", create_when_full),
        ("attach-half-made", attach_to_data_without_memory),
        ("create-half-made", create_over_data_without_memory),
        ("half-made-control", meet_control_without_memory),
        ("take-over", take_over_when_full),
        ("roll-over", roll_over_when_full),
        ("stay", stay_when_full),
        ("prefault", prefault_more_than_there_is),
    ]);
}

/// A file that takes memory away.
struct Ballast(File);

impl Ballast {
    const PATH: &str = "/dev/shm/ballast";

    fn new() -> Self {
        Self(File::create(Self::PATH).unwrap())
    }

    /// Takes all that is left.
    fn fill(&mut self) {
        while self.0.write_all(&[1; PAGE]).is_ok() {}
    }

    /// Gives back so many pages.
    fn give_back(&self, pages: usize) {
        let length = self.0.metadata().unwrap().len() / PAGE as u64 * PAGE as u64;
        self.0.set_len(length - (pages * PAGE) as u64).unwrap();
    }

    fn remove(self) {
        fs::remove_file(Self::PATH).unwrap();
    }
}

#[track_caller]
fn no_space<T>(result: Result<T>, name: &str) {
    match result {
        Err(QADataSwapError::NoSpace { name: of, needed_bytes }) => {
            assert_eq!(of, name);
            assert!(needed_bytes > 0);
        }
        Err(error) => panic!("expected NoSpace, got {error:?}"),
        Ok(_) => panic!("expected NoSpace"),
    }
}

fn attach(name: &str) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).attach(name).unwrap()
}

/// Publishes messages of `len` bytes until there is no memory for one more. Gives the next number.
#[track_caller]
fn publish_until_full(writer: &Writer, mut number: u64, len: usize) -> u64 {
    let before = writer.stats();
    let failed = loop {
        match writer.write(&numbered::message(number, len)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    no_space::<()>(Err(failed), &writer.name());
    let stats = writer.stats();
    assert_eq!((stats.message_count, stats.position), (number, number));
    assert_eq!(stats.published, before.published + number - before.message_count);
    number
}

/// Reads numbers from `first` to before `end`, which must be all there is.
#[track_caller]
fn expect_numbers(reader: &Reader, first: u64, end: u64) {
    for number in first..end {
        assert_eq!(numbered::number_of(&reader.read(0).unwrap().unwrap()), number);
    }
    assert_eq!(reader.read(0).unwrap(), None);
    assert_eq!(reader.stats().lost, 0);
}

/// Polls the ring all the time, as hard as it can; says how much it got.
fn poll(parent: Parent, arguments: &[String]) {
    let options = ReaderOptions::new().wait(WaitStrategy::Spin).attach_timeout_ms(0);
    let reader = options.attach(&arguments[0]).unwrap();
    parent.say("polling");
    loop {
        match reader.read(1) {
            Ok(Some(message)) => {
                assert_eq!(numbered::number_of(&message) + 1, reader.stats().consumed);
            }
            Ok(None) => {}
            Err(QADataSwapError::Closed) => return parent.say(reader.stats().consumed),
            Err(error) => panic!("{error}"),
        }
    }
}

fn write_until_full(_: Parent, arguments: &[String]) {
    let [slot_count, capacity, len] = [0, 1, 2].map(|n| arguments[n].parse::<usize>().unwrap());
    let mut ballast = Ballast::new();
    ballast.0.write_all(&[1; 300 * PAGE]).unwrap();
    let name = "full";
    let options = WriterOptions::new(slot_count).slot_capacity(capacity).rollover(false);
    let writer = options.create(name).unwrap();
    let reader = attach(name);
    let mut poller = Child::spawn("poll", &[name]);
    assert_eq!(poller.hear(), "polling");

    let mut number = publish_until_full(&writer, 0, len);
    assert!(number > 2 && number < slot_count as u64, "{number} fit");
    expect_numbers(&attach(name), 0, number);
    // Whatever little is left is used, and then there is none for the smallest message either.
    number = publish_until_full(&writer, number, numbered::SHORTEST);
    ballast.fill();
    for len in [len, numbered::SHORTEST] {
        assert_eq!(publish_until_full(&writer, number, len), number);
    }
    expect_numbers(&attach(name), 0, number);
    expect_numbers(&reader, 0, number);

    // With memory it goes on as if nothing had been.
    ballast.give_back(100);
    let more = publish_until_full(&writer, number, len);
    assert!(more > number);
    expect_numbers(&reader, number, more);
    ballast.remove();
    let most = publish_until_full(&writer, more, len);
    assert!(most > more);
    expect_numbers(&reader, more, most);
    writer.close().unwrap();
    assert_eq!(poller.hear(), most.to_string());
    poller.finish();
}

fn create_when_full(_: Parent, _: &[String]) {
    let name = "created";
    let options = WriterOptions::new(64);
    let mut ballast = Ballast::new();
    ballast.fill();
    let mut pages = 0;
    // Page by page, so that every allocation of a creation is once the one that fails.
    let writer = loop {
        match options.create(name) {
            Ok(writer) => break writer,
            failed => no_space(failed, name),
        }
        assert_eq!(inspect::objects(name), [""; 0], "left behind with {pages} pages free");
        let missing = ReaderOptions::new().attach_timeout_ms(0).attach(name);
        assert!(matches!(missing, Err(QADataSwapError::NotFound { .. })), "{missing:?}");
        ballast.give_back(1);
        pages += 1;
        assert!(pages < 20, "that should do");
    };
    assert!(pages > 1);
    // What was created can take a small message at once.
    writer.write(&numbered::message(0, 100)).unwrap();
    ballast.fill();
    expect_numbers(&attach(name), 0, 1);
}

/// What a creator leaves that is killed after it gave its object a size: no memory at all.
fn data_without_memory(name: &str) -> Ballast {
    File::create(format!("/dev/shm/qads_{name}")).unwrap().set_len(1 << 20).unwrap();
    let mut ballast = Ballast::new();
    ballast.fill();
    ballast
}

fn attach_to_data_without_memory(_: Parent, _: &[String]) {
    let ballast = data_without_memory("half");
    let error = ReaderOptions::new().attach_timeout_ms(0).attach("half").unwrap_err();
    assert!(matches!(error, QADataSwapError::ReadTimeout), "{error:?}");
    ballast.remove();
}

fn create_over_data_without_memory(_: Parent, _: &[String]) {
    let ballast = data_without_memory("half");
    no_space(WriterOptions::new(4).create("half"), "half");
    ballast.remove();
    let writer = WriterOptions::new(4).create("half").unwrap();
    writer.write(&numbered::message(0, 100)).unwrap();
    expect_numbers(&attach("half"), 0, 1);
}

fn meet_control_without_memory(_: Parent, _: &[String]) {
    let (name, control) = ("half", "/dev/shm/qads_half.ctl");
    let writer = WriterOptions::new(4).create(name).unwrap();
    writer.write(&numbered::message(0, 100)).unwrap();
    drop(writer);
    let length = fs::metadata(control).unwrap().len();
    fs::remove_file(control).unwrap();
    let mut ballast = Ballast::new();
    ballast.fill();
    File::create(control).unwrap().set_len(length).unwrap();
    let reader = attach(name);
    assert!(!reader.stats().registered);
    expect_numbers(&reader, 0, 1);
    no_space(WriterOptions::new(4).create(name), name);
    expect_numbers(&attach(name), 0, 1);

    ballast.remove();
    let writer = WriterOptions::new(4).create(name).unwrap();
    assert_eq!((writer.stats().epoch, writer.stats().message_count), (2, 1));
}

fn take_over_when_full(_: Parent, _: &[String]) {
    let name = "taken";
    let options = WriterOptions::new(64).slot_capacity(200_000).rollover(false);
    let writer = options.create(name).unwrap();
    let published = publish_until_full(&writer, 0, 150_000);
    drop(writer);
    let mut ballast = Ballast::new();
    ballast.fill();
    expect_numbers(&attach(name), 0, published);
    // It may or may not get what little it needs, but nothing else may happen.
    match options.create(name) {
        Ok(writer) => assert_eq!(publish_until_full(&writer, published, 150_000), published),
        failed => no_space(failed, name),
    }
    // Other slots would take more memory than there is: the ring stays what it was.
    no_space(WriterOptions::new(32).slot_capacity(200_000).create(name), name);
    assert_eq!(inspect::objects(name).len(), 2);
    expect_numbers(&attach(name), 0, published);
    ballast.remove();
    let writer = options.create(name).unwrap();
    assert_eq!((writer.slot_count(), writer.stats().position), (64, published));
}

fn roll_over_when_full(_: Parent, _: &[String]) {
    let name = "rolled";
    let mut writer = WriterOptions::new(16).slot_capacity(100_000).create(name).unwrap();
    let reader = attach(name);
    for number in 0..6 {
        writer.write(&numbered::message(number, 100_000)).unwrap();
    }
    let mut ballast = Ballast::new();
    ballast.fill();
    let mut pages = 0;
    let too_long = numbered::message(8, 100_001);
    for _ in 0..2 {
        no_space(writer.write(&too_long), name);
        no_space(writer.reserve(100_001).map(|_| ()), name);
        assert_eq!(inspect::objects(name).len(), 2);
        assert_eq!((writer.slot_capacity(), writer.stats().rollovers), (100_000, 0));
    }
    ballast.give_back(4);
    for number in 6..8 {
        writer.write(&numbered::message(number, 50)).unwrap();
    }
    // The retained messages have to fit twice for a moment.
    while let Err(error) = writer.write(&too_long) {
        no_space::<()>(Err(error), name);
        assert_eq!(inspect::objects(name).len(), 2);
        expect_numbers(&attach(name), 0, 8);
        ballast.give_back(10);
        pages += 10;
    }
    assert!(pages > 150, "{pages} pages cannot hold six messages");
    assert_eq!(writer.stats().rollovers, 1);
    expect_numbers(&attach(name), 0, 9);
    expect_numbers(&reader, 0, 9);
}

/// What a move that failed would have taken, a reader that joins may have.
fn stay_when_full(_: Parent, _: &[String]) {
    let name = "stayed";
    let writer = WriterOptions::new(4).slot_capacity(100_000).create(name).unwrap();
    for number in 0..5 {
        writer.write(&numbered::message(number, 100_000)).unwrap();
    }
    Ballast::new().fill();
    no_space(writer.write(&numbered::message(5, 100_001)), name);
    let options = ReaderOptions::new().attach_timeout_ms(0).lossless(true);
    expect_numbers(&options.attach(name).unwrap(), 1, 5);
}

fn prefault_more_than_there_is(_: Parent, _: &[String]) {
    let name = "prefault";
    let options = WriterOptions::new(64).slot_capacity(100_000).prefault(true);
    no_space(options.create(name), name);
    assert_eq!(inspect::objects(name), [""; 0]);
    // A ring that fits is had whole, so that nothing is left to fail later.
    let options = WriterOptions::new(64).slot_capacity(10_000).prefault(true);
    let writer = options.create(name).unwrap();
    Ballast::new().fill();
    for number in 0..64 {
        writer.write(&numbered::message(number, 10_000)).unwrap();
    }
    expect_numbers(&attach(name), 0, 64);
}

/// Plays `role` where `/dev/shm` is small.
#[track_caller]
fn plays_well(role: &str, arguments: &[&str]) {
    if let Some(child) = small_shm::spawn(role, arguments, SHM_BYTES) {
        child.finish();
    }
}

#[test]
fn large_messages_stop_cleanly_and_go_on() {
    plays_well("write-until-full", &["64", "200000", "150000"]);
}

#[test]
fn messages_of_about_a_page_stop_cleanly_and_go_on() {
    plays_well("write-until-full", &["4096", "3000", "2900"]);
    plays_well("write-until-full", &["4096", "4100", "4100"]);
}

#[test]
fn messages_that_share_pages_stop_cleanly_and_go_on() {
    plays_well("write-until-full", &["20000", "100", "90"]);
}

#[test]
fn creation_fails_cleanly_and_leaves_nothing_behind() {
    plays_well("create-when-full", &[]);
}

#[test]
fn half_made_segment_without_memory_does_not_kill_a_reader() {
    plays_well("attach-half-made", &[]);
}

#[test]
fn half_made_segment_without_memory_does_not_kill_the_next_creator() {
    plays_well("create-half-made", &[]);
}

#[test]
fn half_made_control_segment_without_memory_kills_nobody() {
    plays_well("half-made-control", &[]);
}

#[test]
fn takeover_keeps_what_is_there() {
    plays_well("take-over", &[]);
}

#[test]
fn rollover_fails_cleanly_and_the_ring_stays_usable() {
    plays_well("roll-over", &[]);
}

#[test]
fn rollover_that_fails_costs_a_reader_that_joins_nothing() {
    plays_well("stay", &[]);
}

#[test]
fn prefault_fails_at_creation_or_never() {
    plays_well("prefault", &[]);
}

#[test]
fn ring_names_outside_are_not_touched() {
    // The roles above use fixed names: they must not be those of everybody's /dev/shm.
    let ring = RingName::new("outside");
    let _writer = WriterOptions::new(4).create(ring.name()).unwrap();
    for name in ["full", "created", "half", "taken", "rolled", "prefault"] {
        assert_eq!(inspect::objects(name), [""; 0]);
    }
}
