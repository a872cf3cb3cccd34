//! Each option of a writer and of a reader has the effect it says.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use qadataswap::{QADataSwapError, ReaderOptions, Start, Writer, WriterOptions};
use support::raw::{self, Raw, entry};
use support::threads::{Thread, wait_until};
use support::{Child, Parent, RingName, inspect};

#[test]
fn child_process() {
    support::play(&[("modes", create_with_modes), ("little-locked-memory", lock_too_much)]);
}

/// What `/proc/self/smaps` says about the mapping of `path` with these permissions.
struct Mapping(String);

impl Mapping {
    fn of(path: &str, permissions: &str) -> Self {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| {
            !(line.ends_with(path) && line.split(' ').nth(1) == Some(permissions))
        });
        let first = lines.next().expect("mapped").to_owned();
        // The next mapping begins with an address, these lines with a name.
        let rest = lines.take_while(|line| line.split(' ').next().unwrap().ends_with(':'));
        Self(rest.fold(first, |text, line| text + "\n" + line))
    }

    fn field(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("smaps has it").trim()
    }

    /// A flag of `VmFlags`, as proc_pid_smaps(5) abbreviates them.
    fn has_flag(&self, flag: &str) -> bool {
        self.field("VmFlags").split(' ').any(|found| found == flag)
    }

    fn resident_kib(&self) -> u64 {
        self.field("Rss").split(' ').next().unwrap().parse().unwrap()
    }
}

const WRITERS: &str = "rw-s";
const READERS: &str = "r--s";

#[test]
fn mode_is_that_of_both_files_unless_the_control_segment_has_its_own() {
    let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (options, data, control) in [
        (WriterOptions::new(2), 0o600, 0o600),
        // Those who may not write to the control segment need not read it.
        (WriterOptions::new(2).mode(0o644), 0o644, 0o600),
        (WriterOptions::new(2).mode(0o664), 0o664, 0o660),
        (WriterOptions::new(2).mode(0o640).control_mode(0o644), 0o640, 0o644),
        (WriterOptions::new(2).mode(0o666), 0o666, 0o666),
        (WriterOptions::new(2).mode(0o640).control_mode(0o660), 0o640, 0o660),
        (WriterOptions::new(2).control_mode(0o622), 0o600, 0o622),
    ] {
        let ring = RingName::new("mode");
        let writer = options.slot_capacity(64).create(ring.name()).unwrap();
        assert_eq!((mode(&ring.data_path()), mode(&ring.control_path())), (data, control));
        // The segment a rollover makes is as open as the one before.
        writer.write(&[0; 1000]).unwrap();
        assert_eq!((mode(&ring.data_path()), mode(&ring.control_path())), (data, control));
    }
}

fn create_with_modes(parent: Parent, arguments: &[String]) {
    for umask in [0, 0o022, 0o077, 0o777] {
        // SAFETY: a plain system call; this process has been started for this role only.
        unsafe { libc::umask(umask) };
        let options = WriterOptions::new(2).mode(0o664).control_mode(0o606);
        let writer = options.create(&arguments[0]).unwrap();
        for (path, expected) in [("", 0o664), (".ctl", 0o606)] {
            let path = format!("/dev/shm/qads_{}{path}", arguments[0]);
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, expected, "umask {umask:o}");
        }
        writer.unlink().unwrap();
    }
    parent.say("as asked for");
}

#[test]
fn the_umask_does_not_apply_to_modes() {
    let ring = RingName::new("umask");
    let mut child = Child::spawn("modes", &[ring.name()]);
    assert_eq!(child.hear(), "as asked for");
    child.finish();
}

