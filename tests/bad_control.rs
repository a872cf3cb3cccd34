//! A control segment that is not what it should be. It is where readers store, so whatever it holds
//! must cost the writer and the other readers nothing: a reader that finds it unusable reads without
//! being registered, and the next writer puts a new one in its place.

mod support;

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use qadataswap::{QADataSwapError, Reader, ReaderOptions, WaitStrategy, Writer, WriterOptions};
use support::RingName;
use support::damage::bad_values;
use support::raw::{self, Random, Raw};

const CONTROL_BYTES: u64 = 4096 + 64 * 256;

fn writer(ring: &RingName) -> Writer {
    WriterOptions::new(8).slot_capacity(40).create(ring.name()).unwrap()
}

fn reader(ring: &RingName) -> Reader {
    ReaderOptions::new().attach_timeout_ms(0).attach(ring.name()).unwrap()
}

fn inode(ring: &RingName) -> u64 {
    std::fs::symlink_metadata(ring.control_path()).unwrap().ino()
}

/// A ring with one message in it, and the control segment as it was made.
fn ring_with_control(what: &str) -> (RingName, Writer, Vec<u8>) {
    let ring = RingName::new(what);
    let writer = writer(&ring);
    writer.write(b"first").unwrap();
    let control = std::fs::read(ring.control_path()).unwrap();
    (ring, writer, control)
}

/// Readers do without it. Gives one of them.
#[track_caller]
fn assert_read_unregistered(ring: &RingName, what: &str) -> Reader {
    let reader = reader(ring);
    assert!(!reader.stats().registered, "{what}");
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"first"[..]), "{what}");
    reader
}

/// The next writer makes a new one, and both new readers and `old` register there.
#[track_caller]
fn assert_replaced(ring: &RingName, old: &Reader, what: &str) -> Writer {
    let writer = writer(ring);
    assert_eq!(writer.stats().message_count, 1, "{what}");
    let control = Raw::control(ring);
    assert_eq!(control.len(), CONTROL_BYTES, "{what}");
    assert_eq!(control.bytes(raw::CONTROL_MAGIC, 8), b"QADSCTRL", "{what}");
    assert_eq!(control.u64(raw::CONTROL_RING_ID), Raw::data(ring).u64(raw::RING_ID), "{what}");
    assert!(reader(ring).stats().registered, "{what}");
    while !old.stats().registered {
        assert_eq!(old.read(1).unwrap(), None, "{what}");
    }
    writer.write(b"second").unwrap();
    assert_eq!(old.read(0).unwrap().as_deref(), Some(&b"second"[..]), "{what}");
    writer
}

#[test]
fn each_word_of_the_header_decides_whether_it_can_be_used() {
    let (ring, mut writer, _) = ring_with_control("control-words");
    for (name, at, bits) in [
        ("magic", raw::CONTROL_MAGIC, 64),
        ("abi_version", raw::CONTROL_VERSION, 32),
        ("entry_count", raw::CONTROL_ENTRIES, 32),
        ("ring_id", raw::CONTROL_RING_ID, 64),
    ] {
        let control = Raw::control(&ring);
        let was = if bits == 32 { control.u32(at).into() } else { control.u64(at) };
        for value in bad_values(was, bits) {
            if bits == 32 {
                control.set_u32(at, value as u32);
            } else {
                control.set_u64(at, value);
            }
            let reader = reader(&ring);
            assert!(!reader.stats().registered, "{name} {value:#x}");
            assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"first"[..]));
        }
        // The last of the values stays, for the next writer to find.
        let before = inode(&ring);
        drop(writer);
        writer = self::writer(&ring);
        assert_ne!(inode(&ring), before, "{name}");
        assert!(reader(&ring).stats().registered, "{name}");
    }
}

#[test]
fn words_beside_the_fields_do_not_matter() {
    let (ring, writer, control) = ring_with_control("control-unused");
    let mut random = Random(1);
    let raw = Raw::control(&ring);
    raw.set_bytes(24, &random.bytes(128 - 24));
    raw.set_bytes(132, &random.bytes(4096 - 132));
    let reader = reader(&ring);
    assert!(reader.stats().registered);
    let before = inode(&ring);
    drop(writer);
    let writer = self::writer(&ring);
    assert_eq!(inode(&ring), before);
    writer.write(b"second").unwrap();
    for message in [&b"first"[..], b"second"] {
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(message));
    }
    assert_eq!(control.len() as u64, raw.len());
}

#[test]
fn one_of_another_size_is_not_used_and_is_replaced() {
    for size in [0, 1, 24, 128, 132, 4095, 4096, CONTROL_BYTES - 256, CONTROL_BYTES - 1]
        .into_iter()
        .chain([CONTROL_BYTES + 1, CONTROL_BYTES + 4096, 1 << 40])
    {
        let (ring, writer, _) = ring_with_control("control-size");
        drop(writer);
        Raw::control(&ring).set_len(size);
        let what = format!("{size} bytes");
        let old = assert_read_unregistered(&ring, &what);
        assert_replaced(&ring, &old, &what);
    }
}

