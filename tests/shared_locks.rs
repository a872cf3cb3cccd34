//! Processes that may only read can take shared locks on a segment: nobody takes those for a writer, and what
//! they can keep others from doing is said.

mod support;

use std::fs::File;
use std::os::fd::AsRawFd;

use qadataswap::{QADataSwapError, create_reader, create_writer, unlink};
use support::{Child, Parent, RingName};

#[test]
fn child_process() {
    support::play(&[("lock", lock_shared)]);
}

/// Holds a shared lock on byte 0 of the file in its arguments, as a process that may only read it.
fn lock_shared(parent: Parent, arguments: &[String]) {
    let file = File::open(&arguments[0]).unwrap();
    parent.say("asking");
    // SAFETY: `flock` is a plain C struct for which all zeroes is a value.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = libc::F_RDLCK as libc::c_short;
    request.l_len = 1;
    let command = if arguments[1] == "process" { libc::F_SETLKW } else { libc::F_OFD_SETLKW };
    // SAFETY: the descriptor is open and the request outlives the call.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), command, &request) }, 0);
    parent.say("locked");
    parent.hear();
}

#[test]
fn shared_locks_keep_a_takeover_out_with_an_error_that_says_so() {
    for kind in ["process", "description"] {
        let ring = RingName::new("obstructed");
        let writer = create_writer(ring.name(), 4).unwrap();
        writer.write(b"before").unwrap();
        let mut other = Child::spawn("lock", &[&ring.data_path(), kind]);
        assert_eq!(other.hear(), "asking");
        drop(writer);
        assert_eq!(other.hear(), "locked");
        let error = create_writer(ring.name(), 4).unwrap_err();
        let QADataSwapError::Obstructed { name, pid } = &error else { panic!("{error:?}") };
        assert_eq!(name, ring.name());
        // The kernel knows no process for the lock of an open file description.
        assert_eq!(*pid, if kind == "process" { other.pid() } else { 0 });
        let said = error.to_string();
        let by = if *pid == 0 { "lslocks".to_owned() } else { pid.to_string() };
        assert!(said.contains(ring.name()) && said.contains(&by), "{said}");
        // Nothing was lost by it, and nobody takes it for a writer.
        assert_eq!(create_reader(ring.name()).unwrap().read(0).unwrap().unwrap(), b"before");
        other.kill();
        let writer = create_writer(ring.name(), 4).unwrap();
        assert_eq!(writer.stats().epoch, 2);
    }
}

#[test]
fn a_ring_with_shared_locks_and_no_writer_can_be_removed() {
    let ring = RingName::new("removed");
    let writer = create_writer(ring.name(), 4).unwrap();
    let reader = create_reader(ring.name()).unwrap();
    let mut other = Child::spawn("lock", &[&ring.data_path(), "description"]);
    assert_eq!(other.hear(), "asking");
    // Not while it has a writer.
    assert!(matches!(unlink(ring.name()), Err(QADataSwapError::WriterAlive { .. })));
    drop(writer);
    assert_eq!(other.hear(), "locked");
    unlink(ring.name()).unwrap();
    // The reader is told, because the lock is no writer's.
    assert!(matches!(reader.read(u64::MAX), Err(QADataSwapError::Closed)));
    let _next = create_writer(ring.name(), 4).unwrap();
}