#[test]
fn a_reader_that_registers_has_an_entry_and_one_that_does_not_has_none() {
    let ring = RingName::new("register");
    let _writer = WriterOptions::new(2).create(ring.name()).unwrap();
    let control = Raw::control(&ring);
    let kinds = || (0..64).map(|i| control.u32(entry(i, raw::ENTRY_KIND))).collect::<Vec<_>>();
    let free = vec![0; 64];
    assert_eq!(kinds(), free);
    let without = ReaderOptions::new().register(false).attach(ring.name()).unwrap();
    assert!(!without.stats().registered);
    assert_eq!(kinds(), free);
    for options in [ReaderOptions::new(), ReaderOptions::new().register(true)] {
        let with = options.attach(ring.name()).unwrap();
        assert!(with.stats().registered);
        assert_eq!(kinds().iter().sum::<u32>(), 1);
        assert_eq!(control.u32(entry(0, raw::ENTRY_PID)), std::process::id());
        drop(with);
        assert_eq!(kinds(), free);
    }
}

#[test]
fn attaching_waits_for_at_least_as_long_as_it_was_told() {
    let ring = RingName::new("attach-timeout");
    for timeout_ms in [0, 1, 30] {
        let before = Instant::now();
        let error = ReaderOptions::new().attach_timeout_ms(timeout_ms).attach(ring.name());
        assert!(before.elapsed() >= Duration::from_millis(timeout_ms));
        assert!(
            matches!(&error, Err(QADataSwapError::NotFound { name }) if name == ring.name()),
            "{error:?}"
        );
    }
}

#[test]
fn attaching_can_wait_for_ever_for_a_ring_that_comes_later() {
    let ring = RingName::new("attach-wait");
    for timeout_ms in [u64::MAX, u64::MAX - 1, 600_000] {
        std::thread::scope(|scope| {
            let (tell, hear) = std::sync::mpsc::channel();
            let options = ReaderOptions::new().attach_timeout_ms(timeout_ms);
            let name = ring.name();
            let attaching = scope.spawn(move || {
                tell.send(Thread::current()).unwrap();
                options.attach(name).unwrap().read(u64::MAX)
            });
            let thread = hear.recv().unwrap();
            wait_until(|| thread.sleeps_in(libc::SYS_clock_nanosleep));
            let writer = WriterOptions::new(2).create(ring.name()).unwrap();
            writer.write(b"late").unwrap();
            assert_eq!(attaching.join().unwrap().unwrap().as_deref(), Some(&b"late"[..]));
            writer.unlink().unwrap();
        });
    }
}

#[test]
fn without_prefault_memory_comes_with_use_and_with_it_at_once() {
    let options = WriterOptions::new(64).slot_capacity(64 << 10);
    let sparse = RingName::new("sparse");
    let writer = options.create(sparse.name()).unwrap();
    let raw = Raw::data(&sparse);
    assert!(raw.len() > 64 * (64 << 10));
    assert!(raw.allocated_bytes() <= 3 * 4096, "{}", raw.allocated_bytes());
    let before = raw.allocated_bytes();
    writer.write(&vec![1; 40_000]).unwrap();
    assert!(raw.allocated_bytes() >= before + 40_000 - 4096);

    let full = RingName::new("prefault");
    let _writer = options.prefault(true).create(full.name()).unwrap();
    let raw = Raw::data(&full);
    assert!(raw.allocated_bytes() >= raw.len());
    let resident = Mapping::of(&full.data_path(), WRITERS).resident_kib() * 1024;
    assert!(resident >= raw.len(), "{resident} of {}", raw.len());
}

#[test]
fn a_writer_that_takes_over_with_prefault_gives_the_ring_all_its_memory() {
    let ring = RingName::new("prefault-takeover");
    let options = WriterOptions::new(16).slot_capacity(16 << 10);
    let writer = options.create(ring.name()).unwrap();
    writer.write(b"kept").unwrap();
    drop(writer);
    let raw = Raw::data(&ring);
    assert!(raw.allocated_bytes() < raw.len() / 2);
    let _writer = options.prefault(true).create(ring.name()).unwrap();
    assert!(raw.allocated_bytes() >= raw.len());
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"kept"[..]));
}

