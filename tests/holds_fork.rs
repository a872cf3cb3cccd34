//! Holds that a forked child inherits: it can read what is leased, and neither ends nor prolongs anything.

mod support;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;

use qadataswap::arrow_array::{Int64Array, RecordBatch};
use qadataswap::{
    Lease, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Writer, WriterOptions,
    create_reader,
};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[
        ("lease", inherit_lease),
        ("batch", inherit_batch),
        ("last", inherit_what_the_parent_drops),
        ("gate", inherit_gate),
        ("own", hold_beside_the_parent),
        ("survivor", leave_a_child_behind),
    ]);
}

/// A forked child of this process.
struct Forked(libc::pid_t);

/// `None` in the child, where a panic ends the process at once.
fn fork() -> Option<Forked> {
    // SAFETY: the other thread of this process is the test harness, which waits for this one and holds no
    // lock that the child could need.
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

/// Has this process, a forked child, killed when the thread that forked it ends.
fn end_with_parent() {
    // SAFETY: changes nothing but a setting of this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }, 0);
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

/// Lets one process go on, which waits for it.
struct Signal(PipeReader, PipeWriter);

impl Signal {
    fn new() -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        Self(reader, writer)
    }

    fn give(&mut self) {
        self.1.write_all(b"!").unwrap();
    }

    fn wait(&mut self) {
        self.0.read_exact(&mut [0]).unwrap();
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

#[track_caller]
fn refused_all(reader: &Reader) {
    for timeout_ms in [0, u64::MAX] {
        refused(reader.lease(timeout_ms));
        refused(reader.read_arrow_zero_copy(timeout_ms));
        refused(reader.read_batches_zero_copy(timeout_ms));
        // SAFETY: nothing is read.
        refused(unsafe { reader.read_arrow_zero_copy_unchecked(timeout_ms) });
        refused(reader.read(timeout_ms));
    }
    refused(reader.skip());
    refused(reader.rejoin());
}

fn writer(name: &str) -> Writer {
    let options = WriterOptions::new(4).slot_capacity(1024);
    options.on_slow_reader(OnSlowReader::Refuse).create(name).unwrap()
}

fn batch() -> RecordBatch {
    let column = Arc::new(Int64Array::from(vec![1, 2, 3]));
    RecordBatch::try_from_iter([("n", column as _)]).unwrap()
}

fn control(name: &str) -> Vec<u8> {
    std::fs::read(format!("/dev/shm/qads_{name}.ctl")).unwrap()
}

/// How many of the four slots are passed over.
fn leased(writer: &Writer) -> usize {
    let write = |count| (0..count).for_each(|_| writer.write(&[0xff; 1024]).unwrap());
    write(4); // has passed over each of them
    let before = writer.stats().lease_skips;
    write(12);
    let skips = writer.stats().lease_skips - before;
    [0, 4, 12, 36].iter().position(|count| *count == skips).expect("a whole number of slots")
}

fn inherit_lease(_: Parent, arguments: &[String]) {
    let name = &arguments[0];
    let (writer, reader) = (writer(name), create_reader(name).unwrap());
    writer.write(b"the first").unwrap();
    writer.write(b"the second").unwrap();
    let lease = || reader.lease(0).unwrap().expect("was published");
    let leases: Vec<Lease> = vec![lease(), lease()];
    let intact = |leases: &[Lease]| *leases[0] == *b"the first" && *leases[1] == *b"the second";
    let before = (control(name), reader.stats());

    // One that just ends.
    let Some(child) = fork() else {
        assert!(intact(&leases));
        refused_all(&reader);
        assert_eq!(reader.stats(), before.1);
        end_child()
    };
    child.finish();
    assert!((control(name), reader.stats()) == before);
    assert_eq!(leased(&writer), 2);

    // One that drops all it has, on a thread even, and the reader before what it leased.
    let before = (control(name), reader.stats());
    let Some(child) = fork() else {
        assert!(intact(&leases));
        drop(reader);
        std::thread::spawn(move || assert!(intact(&leases))).join().unwrap();
        drop(writer);
        end_child()
    };
    child.finish();
    assert!((control(name), reader.stats()) == before);
    assert_eq!(leased(&writer), 2);
    assert!(intact(&leases));
    drop(leases);
    assert_eq!((leased(&writer), reader.stats().leases), (0, 0));
}

fn inherit_batch(_: Parent, arguments: &[String]) {
    let (writer, reader) = (writer(&arguments[0]), create_reader(&arguments[0]).unwrap());
    writer.write_arrow(&batch()).unwrap();
    let shared = reader.read_arrow_zero_copy(0).unwrap().expect("was published");
    let column = shared.column(0).slice(1, 2);
    drop(reader);
    let before = control(&arguments[0]);
    let Some(child) = fork() else {
        assert_eq!(shared, batch());
        let more = (shared.clone(), column.slice(1, 1));
        drop((shared, column, more, writer));
        end_child()
    };
    child.finish();
    assert!(control(&arguments[0]) == before);
    assert_eq!((leased(&writer), &shared), (1, &batch()));
    drop(shared);
    let Some(child) = fork() else {
        // Of a child of its own as well.
        let Some(grandchild) = fork() else {
            assert_eq!(*column, *batch().column(0).slice(1, 2));
            drop(column);
            end_child()
        };
        grandchild.finish();
        drop(column);
        end_child()
    };
    child.finish();
    assert_eq!(leased(&writer), 1);
    assert_eq!(*column, *batch().column(0).slice(1, 2));
    drop(column);
    assert_eq!(leased(&writer), 0);
}

/// The child has all that the parent drops, and keeps none of it.
fn inherit_what_the_parent_drops(_: Parent, arguments: &[String]) {
    let (writer, reader) = (writer(&arguments[0]), create_reader(&arguments[0]).unwrap());
    writer.write(b"leased").unwrap();
    writer.write_arrow(&batch()).unwrap();
    let lease = reader.lease(0).unwrap().expect("was published");
    let shared = reader.read_arrow_zero_copy(0).unwrap().expect("was published");
    let (mut seen, mut dropped) = (Signal::new(), Signal::new());
    let Some(child) = fork() else {
        end_with_parent();
        assert!(*lease == *b"leased" && shared == batch());
        seen.give();
        dropped.wait();
        // By now the slots are the writer's, and the entry is another reader's.
        drop((lease, shared, reader));
        end_child()
    };
    seen.wait();
    assert_eq!(leased(&writer), 2);
    drop((lease, shared, reader));
    assert_eq!(leased(&writer), 0);
    let others: Vec<Reader> = (0..64).map(|_| create_reader(&arguments[0]).unwrap()).collect();
    assert!(others.iter().all(|reader| reader.stats().registered));
    let lease = others[0].lease(0).unwrap().expect("is there");
    let before = control(&arguments[0]);
    dropped.give();
    child.finish();
    assert!(control(&arguments[0]) == before);
    assert_eq!(leased(&writer), 1);
    assert_eq!(*lease, [0xff; 1024]);
}

/// A write that the gate of this process refuses.
#[track_caller]
fn would_block(writer: &Writer) {
    match writer.write(b"one too many") {
        Err(QADataSwapError::WouldBlock { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
}

fn inherit_gate(_: Parent, arguments: &[String]) {
    let name = &arguments[0];
    let writer = writer(name);
    let reader = ReaderOptions::new().lossless(true).attach(name).unwrap();
    (0..4u64).for_each(|number| writer.write_value(&number).unwrap());
    for drops in [false, true] {
        let before = (control(name), reader.stats());
        let Some(child) = fork() else {
            refused_all(&reader);
            assert_eq!(reader.stats(), before.1);
            if drops {
                drop((reader, writer));
            }
            end_child()
        };
        child.finish();
        assert!((control(name), reader.stats()) == before);
        would_block(&writer);
    }
    for number in 0..10u64 {
        assert_eq!(reader.read_value(0).unwrap(), Some(number));
        writer.write_value(&(number + 4)).unwrap();
        would_block(&writer);
    }
    assert_eq!((reader.stats().lost, reader.stats().evictions), (0, 0));
}

/// Parent and child have holds each, made on its own side.
fn hold_beside_the_parent(_: Parent, arguments: &[String]) {
    let (writer, reader) = (writer(&arguments[0]), create_reader(&arguments[0]).unwrap());
    writer.write(b"the parent's").unwrap();
    writer.write(b"the child's").unwrap();
    let lease = reader.lease(0).unwrap().expect("was published");
    let (mut leased_too, mut counted) = (Signal::new(), Signal::new());
    let Some(child) = fork() else {
        end_with_parent();
        let own = create_reader(&arguments[0]).unwrap();
        assert!(own.skip().unwrap());
        let second = own.lease(0).unwrap().expect("was published");
        drop((lease, reader, writer));
        leased_too.give();
        counted.wait();
        assert_eq!(*second, *b"the child's");
        drop(second);
        end_child()
    };
    leased_too.wait();
    assert_eq!(leased(&writer), 2);
    counted.give();
    child.finish();
    assert_eq!(leased(&writer), 1);
    assert_eq!(*lease, *b"the parent's");
}

/// Has everything that can be held, and a child that inherits it and answers in its stead.
fn leave_a_child_behind(parent: Parent, arguments: &[String]) {
    let reader = create_reader(&arguments[0]).unwrap();
    let lease = reader.lease(0).unwrap().expect("was published");
    let shared = reader.read_arrow_zero_copy(0).unwrap().expect("was published");
    let gate = ReaderOptions::new().lossless(true).attach(&arguments[0]).unwrap();
    if fork().is_none() {
        assert!(*lease == *b"leased" && shared == batch());
        parent.say("holds");
        parent.hear();
        refused_all(&reader);
        refused_all(&gate);
        drop((lease, shared, reader, gate));
        parent.say("dropped");
        end_child()
    }
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

#[track_caller]
fn plays_well(role: &str) {
    let ring = RingName::new(role);
    Child::spawn(role, &[ring.name()]).finish();
}

#[test]
fn a_child_reads_the_leases_that_it_inherits_and_ends_none() {
    plays_well("lease");
}

#[test]
fn a_child_reads_the_batches_that_it_inherits_and_ends_no_lease() {
    plays_well("batch");
}

#[test]
fn a_child_does_not_keep_what_its_parent_gives_up() {
    plays_well("last");
}

#[test]
fn a_child_neither_moves_nor_removes_the_gate_that_it_inherits() {
    plays_well("gate");
}

#[test]
fn a_child_holds_messages_of_its_own_beside_those_of_its_parent() {
    plays_well("own");
}

#[test]
fn a_child_that_outlives_its_killed_parent_keeps_neither_leases_nor_gates() {
    let ring = RingName::new("survivor");
    let writer = writer(ring.name());
    writer.write(b"leased").unwrap();
    writer.write_arrow(&batch()).unwrap();
    let mut process = Child::spawn("survivor", &[ring.name()]);
    assert_eq!(process.hear(), "holds");
    writer.write(b"").unwrap();
    writer.write(b"").unwrap();
    match writer.write(b"one too many") {
        Err(QADataSwapError::WouldBlock { pid, .. }) => assert_eq!(pid, process.pid()),
        other => panic!("{other:?}"),
    }
    process.kill_alone();
    // The gate goes when it is in the way, the leases when the writer asks after their owner.
    writer.write(b"").unwrap();
    while writer.stats().reclaimed < 2 {
        writer.write(b"").unwrap();
    }
    assert_eq!(leased(&writer), 0);
    let readers: Vec<Reader> = (0..64).map(|_| create_reader(ring.name()).unwrap()).collect();
    assert!(readers.iter().all(|reader| reader.stats().registered));
    let lease = readers[0].lease(0).unwrap().expect("is there");
    // What the child drops now is nobody's any more.
    let before = control(ring.name());
    process.say("drop it");
    assert_eq!(process.hear(), "dropped");
    assert!(control(ring.name()) == before);
    assert_eq!((leased(&writer), &*lease), (1, &[0xff; 1024][..]));
}
