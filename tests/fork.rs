//! Handles that a forked child inherits: refused there, unharmed in the parent, and no life beyond it.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use qadataswap::arrow_array::{Int64Array, RecordBatch};
use qadataswap::{
    QADataSwapError, Reader, ReaderOptions, Result, Writer, WriterOptions, create_reader,
    create_writer,
};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[
        ("writer", inherit_writer),
        ("end-writer", inherit_and_end_writer),
        ("reader", inherit_reader),
        ("reservation", inherit_reservation),
        ("descriptors", inherit_descriptors),
        ("new-handles", make_new_handles),
        ("grandchild", inherit_twice),
        ("survivor", leave_a_child_behind),
        ("outlived", let_go_before_the_child),
    ]);
}

/// A forked child of this process.
struct Forked(libc::pid_t);

/// `None` in the child, where a panic ends the process at once.
fn fork() -> Option<Forked> {
    // SAFETY: the other thread of this process is the test harness, which waits for this one and
    // holds no lock that the child could need.
    match unsafe { libc::fork() } {
        0 => {
            std::panic::set_hook(Box::new(|panic| {
                eprintln!("in the forked child: {panic}");
                // SAFETY: ends the process without running anything of the harness's.
                unsafe { libc::_exit(101) }
            }));
            None
        }
        pid => {
            assert!(pid > 0, "fork failed");
            Some(Forked(pid))
        }
    }
}

fn end_child() -> ! {
    // SAFETY: ends the process without running anything of the harness's.
    unsafe { libc::_exit(0) }
}

impl Forked {
    /// Waits for the child to end well.
    #[track_caller]
    fn finish(self) {
        let mut status = 0;
        // SAFETY: waits for a child of this process; `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(self.0, &mut status, 0) }, self.0);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:#x}");
    }
}

#[track_caller]
fn refused<T>(result: Result<T>) {
    match result {
        Err(QADataSwapError::Forked) => {}
        Err(error) => panic!("expected Forked, got {error:?}"),
        Ok(_) => panic!("expected Forked"),
    }
}

fn batch() -> RecordBatch {
    let column = Arc::new(Int64Array::from(vec![1, 2, 3]));
    RecordBatch::try_from_iter([("n", column as _)]).unwrap()
}

fn inherit_writer(_: Parent, arguments: &[String]) {
    let mut writer = create_writer(&arguments[0], 4).unwrap();
    let reader = create_reader(&arguments[0]).unwrap();
    writer.write(b"before").unwrap();
    let stats = writer.stats();
    let segment = fs::read(format!("/dev/shm/qads_{}", arguments[0])).unwrap();
    let Some(child) = fork() else {
        refused(writer.write(b"from the child"));
        refused(writer.write_value(&7u64));
        refused(writer.write_arrow(&batch()));
        refused(writer.write_batches(&batch().schema(), &[]));
        refused(writer.write_ipc_stream(b"from the child"));
        // Not even the rollover that this would need.
        refused(writer.write(&vec![0; writer.slot_capacity() + 1]));
        refused(writer.reserve(8).map(|_| ()));
        assert_eq!(writer.stats(), stats);
        drop(writer);
        end_child()
    };
    child.finish();
    assert_eq!(fs::read(format!("/dev/shm/qads_{}", arguments[0])).unwrap(), segment);
    writer.write(b"after").unwrap();
    for message in [&b"before"[..], b"after"] {
        assert_eq!(reader.read(0).unwrap().as_deref(), Some(message));
    }
    assert_eq!(reader.read(0).unwrap(), None);
    assert!(writer.reserve(8).is_ok());
}

fn inherit_and_end_writer(_: Parent, arguments: &[String]) {
    let reader = create_reader;
    for end in [Writer::close, Writer::unlink] {
        let writer = create_writer(&arguments[0], 4).unwrap();
        let Some(child) = fork() else {
            refused(end(writer));
            // The parent's lock is untouched too, also in the eyes of its child.
            match create_writer(&arguments[0], 4) {
                Err(QADataSwapError::WriterAlive { pid, .. }) => {
                    // SAFETY: a plain system call without arguments.
                    assert_eq!(pid, unsafe { libc::getppid() } as u32);
                }
                other => panic!("{other:?}"),
            }
            end_child()
        };
        child.finish();
        writer.write(b"not ended").unwrap();
        let reader = reader(&arguments[0]).unwrap();
        while reader.read(0).unwrap().is_some() {}
    }
}

