//! Several processes on one ring: what one of them does, or suffers, is nothing to the others.

mod support;

use qadataswap::{
    QADataSwapError, Reader, ReaderOptions, WaitStrategy, Writer, WriterOptions, create_reader,
    create_writer,
};
use support::inspect::{self, ParentWatch};
use support::numbered::{self, Random};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[
        ("echo", |parent, arguments| {
            let reader = create_reader(&arguments[0]).unwrap();
            parent.say("ready");
            let message = reader.read(u64::MAX).unwrap().unwrap();
            parent.say(String::from_utf8(message).unwrap());
        }),
        ("sleeper", |parent, arguments| {
            let reader = ReaderOptions::new().wait(WaitStrategy::Sleep).attach(&arguments[0]);
            let reader = reader.unwrap();
            assert!(reader.stats().registered);
            parent.say("ready");
            while reader.read(u64::MAX).is_ok() {}
        }),
        ("reader", read),
        ("writer", write),
        ("long writer", write_long),
    ]);
}

/// Reads to the end of the ring and says what it consumed and lost.
fn read(parent: Parent, arguments: &[String]) {
    let options = ReaderOptions::new().wait(strategy(&arguments[1]));
    let reader = options.attach(&arguments[0]).unwrap();
    let first = reader.stats().position;
    parent.say("ready");
    let mut next = first;
    loop {
        match reader.read(u64::MAX) {
            Ok(message) => {
                let number = numbered::number_of(&message.unwrap());
                assert!(number >= next, "message {number} instead of {next}");
                next = number + 1;
                let stats = reader.stats();
                assert_eq!(stats.consumed + stats.lost, next - first, "{stats:?}");
            }
            Err(QADataSwapError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let stats = reader.stats();
    parent.say(format!("{} {}", stats.consumed, stats.lost));
}

/// Publishes at full speed until told to stop; says how many messages that were.
fn write(parent: Parent, arguments: &[String]) {
    let writer = ring(&arguments[0], 64);
    let watch = ParentWatch::new();
    parent.say("created");
    parent.hear();
    // The parent goes on by making a file; looking for one does not wait.
    let stop = std::path::Path::new(&arguments[1]);
    let mut message = Vec::new();
    let mut number = 0;
    while !stop.exists() {
        for _ in 0..100 {
            numbered::fill(&mut message, number, 8 + number as usize % 700);
            writer.write(&message).unwrap();
            number += 1;
        }
        watch.check();
    }
    writer.close().unwrap();
    parent.say(number);
}

/// Publishes long messages, made beforehand, at full speed until told to stop.
fn write_long(parent: Parent, arguments: &[String]) {
    let longest = 70_000;
    let lengths = [8 << 10, (8 << 10) + 13, 4_000, 20_001, longest];
    let messages: Vec<_> =
        (0..).zip(lengths).map(|(number, length)| numbered::message(number, length)).collect();
    // Few slots, so that readers are overtaken in the middle of a message.
    let writer = WriterOptions::new(3).slot_capacity(longest).create(&arguments[0]).unwrap();
    let watch = ParentWatch::new();
    parent.say("created");
    parent.hear();
    let stop = std::path::Path::new(&arguments[1]);
    while !stop.exists() {
        for message in messages.iter().cycle().take(103) {
            writer.write(message).unwrap();
        }
        watch.check();
    }
    writer.close().unwrap();
}

fn strategy(name: &str) -> WaitStrategy {
    match name {
        "spin" => WaitStrategy::Spin,
        "sleep" => WaitStrategy::Sleep,
        _ => WaitStrategy::default(),
    }
}

fn ring(name: &str, slot_count: usize) -> Writer {
    WriterOptions::new(slot_count).slot_capacity(1000).create(name).unwrap()
}

/// Attached reader processes, one for each wait strategy.
fn readers(ring: &RingName) -> Vec<Child> {
    ["spin", "default", "sleep"]
        .iter()
        .map(|strategy| {
            let mut reader = Child::spawn("reader", &[ring.name(), strategy]);
            assert_eq!(reader.hear(), "ready");
            reader
        })
        .collect()
}

/// What a reader says at its end: messages consumed, messages lost.
fn counts(mut reader: Child) -> (u64, u64) {
    let said = reader.hear();
    reader.finish();
    let (consumed, lost) = said.split_once(' ').expect("two counts");
    (consumed.parse().unwrap(), lost.parse().unwrap())
}

fn publish(writer: &Writer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        writer.write(&numbered::message(number, 200)).unwrap();
    }
}

#[test]
fn a_message_reaches_another_process() {
    let ring = RingName::new("echo");
    let writer = create_writer(ring.name(), 4).unwrap();
    let mut reader = Child::spawn("echo", &[ring.name()]);
    assert_eq!(reader.hear(), "ready");
    writer.write(b"hello").unwrap();
    assert_eq!(reader.hear(), "hello");
    reader.finish();
}

#[test]
fn every_reader_process_gets_every_message_that_fits_the_ring() {
    let name = RingName::new("broadcast");
    let writer = ring(name.name(), 5_000);
    let readers = readers(&name);
    publish(&writer, 0..5_000);
    writer.close().unwrap();
    for reader in readers {
        assert_eq!(counts(reader), (5_000, 0));
    }
}

#[test]
fn readers_of_a_writer_at_full_speed_count_exactly() {
    let (name, stop) = (RingName::new("speed"), RingName::new("speed-stop"));
    let mut writer = Child::spawn("writer", &[name.name(), &stop.data_path()]);
    assert_eq!(writer.hear(), "created");
    let readers = readers(&name);
    let own = create_reader(name.name()).unwrap();
    writer.say("go");
    for _ in 0..5_000 {
        let number = numbered::number_of(&own.read(u64::MAX).unwrap().unwrap());
        assert_eq!(own.stats().consumed + own.stats().lost, number + 1);
    }
    std::fs::File::create(stop.data_path()).unwrap();
    let published: u64 = writer.hear().parse().unwrap();
    writer.finish();
    for reader in readers {
        let (consumed, lost) = counts(reader);
        assert_eq!(consumed + lost, published);
    }
}

#[test]
fn long_messages_of_a_writer_at_full_speed_are_never_torn() {
    let (name, stop) = (RingName::new("long"), RingName::new("long-stop"));
    let mut writer = Child::spawn("long writer", &[name.name(), &stop.data_path()]);
    assert_eq!(writer.hear(), "created");
    let reader = create_reader(name.name()).unwrap();
    writer.say("go");
    while reader.stats().consumed < 5_000 || reader.stats().overruns == 0 {
        numbered::number_of(&reader.read(u64::MAX).unwrap().unwrap());
    }
    std::fs::File::create(stop.data_path()).unwrap();
    writer.finish();
}

#[test]
fn stopped_reader_costs_the_others_nothing_and_counts_its_own_loss() {
    let name = RingName::new("stopped");
    let writer = ring(name.name(), 16);
    let mut stopped = readers(&name);
    stopped.iter().for_each(Child::stop);
    let own = create_reader(name.name()).unwrap();
    // Never more ahead than the ring is long: a reader that runs loses nothing.
    for start in (0..2_000).step_by(16) {
        publish(&writer, start..start + 16);
        for number in start..start + 16 {
            assert_eq!(numbered::number_of(&own.read(0).unwrap().unwrap()), number);
        }
    }
    assert_eq!((own.stats().consumed, own.stats().lost), (2_000, 0));
    stopped.iter().for_each(Child::resume);
    writer.close().unwrap();
    for reader in stopped.drain(..) {
        let (consumed, lost) = counts(reader);
        assert!((1..=16).contains(&consumed), "{consumed}");
        assert_eq!(consumed + lost, 2_000);
    }
}

#[test]
fn readers_killed_at_random_moments_disturb_nobody() {
    let (name, stop) = (RingName::new("killed"), RingName::new("killed-stop"));
    let mut writer = Child::spawn("writer", &[name.name(), &stop.data_path()]);
    assert_eq!(writer.hear(), "created");
    let bystanders = readers(&name);
    writer.say("go");
    let mut random = Random::new();
    for round in 0..30 {
        let strategy = ["spin", "default", "sleep"][round % 3];
        let mut victim = Child::spawn("reader", &[name.name(), strategy]);
        assert_eq!(victim.hear(), "ready");
        random.dawdle(30_000);
        victim.kill();
    }
    std::fs::File::create(stop.data_path()).unwrap();
    let published: u64 = writer.hear().parse().unwrap();
    writer.finish();
    for reader in bystanders {
        let (consumed, lost) = counts(reader);
        assert_eq!(consumed + lost, published);
    }
}

#[test]
fn reader_killed_in_its_sleep_costs_one_wake_up_call() {
    let name = RingName::new("sleeper");
    let writer = ring(name.name(), 8);
    let mut sleeper = Child::spawn("sleeper", &[name.name()]);
    assert_eq!(sleeper.hear(), "ready");
    inspect::wait_until_asleep(sleeper.pid());
    sleeper.kill();
    publish(&writer, 0..1);
    assert_eq!(writer.stats().wakes, 1);
    publish(&writer, 1..100);
    assert_eq!(writer.stats().wakes, 1);
}

#[test]
fn reader_killed_in_the_middle_leaves_its_place_to_a_restarted_one() {
    let name = RingName::new("restarted");
    let writer = ring(name.name(), 64);
    for round in 0..5 {
        let mut reader = Child::spawn("reader", &[name.name(), "sleep"]);
        assert_eq!(reader.hear(), "ready");
        publish(&writer, round * 10..round * 10 + 10);
        reader.kill();
    }
    // The last one starts with what is retained, like any other.
    let mut reader = Child::spawn("reader", &[name.name(), "sleep"]);
    assert_eq!(reader.hear(), "ready");
    writer.close().unwrap();
    assert_eq!(counts(reader), (50, 0));
    let late: Reader = create_reader(name.name()).unwrap();
    assert_eq!(numbered::number_of(&late.read(0).unwrap().unwrap()), 0);
}