#[test]
fn a_reader_that_prefaults_maps_what_has_memory_and_fills_no_hole() {
    let ring = RingName::new("prefault-reader");
    let writer = WriterOptions::new(64).slot_capacity(64 << 10).create(ring.name()).unwrap();
    for _ in 0..8 {
        writer.write(&vec![1; 60_000]).unwrap();
    }
    let raw = Raw::data(&ring);
    let allocated = raw.allocated_bytes();
    let resident = || Mapping::of(&ring.data_path(), READERS).resident_kib() * 1024;
    let without = ReaderOptions::new().attach(ring.name()).unwrap();
    assert!(resident() < allocated / 2, "{}", resident());
    drop(without);
    let with = ReaderOptions::new().prefault(true).attach(ring.name()).unwrap();
    // (The page of the next slot has been set aside but not been touched by anyone.)
    assert!(resident() + 4096 >= allocated, "{} of {allocated}", resident());
    assert_eq!(raw.allocated_bytes(), allocated, "the reader gave a hole memory");
    drop((with, writer));
    // Nor does one whose mapping is writable, like a writer's.
    let options = ReaderOptions::new().prefault(true).writable_mapping(true);
    let _with = options.attach(ring.name()).unwrap();
    let resident = Mapping::of(&ring.data_path(), WRITERS).resident_kib() * 1024;
    assert!(resident + 4096 >= allocated, "{resident} of {allocated}");
    assert_eq!(raw.allocated_bytes(), allocated, "the reader gave a hole memory");
}

#[test]
fn a_mapping_that_is_asked_to_be_writable_stays_so_when_the_ring_moves() {
    let ring = RingName::new("writable");
    let writer = WriterOptions::new(4).slot_capacity(64).create(ring.name()).unwrap();
    let reader = ReaderOptions::new().writable_mapping(true).attach(ring.name()).unwrap();
    let permissions = || -> Vec<_> {
        let mappings = inspect::data_mappings(ring.name()).into_iter();
        mappings.map(|mapping| mapping.permissions).collect()
    };
    assert_eq!(permissions(), ["rw-s", "rw-s"]);
    let large = vec![7; 100_000];
    writer.write(&large).unwrap();
    assert_eq!(reader.read(0).unwrap(), Some(large));
    assert_eq!(permissions(), ["rw-s", "rw-s"]);
    let _by_default = ReaderOptions::new().attach(ring.name()).unwrap();
    assert_eq!(permissions().iter().filter(|is| *is == "r--s").count(), 1);
}

#[test]
fn locked_memory_is_locked_on_the_side_that_asked() {
    let ring = RingName::new("locked");
    let options = WriterOptions::new(4).slot_capacity(4096);
    let writer = options.create(ring.name()).unwrap();
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    for permissions in [WRITERS, READERS] {
        assert!(!Mapping::of(&ring.data_path(), permissions).has_flag("lo"));
    }
    drop((writer, reader));
    let writer = options.clone().lock_memory(true).create(ring.name()).unwrap();
    assert!(Mapping::of(&ring.data_path(), WRITERS).has_flag("lo"));
    let _reader = ReaderOptions::new().lock_memory(true).attach(ring.name()).unwrap();
    assert!(Mapping::of(&ring.data_path(), READERS).has_flag("lo"));
    // The segment that a rollover makes is locked like the first.
    writer.write(&[1; 10_000]).unwrap();
    assert_eq!(writer.stats().rollovers, 1);
    assert!(Mapping::of(&ring.data_path(), WRITERS).has_flag("lo"));
}

/// Leaves this process 64 KiB of memory to lock, and no privilege to lock more.
fn limit_locked_memory() {
    let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 64 << 10 };
    // SAFETY: `limit` outlives the call, which changes nothing but a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
    // SAFETY: a plain system call without arguments.
    if unsafe { libc::geteuid() } == 0 {
        // SAFETY: a plain system call; the process was started for this role only.
        assert_eq!(unsafe { libc::seteuid(65534) }, 0);
    }
}

