//! Handles by the thousand: nothing leaks, and dead readers' entries are used again.

mod support;

use std::fs;

use qadataswap::{Reader, ReaderOptions, create_reader, create_writer};
use support::{Child, RingName, inspect};

/// Readers that can be registered at a time.
const ENTRIES: usize = 64;

#[test]
fn child_process() {
    support::play(&[
        ("nothing", |_, _| {}),
        ("many", |parent, arguments| {
            let count = arguments[1].parse().unwrap();
            let readers: Vec<Reader> =
                (0..count).map(|_| create_reader(&arguments[0]).unwrap()).collect();
            let registered = readers.iter().filter(|reader| reader.stats().registered).count();
            parent.say(registered);
            parent.hear();
        }),
        ("churn", |parent, arguments| {
            let (name, rounds) = (&arguments[0], arguments[1].parse().unwrap());
            let used = (inspect::open_descriptors(), inspect::mappings("/qads_").len());
            for round in 0..rounds {
                let reader = create_reader(name).unwrap();
                assert!(reader.stats().registered, "an entry was lost before round {round}");
                assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"message"[..]));
            }
            assert_eq!((inspect::open_descriptors(), inspect::mappings("/qads_").len()), used);
            parent.say("done");
        }),
        ("churn-writers", |parent, arguments| {
            let (name, rounds) = (&arguments[0], arguments[1].parse().unwrap());
            let used = (inspect::open_descriptors(), inspect::mappings("/qads_").len());
            for round in 0..rounds {
                let writer = create_writer(name, 4).unwrap();
                assert_eq!((writer.stats().epoch, writer.stats().position), (round + 1, round));
                writer.write(b"message").unwrap();
            }
            for _ in 0..rounds {
                create_writer(name, 4).unwrap().unlink().unwrap();
            }
            assert_eq!((inspect::open_descriptors(), inspect::mappings("/qads_").len()), used);
            parent.say("done");
        }),
    ]);
}

/// Number of entries of the control segment that say they are taken.
fn taken(ring: &RingName) -> usize {
    let control = fs::read(ring.control_path()).unwrap();
    control[4096..].chunks(256).filter(|entry| entry[..4] != [0; 4]).count()
}

#[test]
fn thousands_of_attaches_leak_nothing() {
    let ring = RingName::new("churn");
    let writer = create_writer(ring.name(), 4).unwrap();
    writer.write(b"message").unwrap();
    // Several at once, so that entries change hands between processes.
    let mut children: Vec<Child> =
        (0..3).map(|_| Child::spawn("churn", &[ring.name(), "1000"])).collect();
    for child in &mut children {
        assert_eq!(child.hear(), "done");
    }
    children.into_iter().for_each(Child::finish);
    assert_eq!(taken(&ring), 0);
}

#[test]
fn hundreds_of_takeovers_and_removals_leak_nothing() {
    let ring = RingName::new("churn-writers");
    let mut child = Child::spawn("churn-writers", &[ring.name(), "500"]);
    assert_eq!(child.hear(), "done");
    child.finish();
    assert_eq!(inspect::objects(ring.name()), [""; 0]);
}

#[test]
fn entries_of_killed_readers_are_used_again() {
    let ring = RingName::new("killed-readers");
    let writer = create_writer(ring.name(), 4).unwrap();
    for _ in 0..3 {
        let mut child = Child::spawn("many", &[ring.name(), "64"]);
        assert_eq!(child.hear(), "64");
        assert!(!create_reader(ring.name()).unwrap().stats().registered);
        assert_eq!(taken(&ring), ENTRIES);
        child.kill();
    }
    // The table still says that all are taken; the kernel knows better.
    assert_eq!(taken(&ring), ENTRIES);
    let readers: Vec<Reader> = (0..ENTRIES).map(|_| create_reader(ring.name()).unwrap()).collect();
    assert!(readers.iter().all(|reader| reader.stats().registered));
    writer.write(b"message").unwrap();
    for reader in &readers {
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"message"[..]));
    }
    drop(readers);
    assert_eq!(taken(&ring), 0);
}

#[test]
fn stopped_reader_keeps_its_entry() {
    let ring = RingName::new("stopped-readers");
    let _writer = create_writer(ring.name(), 4).unwrap();
    let mut child = Child::spawn("many", &[ring.name(), "64"]);
    assert_eq!(child.hear(), "64");
    child.stop();
    assert!(!create_reader(ring.name()).unwrap().stats().registered);
    child.resume();
    child.say("end");
    child.finish();
    assert!(create_reader(ring.name()).unwrap().stats().registered);
}

#[test]
fn dropped_handles_are_free_at_once_while_the_process_starts_others() {
    // Between fork and exec a new process shares every descriptor, close-on-exec or not.
    let ring = RingName::new("free-at-once");
    let starter = std::thread::spawn(|| {
        for _ in 0..50 {
            Child::spawn("nothing", &[]).finish();
        }
    });
    while !starter.is_finished() {
        let writer = create_writer(ring.name(), 4).unwrap();
        let readers: Vec<Reader> =
            (0..ENTRIES).map(|_| create_reader(ring.name()).unwrap()).collect();
        assert!(readers.iter().all(|reader| reader.stats().registered));
        drop(readers);
        drop(writer);
    }
    starter.join().unwrap();
}

#[test]
fn unregistered_reader_does_not_take_an_entry() {
    let ring = RingName::new("unregistered");
    let writer = create_writer(ring.name(), 4).unwrap();
    let reader = ReaderOptions::new().register(false).attach(ring.name()).unwrap();
    assert!(!reader.stats().registered);
    writer.write(b"message").unwrap();
    assert_eq!(reader.read(u64::MAX).unwrap().as_deref(), Some(&b"message"[..]));
    assert_eq!(taken(&ring), 0);
    assert!(inspect::data_mappings(ring.name()).iter().any(|map| map.permissions == "r--s"));
}
