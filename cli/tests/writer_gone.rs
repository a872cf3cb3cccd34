//! `qads record` and `qads tail --follow` of a ring whose writer is gone say what they wait for.

mod support;

use qadataswap::create_writer;
use support::qads::{Running, batch, start_endless_writer, text};
use support::{RingGuard, Scratch, ring_name};

/// A ring whose writer has been killed, and the pid that it had.
fn dead_ring(scratch: &Scratch) -> (RingGuard, u32) {
    let ring = RingGuard(ring_name());
    let writer = start_endless_writer(scratch, &ring.0);
    let pid = writer.pid();
    drop(writer);
    (ring, pid)
}

#[test]
fn a_recorder_says_once_that_the_writer_is_gone_and_that_one_has_come() {
    let scratch = Scratch::new("record-gone");
    let (ring, pid) = dead_ring(&scratch);
    let path = scratch.path("out.arrows");
    let mut recorder = Running::start(&["record", &ring.0, "-o", text(&path)]);
    let said = recorder.err_line();
    assert!(said.contains(&format!("writer of ring '{}' is gone (pid {pid})", ring.0)), "{said}");
    assert!(said.contains("waiting for another to take it over"), "{said}");
    let writer = create_writer(&ring.0, 1024).expect("taken over");
    writer.write_arrow(&batch(7, 1)).unwrap();
    let said = recorder.err_line();
    let own = std::process::id();
    assert!(said.contains(&format!("ring '{}' has a writer again (pid {own})", ring.0)), "{said}");
    writer.close().unwrap();
    let ended = recorder.finish();
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.err.contains("2 messages") && !ended.err.contains("is gone"), "{ended:?}");
}

#[test]
fn a_tail_that_follows_says_it_on_standard_error() {
    let scratch = Scratch::new("tail-gone");
    let (ring, pid) = dead_ring(&scratch);
    let mut tail = Running::start(&["tail", "-f", &ring.0, "--format", "json"]);
    assert!(tail.line().starts_with("{\"ts\":"));
    let said = tail.err_line();
    assert!(said.starts_with("qads tail: ") && said.contains(&format!("pid {pid}")), "{said}");
    let writer = create_writer(&ring.0, 1024).expect("taken over");
    assert!(tail.err_line().contains("has a writer again"));
    writer.close().unwrap();
    let ended = tail.finish();
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "", ""));
}

#[test]
fn a_quiet_recorder_says_nothing_of_it() {
    let scratch = Scratch::new("quiet-gone");
    let (ring, _) = dead_ring(&scratch);
    let path = scratch.path("out.arrows");
    let arguments = ["record", "--quiet", &ring.0, "-o", text(&path), "--seconds", "1"];
    let ended = Running::start(&arguments).finish();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
}

#[test]
fn a_ring_that_was_ended_or_lives_is_nothing_to_tell() {
    let scratch = Scratch::new("not-gone");
    let ring = RingGuard(ring_name());
    let writer = create_writer(&ring.0, 16).unwrap();
    let path = scratch.path("out.arrows");
    // Long enough to look several times.
    let arguments = ["record", &ring.0, "-o", text(&path), "--seconds", "2"];
    let idle = Running::start(&arguments).finish();
    assert_eq!(idle.err.lines().count(), 1, "{idle:?}");
    let tail = Running::start(&["tail", "-f", &ring.0]);
    writer.close().unwrap();
    let ended = tail.finish();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:?}");
}
