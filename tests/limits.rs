//! Limits of the process: address space, file size, open files.

mod support;

use std::fs::File;
use std::os::fd::AsRawFd;

use qadataswap::{QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions};
use support::{Child, Parent, RingName, inspect, numbered};

const MIB: u64 = 1 << 20;

#[test]
fn child_process() {
    support::play(&[
        ("small-address-space", small_address_space),
        ("small-files", small_files),
        ("few-files", few_files),
        ("many-readers", many_readers),
    ]);
}

fn set_limit(resource: libc::__rlimit_resource_t, value: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::getrlimit(resource, &mut limit) }, 0);
    limit.rlim_cur = value;
    // SAFETY: `limit` outlives the call, which changes nothing but a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

fn address_space_in_use() -> u64 {
    // proc_pid_statm(5): the first number is the size in pages.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// A ring of sixteen slots, whose size is about sixteen times `capacity`.
fn create(name: &str, capacity: u64) -> Result<Writer, QADataSwapError> {
    WriterOptions::new(16).slot_capacity(capacity as usize).create(name)
}

fn attach(name: &str) -> Result<Reader, QADataSwapError> {
    ReaderOptions::new().attach_timeout_ms(0).attach(name)
}

/// Checks that the ring of `writer` works as if nothing had happened to it.
#[track_caller]
fn assert_usable(writer: &Writer, capacity: u64) {
    assert_eq!(writer.slot_capacity() as u64, capacity);
    assert_eq!(inspect::objects(&writer.name()).len(), 2);
    let number = writer.stats().message_count;
    writer.write(&numbered::message(number, 100)).unwrap();
    let reader = attach(&writer.name()).unwrap();
    let mut last = None;
    while let Some(message) = reader.read(0).unwrap() {
        last = Some(numbered::number_of(&message));
    }
    assert_eq!(last, Some(number));
}

fn small_address_space(_: Parent, arguments: &[String]) {
    let (large, small) = (&arguments[0], &arguments[1]);
    set_limit(libc::RLIMIT_AS, address_space_in_use() + 64 * MIB);
    // The parent has made a large ring, and its writer is gone.
    for _ in 0..2 {
        let error = attach(large).unwrap_err();
        assert!(matches!(error, QADataSwapError::MemoryMapFailed), "{error:?}");
        let error = create(large, 16 * MIB).unwrap_err();
        assert!(matches!(error, QADataSwapError::MemoryMapFailed), "{error:?}");
        let error = create(small, 16 * MIB).unwrap_err();
        assert!(matches!(error, QADataSwapError::MemoryMapFailed), "{error:?}");
        assert_eq!(inspect::objects(small), [""; 0]);
    }
    let writer = create(small, 1000).unwrap();
    assert_usable(&writer, 1000);
    let error = writer.write(&vec![0; 8 << 20]).unwrap_err();
    assert!(matches!(error, QADataSwapError::MemoryMapFailed), "{error:?}");
    assert_usable(&writer, 1000);
}

fn small_files(_: Parent, arguments: &[String]) {
    let (large, small) = (&arguments[0], &arguments[1]);
    set_limit(libc::RLIMIT_FSIZE, MIB);
    #[track_caller]
    fn too_big<T>(result: Result<T, QADataSwapError>) {
        let error = result.map(|_| ()).unwrap_err();
        let expected = |call| call == "ftruncate";
        assert!(
            matches!(error, QADataSwapError::SystemCall { call, errno: libc::EFBIG, .. }
                if expected(call)),
            "{error:?}"
        );
    }
    for _ in 0..2 {
        too_big(create(small, MIB));
        assert_eq!(inspect::objects(small), [""; 0]);
    }
    let writer = create(small, 1000).unwrap();
    assert_usable(&writer, 1000);
    too_big(writer.write(&vec![0; 1 << 20]));
    assert_usable(&writer, 1000);
    // What is large already may be used: nothing grows.
    let writer = create(large, 16 * MIB).unwrap();
    writer.write(&numbered::message(1, 10 << 20)).unwrap();
    assert_usable(&writer, 16 * MIB);
}

fn few_files(_: Parent, arguments: &[String]) {
    let (large, small) = (&arguments[0], &arguments[1]);
    // New descriptors get the lowest number that is free, so nothing below this one is.
    let last = File::open("/dev/null").unwrap();
    let lowest = last.as_raw_fd() as u64;
    let mut failures = 0;
    loop {
        set_limit(libc::RLIMIT_NOFILE, lowest + 1 + failures);
        let number = attach(large)
            .map(|reader| numbered::number_of(&reader.read(0).unwrap().expect("published")));
        let writer = create(small, 1000);
        // Enough for looking at what that has left.
        set_limit(libc::RLIMIT_NOFILE, lowest + 16);
        if let (Ok(0), Ok(writer)) = (&number, &writer) {
            assert_usable(writer, 1000);
            break;
        }
        if let Ok(writer) = writer.as_ref() {
            panic!("{} was made where reading failed: {number:?}", writer.name());
        }
        assert_eq!(inspect::objects(small), [""; 0]);
        for error in [number.err(), writer.err()].into_iter().flatten() {
            assert!(
                matches!(error, QADataSwapError::SystemCall { errno: libc::EMFILE, .. }),
                "{error:?}"
            );
        }
        failures += 1;
        assert!(failures < 16, "that should do");
    }
    assert!(failures > 1, "neither takes a single descriptor");
}

/// A thousand readers at once in one process: sixty-four have entries, all read.
fn many_readers(_: Parent, arguments: &[String]) {
    let name = &arguments[0];
    let (descriptors, maps) = (inspect::open_descriptors(), inspect::mappings("/qads_").len());
    // As many descriptors as readers, and one more for each entry.
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let readers = if limit.rlim_max < 1200 {
        println!("skipped in part: this process may open {} files only", limit.rlim_max);
        limit.rlim_max as usize - 200
    } else {
        1000
    };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` outlives the call, which changes nothing but a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);

    let writer = create(name, 1000).unwrap();
    let all: Vec<Reader> = (0..readers).map(|_| attach(name).unwrap()).collect();
    assert_eq!(all.iter().filter(|reader| reader.stats().registered).count(), 64);
    for number in 0..20 {
        writer.write(&numbered::message(number, 500)).unwrap();
        // Every third reader falls behind and is lapped.
        for reader in all.iter().enumerate().filter(|(n, _)| n % 3 != 0).map(|(_, r)| r) {
            assert_eq!(numbered::number_of(&reader.read(0).unwrap().unwrap()), number);
        }
    }
    for reader in &all {
        while reader.read(0).unwrap().is_some() {}
        let stats = reader.stats();
        assert_eq!((stats.consumed + stats.lost, stats.position), (20, 20));
    }
    drop(all);
    drop(writer);
    assert_eq!(inspect::open_descriptors(), descriptors);
    assert_eq!(inspect::mappings("/qads_").len(), maps);
}

/// Plays a role beside a large ring that has no writer and holds one message.
#[track_caller]
fn plays_well(role: &str) {
    let (large, small) = (RingName::new("large"), RingName::new("small"));
    let writer = create(large.name(), 16 * MIB).unwrap();
    writer.write(&numbered::message(0, 100)).unwrap();
    drop(writer);
    Child::spawn(role, &[large.name(), small.name()]).finish();
}

#[test]
fn too_little_address_space_is_said_and_leaves_nothing_behind() {
    plays_well("small-address-space");
}

#[test]
fn file_size_limit_is_an_error_and_not_a_signal() {
    plays_well("small-files");
}

#[test]
fn too_few_descriptors_are_said_and_leave_nothing_behind() {
    plays_well("few-files");
}

#[test]
fn thousand_readers_of_one_process_all_read() {
    let ring = RingName::new("thousand");
    Child::spawn("many-readers", &[ring.name()]).finish();
}