fn lock_too_much(parent: Parent, arguments: &[String]) {
    limit_locked_memory();
    let (name, what) = (&arguments[0], arguments[1].as_str());
    let options = WriterOptions::new(4).slot_capacity(1 << 20);
    let error = match what {
        "writer" => options.lock_memory(true).create(name).unwrap_err(),
        "reader" => {
            let _writer = options.create(name).unwrap();
            ReaderOptions::new().lock_memory(true).attach(name).unwrap_err()
        }
        "rollover" => {
            let options = WriterOptions::new(4).slot_capacity(1 << 10).lock_memory(true);
            let writer = options.create(name).unwrap();
            writer.write(b"before").unwrap();
            let error = writer.write(&vec![0; 1 << 20]).unwrap_err();
            // Nothing has changed: the small slots go on.
            writer.write(b"after").unwrap();
            let reader = ReaderOptions::new().attach(name).unwrap();
            for message in [&b"before"[..], b"after"] {
                assert_eq!(reader.read(0).unwrap().as_deref(), Some(message));
            }
            error
        }
        other => panic!("{other}"),
    };
    parent.say(format!("{error:?}"));
    parent.hear();
}

#[test]
fn locking_more_than_the_limit_is_an_error_that_names_the_call() {
    for what in ["reader", "writer", "rollover"] {
        let ring = RingName::new("lock-limit");
        let mut child = Child::spawn("little-locked-memory", &[ring.name(), what]);
        let error = child.hear();
        child.say("thanks");
        child.finish();
        // Not NoSpace: that would send the user to look at /dev/shm, which is not full.
        assert!(
            error.starts_with("SystemCall") || error.starts_with("PermissionDenied"),
            "{error}"
        );
        assert!(error.contains("mlock2"), "{what}: {error}");
    }
}

#[test]
fn a_ring_whose_memory_could_not_be_locked_leaves_nothing_behind() {
    let ring = RingName::new("lock-leftovers");
    let mut child = Child::spawn("little-locked-memory", &[ring.name(), "writer"]);
    child.hear();
    for path in [ring.data_path(), ring.control_path(), ring.next_path()] {
        assert!(!std::fs::exists(&path).unwrap(), "{path}");
    }
    child.say("thanks");
    child.finish();
}

#[test]
fn huge_pages_are_asked_for_and_the_ring_works_with_or_without_them() {
    let ring = RingName::new("huge");
    let options = WriterOptions::new(4).slot_capacity(4 << 20).huge_pages(true);
    let writer = options.create(ring.name()).unwrap();
    let reader = ReaderOptions::new().huge_pages(true).attach(ring.name()).unwrap();
    // A kernel without them has no such directory and refuses the advice, which is no error.
    if std::fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap() {
        for permissions in [WRITERS, READERS] {
            assert!(Mapping::of(&ring.data_path(), permissions).has_flag("hg"), "{permissions}");
        }
    }
    let large: Vec<u8> = (0..3 << 20).map(|at: u32| (at * 7) as u8).collect();
    writer.write(&large).unwrap();
    assert!(reader.read(0).unwrap() == Some(large));
}

fn two_messages(writer: &Writer) {
    writer.write(b"one").unwrap();
    writer.write(b"two").unwrap();
}

#[test]
fn options_can_be_used_again_and_are_not_changed_by_use() {
    let (first, second) = (RingName::new("reuse"), RingName::new("reuse"));
    let options = WriterOptions::new(3).slot_capacity(100);
    let reading = ReaderOptions::new().start(Start::Newest);
    for ring in [&first, &second] {
        let writer = options.create(ring.name()).unwrap();
        assert_eq!((writer.slot_count(), writer.slot_capacity()), (3, 100));
        two_messages(&writer);
        let reader = reading.attach(ring.name()).unwrap();
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"two"[..]));
    }
}
