//! Who may write, and what becomes of a ring whose writer ends, is killed, closes or removes it.

mod support;

use std::time::{Duration, Instant};

use qadataswap::{
    QADataSwapError, Reader, ReaderOptions, Start, create_reader, create_writer, list, unlink,
};
use support::{Child, Parent, RingName, inspect};

#[test]
fn child_process() {
    support::play(&[
        ("writer", play_writer),
        ("contender", |parent, arguments| {
            let error = create_writer(&arguments[0], 4).unwrap_err();
            parent.say(alive_pid(error));
        }),
        ("reader", play_reader),
        ("remover", |parent, arguments| {
            parent.say(match unlink(&arguments[0]) {
                Ok(()) => "removed".to_owned(),
                Err(error) => format!("alive {}", alive_pid(error)),
            });
        }),
    ]);
}

/// Creates the ring, then does what it is told.
fn play_writer(parent: Parent, arguments: &[String]) {
    let writer = create_writer(&arguments[0], 4).unwrap();
    parent.say(format!("epoch {}", writer.stats().epoch));
    loop {
        let line = parent.hear();
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("write", message) => writer.write(message.as_bytes()).unwrap(),
            ("drop", _) => return,
            ("close", _) => return writer.close().unwrap(),
            ("unlink", _) => return writer.unlink().unwrap(),
            (other, _) => panic!("{other}?"),
        }
        parent.say("done");
    }
}