fn inherit_reader(_: Parent, arguments: &[String]) {
    let writer = create_writer(&arguments[0], 4).unwrap();
    let reader = create_reader(&arguments[0]).unwrap();
    writer.write(b"before").unwrap();
    let stats = reader.stats();
    let control = fs::read(format!("/dev/shm/qads_{}.ctl", arguments[0])).unwrap();
    let Some(child) = fork() else {
        for timeout_ms in [0, u64::MAX] {
            refused(reader.read(timeout_ms));
            refused(reader.read_into(&mut [0; 64], timeout_ms));
            refused(reader.read_to(&mut Vec::new(), timeout_ms));
            refused(reader.read_value::<u64>(timeout_ms));
            refused(reader.read_arrow(timeout_ms));
            refused(reader.read_batches(timeout_ms));
        }
        refused(reader.skip());
        assert_eq!(reader.stats(), stats);
        drop(reader);
        end_child()
    };
    child.finish();
    // The parent's entry is as it was.
    assert_eq!(fs::read(format!("/dev/shm/qads_{}.ctl", arguments[0])).unwrap(), control);
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"before"[..]));
    assert!(reader.stats().registered);
}

fn inherit_reservation(_: Parent, arguments: &[String]) {
    let mut writer = create_writer(&arguments[0], 4).unwrap();
    let reader = create_reader(&arguments[0]).unwrap();
    let mut slot = writer.reserve(100).unwrap();
    slot.write_all(b"the parent's").unwrap();
    let Some(child) = fork() else {
        refused(slot.write_at(0, b"the child's."));
        let error = slot.write(b"more").unwrap_err();
        let cause = error.into_inner().unwrap().downcast::<QADataSwapError>().unwrap();
        assert!(matches!(*cause, QADataSwapError::Forked), "{cause:?}");
        assert_eq!(slot.len(), 12);
        refused(slot.publish());
        end_child()
    };
    child.finish();
    assert_eq!(reader.read(0).unwrap(), None);
    let Some(child) = fork() else {
        let _ = slot;
        drop(writer);
        end_child()
    };
    child.finish();
    slot.publish().unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"the parent's"[..]));
}

fn inherit_descriptors(_: Parent, arguments: &[String]) {
    let writer = create_writer(&arguments[0], 4).unwrap();
    let reader = create_reader(&arguments[0]).unwrap();
    let open = support::inspect::open_descriptors();
    let Some(child) = fork() else {
        // The handles' descriptors are closed, and their numbers serve others now.
        let closed = open - support::inspect::open_descriptors();
        assert!(closed >= 4, "data and control segment of both handles: {closed}");
        let files: Vec<File> = (0..closed + 4).map(|_| File::open("/dev/null").unwrap()).collect();
        drop((writer, reader));
        for file in &files {
            // SAFETY: asks for a flag; harmless for any number.
            assert!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) } >= 0);
        }
        end_child()
    };
    child.finish();
    assert_eq!(support::inspect::open_descriptors(), open);
    writer.write(b"fine").unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"fine"[..]));
}

fn make_new_handles(_: Parent, arguments: &[String]) {
    let (name, other) = (&arguments[0], &arguments[1]);
    let writer = create_writer(name, 4).unwrap();
    let inherited = create_reader(name).unwrap();
    writer.write(b"one").unwrap();
    let Some(child) = fork() else {
        refused(inherited.read(0));
        let own = create_reader(name).unwrap();
        assert!(own.stats().registered);
        assert_eq!(own.read(0).unwrap().as_deref(), Some(&b"one"[..]));
        let back = create_writer(other, 4).unwrap();
        back.write(b"one received").unwrap();
        assert_eq!(own.read(u64::MAX).unwrap().as_deref(), Some(&b"two"[..]));
        back.write(b"two received").unwrap();
        end_child()
    };
    let back = ReaderOptions::new().attach_timeout_ms(u64::MAX).attach(other).unwrap();
    assert_eq!(back.read(u64::MAX).unwrap().as_deref(), Some(&b"one received"[..]));
    writer.write(b"two").unwrap();
    assert_eq!(back.read(u64::MAX).unwrap().as_deref(), Some(&b"two received"[..]));
    child.finish();
}

