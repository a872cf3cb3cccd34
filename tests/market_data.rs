//! One day of real market data, one batch per exchange event, from one writer process to three reader
//! processes: every batch that is consumed is the one that was sent, and every other is counted.

mod support;

use std::fs::File;
use std::io::BufReader;

use arrow_ipc::reader::StreamReader;
use arrow_select::concat::concat_batches;
use qadataswap::arrow_array::cast::AsArray;
use qadataswap::arrow_array::types::UInt8Type;
use qadataswap::arrow_array::{Array, RecordBatch};
use qadataswap::{QADataSwapError, ReaderOptions, WaitStrategy, WriterOptions};
use support::{Child, Parent, RingName, inspect::ParentWatch};

const FILE: &str = "es_mbo_20231225.arrows";
const EVENTS: usize = 47_022;
const ROWS: usize = 68_792;
const HALF: usize = EVENTS / 2;
const QUARTER: usize = EVENTS / 4;
const SLOTS: usize = 256;
/// In `flags`: the last message of an exchange event.
const LAST_OF_EVENT: u8 = 128;

#[test]
fn child_process() {
    support::play(&[("writer", write), ("reader", read)]);
}

/// The file's rows as one batch per exchange event.
fn events(path: &str) -> Vec<RecordBatch> {
    let file = BufReader::new(File::open(path).unwrap());
    let reader = StreamReader::try_new(file, None).unwrap();
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().unwrap();
    // An event may begin in one batch of the file and end in another.
    let all = concat_batches(&schema, &batches).unwrap();
    let flags = all.column_by_name("flags").expect("a column of flags").as_primitive::<UInt8Type>();
    assert_eq!(flags.null_count(), 0);
    let mut events = Vec::with_capacity(EVENTS);
    let mut start = 0;
    for (row, flag) in flags.values().iter().enumerate() {
        if *flag >= LAST_OF_EVENT {
            events.push(all.slice(start, row + 1 - start));
            start = row + 1;
        }
    }
    assert_eq!(events.len(), EVENTS);
    assert_eq!(events.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS);
    events
}

/// Publishes the first half of the events, and when told so the second, at full speed. Says when a
/// quarter is done.
fn write(parent: Parent, arguments: &[String]) {
    let events = events(&arguments[1]);
    // The day begins with an event that takes eight times as much as a slot.
    let writer = WriterOptions::new(SLOTS).slot_capacity(64 << 10).create(&arguments[0]).unwrap();
    let watch = ParentWatch::new();
    parent.say("created");
    for (number, event) in events.iter().enumerate() {
        if number == 0 || number == HALF {
            parent.hear();
        }
        writer.write_arrow(event).unwrap();
        match number + 1 {
            QUARTER => parent.say("quarter"),
            HALF => parent.say("half"),
            EVENTS => parent.say("all"),
            _ => {}
        }
        watch.check();
    }
    assert_eq!((writer.stats().published, writer.stats().rollovers), (EVENTS as u64, 1));
    parent.hear();
    writer.close().unwrap();
}

/// Compares every batch with the file, until the ring is closed.
fn read(parent: Parent, arguments: &[String]) {
    let events = events(&arguments[1]);
    let slow = arguments[2] == "slow";
    let wait = if slow { WaitStrategy::Sleep } else { WaitStrategy::default() };
    parent.say("loaded");
    parent.hear();
    let reader = ReaderOptions::new().wait(wait).attach(&arguments[0]).unwrap();
    let first = reader.stats().position;
    parent.say(format!("attached {first}"));
    loop {
        let batch = match reader.read_arrow(u64::MAX) {
            Ok(batch) => batch.expect("waits for ever"),
            Err(QADataSwapError::Closed) => break,
            Err(error) => panic!("{error}"),
        };
        let stats = reader.stats();
        // Nothing ever holds a slot here, so positions number the events.
        assert_eq!(stats.consumed + stats.lost, stats.position - first);
        let sent = &events[stats.position as usize - 1];
        for _ in 0..if slow { 2 } else { 1 } {
            assert_eq!(batch, *sent, "event {}", stats.position - 1);
        }
    }
    let stats = reader.stats();
    parent.say(format!("{} {} {}", stats.consumed, stats.lost, stats.position));
}

/// A reader process that has attached; gives the position it started at.
fn attach(reader: &mut Child) -> u64 {
    reader.say("attach");
    let line = reader.hear();
    line.strip_prefix("attached ").expect("attached").parse().unwrap()
}

#[track_caller]
fn finish(mut reader: Child, first: u64) -> (u64, u64) {
    let said = reader.hear();
    reader.finish();
    let counts: Vec<u64> = said.split(' ').map(|count| count.parse().unwrap()).collect();
    let [consumed, lost, position] = counts[..] else { panic!("{said}") };
    assert_eq!(position, EVENTS as u64);
    assert_eq!(consumed + lost, EVENTS as u64 - first, "consumed {consumed}, lost {lost}");
    (consumed, lost)
}

#[test]
fn every_event_of_a_day_is_consumed_as_sent_or_counted_as_lost() {
    let Some(path) = support::shared_data(FILE) else { return };
    let path = path.to_str().expect("UTF-8");
    let ring = RingName::new("market");
    let reader = |kind| Child::spawn("reader", &[ring.name(), path, kind]);
    let mut writer = Child::spawn("writer", &[ring.name(), path]);
    let (mut fast, mut slow, mut victim) = (reader("fast"), reader("slow"), reader("fast"));
    let mut replacement = reader("fast");
    assert_eq!(writer.hear(), "created");
    for reader in [&mut fast, &mut slow, &mut victim, &mut replacement] {
        assert_eq!(reader.hear(), "loaded");
    }
    for reader in [&mut fast, &mut slow, &mut victim] {
        assert_eq!(attach(reader), 0);
    }

    writer.say("first half");
    assert_eq!(writer.hear(), "quarter");
    victim.kill();
    let joined = attach(&mut replacement);
    assert!(joined as usize > QUARTER - SLOTS, "{joined}");
    assert_eq!(writer.hear(), "half");
    // However fast or slow this machine is: this one now loses nearly all of the second half.
    slow.stop();
    writer.say("second half");
    assert_eq!(writer.hear(), "all");
    slow.resume();
    writer.say("close");
    writer.finish();

    let (consumed, lost) = finish(slow, 0);
    assert!(lost as usize > HALF - 2 * SLOTS && consumed > 0, "consumed {consumed}, lost {lost}");
    let others = [finish(fast, 0), finish(replacement, joined)];
    for (consumed, _) in others {
        assert!(consumed as usize >= SLOTS / 2, "the end of the day is still in the ring");
    }
    println!("consumed, lost: slow {:?}, fast and replacement {others:?}", (consumed, lost));
}