/// Says every message, waiting for ever, until the ring is closed.
fn play_reader(parent: Parent, arguments: &[String]) {
    let reader = create_reader(&arguments[0]).unwrap();
    parent.say("ready");
    loop {
        match reader.read(u64::MAX) {
            Ok(message) => parent.say(text(message.expect("waits for ever"))),
            Err(QADataSwapError::Closed) => return parent.say("closed"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn text(message: Vec<u8>) -> String {
    String::from_utf8(message).expect("text")
}

#[track_caller]
fn alive_pid(error: QADataSwapError) -> u32 {
    match error {
        QADataSwapError::WriterAlive { pid, .. } => pid,
        other => panic!("expected WriterAlive, got {other:?}"),
    }
}

/// A writer in a process of its own.
fn writer_process(ring: &RingName, epoch: u64) -> Child {
    let mut writer = Child::spawn("writer", &[ring.name()]);
    assert_eq!(writer.hear(), format!("epoch {epoch}"));
    writer
}

fn tell(writer: &mut Child, what: &str) {
    writer.say(what);
    assert_eq!(writer.hear(), "done");
}

fn at_once() -> ReaderOptions {
    ReaderOptions::new().attach_timeout_ms(0)
}

/// All that can be read without waiting.
#[track_caller]
fn drain(reader: &Reader) -> Vec<String> {
    std::iter::from_fn(|| reader.read(0).unwrap()).map(text).collect()
}

/// Reads until the reader is told that the ring has ended. How soon it looks is its own affair.
#[track_caller]
fn until_closed(reader: &Reader) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        match reader.read(u64::MAX) {
            Ok(message) => messages.push(text(message.expect("waits for ever"))),
            Err(QADataSwapError::Closed) => return messages,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn second_writer_in_the_same_process_is_refused_by_pid() {
    let ring = RingName::new("second");
    let first = create_writer(ring.name(), 4).unwrap();
    let error = create_writer(ring.name(), 4).unwrap_err();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert_eq!(alive_pid(error), std::process::id());
    first.write(b"undisturbed").unwrap();
    assert_eq!(drain(&create_reader(ring.name()).unwrap()), ["undisturbed"]);
    assert_eq!(first.stats().epoch, 1);
}

#[test]
fn second_writer_in_another_process_is_refused_by_pid() {
    let ring = RingName::new("second-process");
    let mut first = writer_process(&ring, 1);
    assert_eq!(alive_pid(create_writer(ring.name(), 4).unwrap_err()), first.pid());
    let mut contender = Child::spawn("contender", &[ring.name()]);
    assert_eq!(contender.hear(), first.pid().to_string());
    contender.finish();
    tell(&mut first, "write still here");
    assert_eq!(drain(&create_reader(ring.name()).unwrap()), ["still here"]);
}

#[test]
fn stopped_writer_counts_as_alive_until_it_is_killed() {
    let ring = RingName::new("stopped");
    let first = writer_process(&ring, 1);
    first.stop();
    assert_eq!(alive_pid(create_writer(ring.name(), 4).unwrap_err()), first.pid());
    first.kill();
    assert_eq!(create_writer(ring.name(), 4).unwrap().stats().epoch, 2);
}

#[test]
fn retained_messages_outlive_a_writer_however_it_ends() {
    for end in ["drop", "kill"] {
        let ring = RingName::new("outlive");
        let mut writer = writer_process(&ring, 1);
        for message in ["a", "b", "c", "d", "e"] {
            tell(&mut writer, &format!("write {message}"));
        }
        if end == "kill" {
            writer.kill();
        } else {
            writer.say(end);
            writer.finish();
        }
        let late = at_once().attach(ring.name()).unwrap();
        assert_eq!(drain(&late), ["b", "c", "d", "e"], "{end}");
        let newest = at_once().start(Start::Newest).attach(ring.name()).unwrap();
        assert_eq!(drain(&newest), ["e"], "{end}");
        let next = at_once().start(Start::Next).attach(ring.name()).unwrap();
        assert_eq!(drain(&next), [""; 0], "{end}");

        // All three go on with whoever writes next.
        let successor = create_writer(ring.name(), 4).unwrap();
        successor.write(b"f").unwrap();
        for reader in [&late, &newest, &next] {
            assert_eq!(drain(reader), ["f"], "{end}");
        }
        assert_eq!((successor.stats().epoch, successor.stats().message_count), (2, 6));
    }
}

#[test]
fn closed_ring_is_drained_before_readers_are_told() {
    let ring = RingName::new("closed");
    let mut writer = writer_process(&ring, 1);
    let early = create_reader(ring.name()).unwrap();
    for message in ["a", "b", "c"] {
        tell(&mut writer, &format!("write {message}"));
    }
    writer.say("close");
    writer.finish();
    for reader in [early, at_once().attach(ring.name()).unwrap()] {
        assert_eq!(until_closed(&reader), ["a", "b", "c"]);
        // It stays so, also for reads that do not wait.
        assert!(matches!(reader.read(0), Err(QADataSwapError::Closed)));
        assert_eq!((reader.stats().consumed, reader.stats().lost), (3, 0));
    }
}

#[test]
fn sleeping_reader_process_is_told_of_the_end() {
    for end in ["close", "unlink"] {
        let ring = RingName::new("told");
        let mut writer = writer_process(&ring, 1);
        let mut reader = Child::spawn("reader", &[ring.name()]);
        assert_eq!(reader.hear(), "ready");
        inspect::wait_until_asleep(reader.pid());
        writer.say(end);
        writer.finish();
        assert_eq!(reader.hear(), "closed");
        reader.finish();
    }
}

#[test]
fn reader_that_was_told_closed_goes_on_when_the_ring_is_reopened() {
    let ring = RingName::new("reopened");
    let first = create_writer(ring.name(), 4).unwrap();
    let reader = create_reader(ring.name()).unwrap();
    first.write(b"one").unwrap();
    first.close().unwrap();
    assert_eq!(until_closed(&reader), ["one"]);
    let mut second = writer_process(&ring, 2);
    assert_eq!(drain(&reader), [""; 0]);
    tell(&mut second, "write two");
    assert_eq!(drain(&reader), ["two"]);
    assert_eq!((reader.stats().consumed, reader.stats().lost), (2, 0));
}

#[test]
fn closed_ring_is_reopened_with_its_messages_and_numbers() {
    let ring = RingName::new("reopened-late");
    let first = create_writer(ring.name(), 4).unwrap();
    first.write(b"one").unwrap();
    first.close().unwrap();
    let second = create_writer(ring.name(), 4).unwrap();
    let stats = second.stats();
    assert_eq!((stats.epoch, stats.message_count, stats.position, stats.published), (2, 1, 1, 0));
    second.write(b"two").unwrap();
    assert_eq!(drain(&create_reader(ring.name()).unwrap()), ["one", "two"]);
}

#[test]
fn unlinked_ring_is_drained_by_those_attached_and_gone_for_others() {
    let ring = RingName::new("unlinked");
    let writer = create_writer(ring.name(), 4).unwrap();
    let reader = create_reader(ring.name()).unwrap();
    writer.write(b"last").unwrap();
    assert!(list().unwrap().contains(&ring.name().to_owned()));
    writer.unlink().unwrap();
    assert_eq!(inspect::objects(ring.name()), [""; 0]);
    assert!(!list().unwrap().contains(&ring.name().to_owned()));
    let gone = at_once().attach(ring.name()).unwrap_err();
    assert!(matches!(&gone, QADataSwapError::NotFound { name } if name == ring.name()), "{gone:?}");
    assert_eq!(until_closed(&reader), ["last"]);
}

#[test]
fn ring_is_unlinked_by_name_only_when_its_writer_is_gone() {
    let ring = RingName::new("unlink-name");
    let writer = writer_process(&ring, 1);
    assert_eq!(alive_pid(unlink(ring.name()).unwrap_err()), writer.pid());
    let mut remover = Child::spawn("remover", &[ring.name()]);
    assert_eq!(remover.hear(), format!("alive {}", writer.pid()));
    writer.kill();
    let mut remover = Child::spawn("remover", &[ring.name()]);
    assert_eq!(remover.hear(), "removed");
    assert_eq!(inspect::objects(ring.name()), [""; 0]);
    assert!(matches!(unlink(ring.name()), Err(QADataSwapError::NotFound { .. })));
}

#[test]
fn reader_of_an_unlinked_ring_whose_writer_was_killed_is_told_closed() {
    let ring = RingName::new("killed-unlinked");
    let mut writer = writer_process(&ring, 1);
    let behind = create_reader(ring.name()).unwrap();
    let mut sleeper = Child::spawn("reader", &[ring.name()]);
    assert_eq!(sleeper.hear(), "ready");
    tell(&mut writer, "write last words");
    assert_eq!(sleeper.hear(), "last words");
    writer.kill();
    unlink(ring.name()).unwrap();
    assert_eq!(sleeper.hear(), "closed");
    assert_eq!(until_closed(&behind), ["last words"]);
    sleeper.finish();
}

#[test]
fn polling_reader_of_an_unlinked_ring_whose_writer_was_killed_is_told_closed() {
    let ring = RingName::new("killed-polling");
    let writer = writer_process(&ring, 1);
    let reader = create_reader(ring.name()).unwrap();
    writer.kill();
    unlink(ring.name()).unwrap();
    loop {
        match reader.read(0) {
            Ok(None) => std::thread::yield_now(),
            Ok(Some(message)) => panic!("{message:?}"),
            Err(error) => break assert!(matches!(error, QADataSwapError::Closed), "{error:?}"),
        }
    }
}

#[test]
fn reader_does_not_stray_into_a_new_ring_of_the_same_name() {
    for by_hand in [false, true] {
        let ring = RingName::new("anew");
        let mut old = writer_process(&ring, 1);
        let reader = create_reader(ring.name()).unwrap();
        tell(&mut old, "write old");
        if by_hand {
            // The writer lives on without a name, and its reader with it.
            std::fs::remove_file(ring.data_path()).unwrap();
            std::fs::remove_file(ring.control_path()).unwrap();
        } else {
            old.say("unlink");
        }
        // Refused for as long as an old writer has the name.
        let new = loop {
            match create_writer(ring.name(), 4) {
                Ok(writer) => break writer,
                Err(QADataSwapError::WriterAlive { .. }) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        new.write(b"new").unwrap();
        assert_eq!(new.stats().epoch, 1);
        if by_hand {
            tell(&mut old, "write old too");
            assert_eq!(drain(&reader), ["old", "old too"]);
            old.kill();
        }
        let rest = until_closed(&reader);
        assert_eq!(rest, if by_hand { &[][..] } else { &["old"][..] });
        assert_eq!(drain(&create_reader(ring.name()).unwrap()), ["new"]);
    }
}

#[test]
fn ring_removed_by_hand_is_not_removed_again_from_under_its_successor() {
    let ring = RingName::new("by-hand");
    let old = create_writer(ring.name(), 4).unwrap();
    std::fs::remove_file(ring.data_path()).unwrap();
    let mut new = writer_process(&ring, 1);
    old.unlink().unwrap();
    tell(&mut new, "write still named");
    assert_eq!(drain(&at_once().attach(ring.name()).unwrap()), ["still named"]);
}

#[test]
fn reader_waits_for_a_writer_that_comes_later() {
    let ring = RingName::new("early-reader");
    let mut reader = Child::spawn("reader", &[ring.name()]);
    inspect::wait_until_asleep(reader.pid());
    let writer = create_writer(ring.name(), 4).unwrap();
    assert_eq!(reader.hear(), "ready");
    writer.write(b"welcome").unwrap();
    assert_eq!(reader.hear(), "welcome");
    writer.close().unwrap();
    assert_eq!(reader.hear(), "closed");
    reader.finish();
}

#[test]
fn attach_waits_as_long_as_it_was_told_and_names_the_missing_ring() {
    let ring = RingName::new("missing");
    for timeout_ms in [0, 30] {
        let started = Instant::now();
        let error = ReaderOptions::new().attach_timeout_ms(timeout_ms).attach(ring.name());
        let error = error.unwrap_err();
        assert!(started.elapsed() >= Duration::from_millis(timeout_ms));
        assert!(
            matches!(&error, QADataSwapError::NotFound { name } if name == ring.name()),
            "{error:?}"
        );
    }
    assert_eq!(inspect::objects(ring.name()), [""; 0]);
}
