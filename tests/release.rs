//! What a handle held is free as soon as the handle has been dropped, even while other threads start
//! processes: between its birth and its `exec`, such a process has copies of every descriptor, and with
//! them a share in the locks.

mod support;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use qadataswap::{Reader, ReaderOptions, WriterOptions};
use support::RingName;

/// Runs `act` while another thread starts one process after the other, at least a few hundred.
fn while_processes_are_started(act: impl Fn()) {
    let done = AtomicBool::new(false);
    let started = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut child = Command::new("/bin/true")
                    .stdin(Stdio::null())
                    .spawn()
                    .expect("a process starts");
                started.fetch_add(1, Ordering::Relaxed);
                child.wait().unwrap();
            }
        });
        let end = StopAtEnd(&done);
        while started.load(Ordering::Relaxed) < 300 {
            act();
        }
        drop(end);
        starting.join().unwrap();
    });
}

/// Ends the other thread even if an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_dropped_writer_has_released_the_ring() {
    let ring = RingName::new("release-writer");
    let options = WriterOptions::new(2).slot_capacity(64);
    while_processes_are_started(|| {
        let writer = options.create(ring.name()).expect("the writer before has been dropped");
        drop(writer);
    });
}

#[test]
fn a_closed_ring_can_be_unlinked_at_once() {
    let ring = RingName::new("release-close");
    let options = WriterOptions::new(2).slot_capacity(64);
    while_processes_are_started(|| {
        options.create(ring.name()).unwrap().close().unwrap();
        qadataswap::unlink(ring.name()).expect("its writer has ended it");
    });
}

#[test]
fn a_dropped_reader_has_released_its_entry() {
    let ring = RingName::new("release-reader");
    let _writer = WriterOptions::new(2).slot_capacity(64).create(ring.name()).unwrap();
    let attach = || ReaderOptions::new().attach(ring.name()).unwrap();
    let others: Vec<Reader> = (0..63).map(|_| attach()).collect();
    while_processes_are_started(|| {
        let last = attach();
        assert!(last.stats().registered, "63 of 64 entries are taken");
        drop(last);
    });
    drop(others);
}