fn inherit_twice(_: Parent, arguments: &[String]) {
    let writer = create_writer(&arguments[0], 4).unwrap();
    let Some(child) = fork() else {
        let reader = create_reader(&arguments[0]).unwrap();
        let Some(grandchild) = fork() else {
            refused(writer.write(b"no"));
            refused(reader.read(0));
            drop((writer, reader));
            end_child()
        };
        grandchild.finish();
        refused(writer.write(b"no"));
        assert_eq!(reader.read(0).unwrap(), None);
        end_child()
    };
    child.finish();
    writer.write(b"yes").unwrap();
}

/// Holds every entry of the ring and the ring itself, and has a child that inherits all of it and
/// answers in its stead.
fn leave_a_child_behind(parent: Parent, arguments: &[String]) {
    let writer = create_writer(&arguments[0], 4).unwrap();
    let readers: Vec<Reader> = (0..64).map(|_| create_reader(&arguments[0]).unwrap()).collect();
    assert!(readers.iter().all(|reader| reader.stats().registered));
    writer.write(b"inherited").unwrap();
    if fork().is_none() {
        parent.say("forked");
        loop {
            parent.hear();
            refused(writer.write(b"no"));
            readers.iter().for_each(|reader| refused(reader.read(0)));
            parent.say("alive");
        }
    }
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

/// Drops the writer while a child that inherited it lives on.
fn let_go_before_the_child(parent: Parent, arguments: &[String]) {
    let writer = create_writer(&arguments[0], 4).unwrap();
    let Some(child) = fork() else {
        refused(writer.write(b"no"));
        parent.say("forked");
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    };
    parent.hear();
    drop(writer);
    parent.say("dropped");
    parent.hear();
    // SAFETY: a plain system call; the child has not been waited for, so the pid is still its own.
    assert_eq!(unsafe { libc::kill(child.0, libc::SIGKILL) }, 0);
}

#[track_caller]
fn plays_well(role: &str) {
    let (ring, other) = (RingName::new(role), RingName::new(role));
    Child::spawn(role, &[ring.name(), other.name()]).finish();
}

#[test]
fn inherited_writer_is_refused_in_the_child_and_works_on_in_the_parent() {
    plays_well("writer");
}

#[test]
fn inherited_writer_cannot_end_the_ring() {
    plays_well("end-writer");
}

#[test]
fn inherited_reader_is_refused_in_the_child_and_works_on_in_the_parent() {
    plays_well("reader");
}

#[test]
fn inherited_reservation_is_refused_in_the_child_and_published_by_the_parent() {
    plays_well("reservation");
}

#[test]
fn child_closes_inherited_descriptors_once() {
    plays_well("descriptors");
}

#[test]
fn child_makes_handles_of_its_own() {
    plays_well("new-handles");
}

#[test]
fn grandchild_is_refused_what_its_parent_made() {
    plays_well("grandchild");
}

#[test]
fn killed_writer_is_replaced_at_once_although_its_forked_child_lives() {
    let ring = RingName::new("survivor");
    let mut process = Child::spawn("survivor", &[ring.name()]);
    assert_eq!(process.hear(), "forked");
    assert!(matches!(create_writer(ring.name(), 4), Err(QADataSwapError::WriterAlive { .. })));
    let outside = create_reader(ring.name()).unwrap();
    assert!(!outside.stats().registered, "all entries are held");
    process.kill_alone();

    let writer = create_writer(ring.name(), 4).unwrap();
    assert_eq!((writer.stats().epoch, writer.stats().position), (2, 1));
    // Neither does the child keep any of the readers' entries.
    let readers: Vec<Reader> = (0..64).map(|_| create_reader(ring.name()).unwrap()).collect();
    assert!(readers.iter().all(|reader| reader.stats().registered));
    process.say("still there?");
    assert_eq!(process.hear(), "alive");
    writer.write(b"more").unwrap();
    for reader in readers.iter().chain([&outside]) {
        for message in [&b"inherited"[..], b"more"] {
            assert_eq!(reader.read(0).unwrap().as_deref(), Some(message));
        }
    }
}

#[test]
fn dropped_writer_is_replaced_at_once_although_its_forked_child_lives() {
    let ring = RingName::new("outlived");
    let mut process = Child::spawn("outlived", &[ring.name()]);
    assert_eq!(process.hear(), "forked");
    process.say("drop it");
    assert_eq!(process.hear(), "dropped");
    let options = WriterOptions::new(4);
    assert_eq!(options.create(ring.name()).unwrap().stats().epoch, 2);
    process.say("end");
    process.finish();
}