#[test]
fn one_that_is_missing_or_full_of_other_bytes_is_replaced() {
    let mut random = Random(2);
    for (what, bytes) in [
        ("missing", None),
        ("zeroes", Some(vec![0; CONTROL_BYTES as usize])),
        ("ones", Some(vec![0xff; CONTROL_BYTES as usize])),
        ("noise", Some(random.bytes(CONTROL_BYTES as usize))),
    ] {
        let (ring, writer, _) = ring_with_control("control-bytes");
        drop(writer);
        match bytes {
            None => std::fs::remove_file(ring.control_path()).unwrap(),
            Some(bytes) => Raw::control(&ring).set_bytes(0, &bytes),
        }
        let old = assert_read_unregistered(&ring, what);
        assert_replaced(&ring, &old, what);
    }
}

#[test]
fn one_of_another_ring_is_replaced() {
    let (ring, writer, _) = ring_with_control("control-mine");
    let (other, _other_writer, _) = ring_with_control("control-theirs");
    drop(writer);
    std::fs::copy(other.control_path(), ring.control_path()).unwrap();
    let old = assert_read_unregistered(&ring, "another ring's");
    assert_replaced(&ring, &old, "another ring's");
}

#[test]
fn a_symlink_in_its_place_is_not_followed_and_is_replaced() {
    let (ring, writer, _) = ring_with_control("control-symlink");
    let target = RingName::new("control-target");
    std::fs::write(target.data_path(), b"somebody's file").unwrap();
    drop(writer);
    std::fs::remove_file(ring.control_path()).unwrap();
    std::os::unix::fs::symlink(target.data_path(), ring.control_path()).unwrap();
    let old = assert_read_unregistered(&ring, "symlink");
    assert_replaced(&ring, &old, "symlink");
    assert_eq!(std::fs::read(target.data_path()).unwrap(), b"somebody's file");
}

#[test]
fn a_directory_in_its_place_is_left_alone_and_reported() {
    struct Directory(String);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }
    let (ring, writer, _) = ring_with_control("control-directory");
    drop(writer);
    std::fs::remove_file(ring.control_path()).unwrap();
    let directory = Directory(ring.control_path());
    std::fs::create_dir(&directory.0).unwrap();
    let old = assert_read_unregistered(&ring, "directory");
    let options = WriterOptions::new(8).slot_capacity(40);
    for _ in 0..2 {
        let error = options.create(ring.name()).unwrap_err();
        assert!(
            matches!(error, QADataSwapError::SystemCall { errno: libc::EEXIST, .. }),
            "{error:?}"
        );
    }
    // A ring that is only being made is not left half-made.
    qadataswap::list().unwrap();
    let fresh = RingName::new("control-directory-fresh");
    let fresh_directory = Directory(fresh.control_path());
    std::fs::create_dir(&fresh_directory.0).unwrap();
    assert!(options.create(fresh.name()).is_err());
    assert!(!std::fs::exists(fresh.data_path()).unwrap());
    // Once it is out of the way, everything goes on.
    drop(directory);
    assert_replaced(&ring, &old, "after the directory");
}

#[test]
fn readers_entries_may_hold_anything() {
    let ring = RingName::new("control-entries");
    let writer = writer(&ring);
    let readers: Vec<_> = (0..5).map(|_| reader(&ring)).collect();
    let control = Raw::control(&ring);
    let mut random = Random(3);
    for number in 0..2_000u64 {
        let noise = match number % 3 {
            0 => random.bytes(64 * 256),
            1 => vec![0xff; 64 * 256],
            _ => vec![0; 64 * 256],
        };
        control.set_bytes(raw::ENTRIES, &noise);
        writer.write(&number.to_le_bytes()).unwrap();
        for reader in &readers {
            assert_eq!(reader.read_value::<u64>(0).unwrap(), Some(number));
        }
    }
    for reader in &readers {
        let stats = reader.stats();
        assert_eq!((stats.consumed, stats.lost, stats.lag), (2_000, 0, 0));
        assert!(stats.registered);
    }
    // Entries are taken by the kernel's lock and not by what is in them.
    drop(readers);
    control.set_bytes(raw::ENTRIES, &vec![0xff; 64 * 256]);
    let all: Vec<_> = (0..65).map(|_| reader(&ring)).collect();
    assert_eq!(all.iter().filter(|reader| reader.stats().registered).count(), 64);
}

#[test]
fn the_waiters_word_set_at_random_costs_the_writer_at_most_a_wake_up_per_message() {
    const MESSAGES: u64 = 20_000;
    let ring = RingName::new("control-waiters");
    let writer = WriterOptions::new(1 << 15).slot_capacity(40).create(ring.name()).unwrap();
    let sleeper = ReaderOptions::new().wait(WaitStrategy::Sleep).attach(ring.name()).unwrap();
    let control = Raw::control(&ring);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(4);
            while !done.load(Ordering::Relaxed) {
                let value = [0, 1, 2, u32::MAX, random.next() as u32][random.below(5) as usize];
                control.set_u32(raw::WAITERS, value);
            }
        });
        let reading = scope.spawn(move || {
            for number in 0..MESSAGES {
                assert_eq!(sleeper.read_value::<u64>(u64::MAX).unwrap(), Some(number));
            }
            sleeper.stats()
        });
        for number in 0..MESSAGES {
            writer.write(&number.to_le_bytes()).unwrap();
        }
        let stats = reading.join().unwrap();
        done.store(true, Ordering::Relaxed);
        assert_eq!((stats.consumed, stats.lost), (MESSAGES, 0));
    });
    assert_eq!(writer.stats().published, MESSAGES);
    assert!(writer.stats().wakes <= MESSAGES);
}
