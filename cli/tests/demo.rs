//! `qads demo`, run as a user runs it: what it shows, what it exits with, and that nothing is left.

mod support;

use std::fs;
use std::io::BufRead;
use std::path::PathBuf;

use qadataswap::create_writer;
use support::{Demo, Outcome, RingGuard, Scratch};

/// Arguments of a run that a debug build on a busy machine keeps up with.
const SHORT: [&str; 4] = ["--seconds", "2", "--rate", "1000"];

#[test]
fn a_run_shows_kill_and_restart_and_counts_that_add_up() {
    let demo = Demo::start(&SHORT);
    let outcome = demo.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.assert_sound();
    // In this order.
    let killed = outcome.stdout.find("is killed with kill -9").expect("the kill is shown");
    let restarted = outcome.stdout.find("is started again").expect("the restart is shown");
    assert!(killed < restarted);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_slow_reader_loses_batches_and_they_are_counted() {
    let outcome = Demo::start(&["--seconds", "1", "--rate", "0", "--slots", "16"]).finish();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.assert_sound();
    let slow = outcome.row("slow");
    assert!(slow.lost > 0, "{slow:?}");
}

#[test]
fn a_run_has_a_ring_of_its_own_unless_one_is_named() {
    let outcome = Demo::start_unnamed(&["--seconds", "1", "--rate", "100"]).finish();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (_, rest) = outcome.stdout.split_once("on ring '").expect("the ring is named");
    let (name, _) = rest.split_once('\'').expect("in quotes");
    support::assert_nothing_left(name);
}

#[test]
fn a_stream_with_flags_is_replayed_by_exchange_events() {
    let scratch = Scratch::new("flags");
    // Ends of events at rows 0, 2, 5 and, without a mark, 6.
    let file = scratch.stream(&[128, 0, 130, 1, 2, 255, 0]);
    let outcome = replay(&file, &SHORT);
    assert!(outcome.stdout.contains("(4 events, 7 rows)"), "{outcome:?}");
    outcome.assert_sound();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn rows_per_batch_may_be_said_instead() {
    let scratch = Scratch::new("rows");
    let file = scratch.stream(&[128, 0, 130, 1, 2, 255, 0]);
    let outcome = replay(&file, &["--seconds", "1", "--rate", "500", "--rows", "3"]);
    assert!(outcome.stdout.contains("(3 events, 7 rows)"), "{outcome:?}");
    outcome.assert_sound();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn a_file_of_the_ipc_file_format_without_flags_is_replayed_by_rows() {
    let scratch = Scratch::new("file");
    let file = scratch.file_without_flags(5);
    let outcome = replay(&file, &["--seconds", "1", "--rate", "500"]);
    assert!(outcome.stdout.contains("(5 events, 5 rows)"), "{outcome:?}");
    outcome.assert_sound();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn parquet_and_csv_are_replayed_too() {
    let scratch = Scratch::new("other-formats");
    let csv = scratch.path("in.csv");
    fs::write(&csv, "ts,price,flags\n1,1.5,0\n2,2.5,128\n3,,128\n").unwrap();
    let parquet = scratch.path("in.parquet");
    let source = fs::File::open(scratch.file_without_flags(5)).unwrap();
    let rows =
        arrow_ipc::reader::FileReader::try_new(source, None).unwrap().next().unwrap().unwrap();
    let to = fs::File::create(&parquet).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(to, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    for (file, extent) in [(csv, "(2 events, 3 rows)"), (parquet, "(5 events, 5 rows)")] {
        let outcome = replay(&file, &["--seconds", "1", "--rate", "500"]);
        assert!(outcome.stdout.contains(extent), "{outcome:?}");
        outcome.assert_sound();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
}

#[test]
fn real_market_data_is_replayed_by_exchange_events() {
    let Some(file) = support::shared_data("es_mbo_20231225.arrows") else { return };
    let outcome = replay(&file, &SHORT);
    assert!(outcome.stdout.contains("(47,022 events, 68,792 rows)"), "{outcome:?}");
    outcome.assert_sound();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn every_golden_stream_with_rows_is_replayed_and_no_other() {
    let Some(root) = support::shared_data("arrow-golden/1.0.0-littleendian") else { return };
    let files: Vec<PathBuf> = fs::read_dir(root)
        .expect("a directory")
        .map(|entry| entry.expect("listed").path())
        .collect();
    assert!(!files.is_empty());
    const ARGUMENTS: [&str; 6] = ["--seconds", "1", "--rate", "100", "--rows", "2"];
    // Some at a time: they mostly sleep.
    for files in files.chunks(5) {
        let runs: Vec<Demo> = files.iter().map(|file| start_replay(file, &ARGUMENTS)).collect();
        for (file, run) in files.iter().zip(runs) {
            let outcome = run.finish();
            if outcome.stderr.contains("there are no rows in it") {
                assert_eq!(outcome.code, Some(1), "{file:?}: {outcome:?}");
            } else {
                assert_eq!(outcome.code, Some(0), "{file:?}: {outcome:?}");
                outcome.assert_sound();
            }
        }
    }
}

#[test]
fn an_interrupt_ends_every_process_and_removes_the_ring() {
    let mut demo = Demo::start(&["--seconds", "3600", "--rate", "1000"]);
    demo.hear_a_live_line();
    assert!(!demo.processes().is_empty(), "they can be found while they run");
    demo.signal(libc::SIGINT);
    let outcome = demo.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(outcome.stderr.contains("stopped"), "{outcome:?}");
}

#[test]
fn a_terminate_signal_does_the_same() {
    let mut demo = Demo::start(&["--seconds", "3600", "--rate", "1000"]);
    demo.hear_a_live_line();
    demo.signal(libc::SIGTERM);
    assert_eq!(demo.finish().code, Some(143));
}

#[test]
fn a_writer_that_is_killed_ends_the_demo_with_an_error() {
    let mut demo = Demo::start(&["--seconds", "3600", "--rate", "1000"]);
    demo.hear_a_live_line();
    demo.kill_child("demo-writer");
    let outcome = demo.finish();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("the writer ended before its time (signal: 9"), "{outcome:?}");
}

#[test]
fn a_full_shared_memory_is_an_error_that_leaves_nothing() {
    let scratch = Scratch::new("full");
    let file = scratch.stream(&[128; 200]);
    let file = file.to_str().expect("a plain path");
    // Generated events have all their memory from the start, those of a file as it is needed: the one
    // run fails when the ring is made, the other when it is written to.
    for arguments in [vec![], vec!["--input", file, "--slots", "100000"]] {
        let Some((outcome, left)) = support::run_in_small_memory("400k", &arguments) else {
            return;
        };
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("in /dev/shm"), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert_eq!(left, "", "{arguments:?}");
    }
}

#[test]
fn nothing_is_left_even_when_the_parent_is_killed() {
    let mut demo = Demo::start(&["--seconds", "3600", "--rate", "1000"]);
    demo.hear_a_live_line();
    demo.signal(libc::SIGKILL);
    // Nobody is there to clean up: the children notice, each for itself.
    demo.await_children_gone();
    assert_eq!(demo.finish().code, None);
}

#[test]
fn nothing_is_left_when_nobody_reads_the_output() {
    let mut demo = Demo::start(&["--seconds", "3600", "--rate", "1000"]);
    demo.hear_a_live_line();
    demo.close_output();
    let outcome = demo.finish();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), ""));
}

#[test]
fn a_ring_that_exists_already_is_left_alone() {
    let name = support::ring_name();
    let _removed_at_the_end = RingGuard(name.clone());
    let writer = create_writer(&name, 4).unwrap();
    writer.write(b"mine").unwrap();
    let outcome = Demo::start_unnamed(&["--name", &name]).finish();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("choose another name"), "{outcome:?}");
    let reader = qadataswap::create_reader(&name).unwrap();
    assert_eq!(reader.read(0).unwrap().as_deref(), Some(&b"mine"[..]));
}

#[test]
fn files_that_cannot_be_replayed_are_refused_with_the_reason() {
    let scratch = Scratch::new("bad");
    let sound = fs::read(scratch.stream(&[0; 1000])).unwrap();
    let cases = [
        ("missing", None, "No such file"),
        (
            "picture",
            Some(b"\x89PNG\r\n\x1a\n".to_vec()),
            "not an Arrow IPC stream or file, nor Parquet",
        ),
        ("feather", Some(b"FEA1\0\0\0\0".to_vec()), "Feather V1"),
        ("empty", Some(Vec::new()), "it is empty"),
        ("cut", Some(sound[..sound.len() / 2].to_vec()), "it ends in the middle of a batch"),
        ("header", Some(b"time,price\n".to_vec()), "there are no rows in it"),
        ("no-rows", Some(fs::read(scratch.stream(&[])).unwrap()), "there are no rows in it"),
    ];
    for (name, content, reason) in cases {
        let file = scratch.path(name);
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let outcome = replay(&file, &SHORT);
        assert_eq!(outcome.code, Some(1), "{name}: {outcome:?}");
        assert!(outcome.stderr.contains(reason), "{name}: {outcome:?}");
        assert!(outcome.stderr.contains(file.to_str().unwrap()), "{name}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{name}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{name}");
    }
}

#[test]
fn malformed_streams_are_refused_without_a_crash() {
    let Some(root) = support::shared_data("arrow-fuzz") else { return };
    for entry in fs::read_dir(root).expect("a directory") {
        let file = entry.expect("listed").path();
        let outcome = replay(&file, &SHORT);
        assert_eq!(outcome.code, Some(1), "{file:?}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{file:?}: {outcome:?}");
    }
}

#[test]
fn bad_options_are_refused_and_leave_nothing() {
    for (option, value, code, reason) in [
        ("--slots", "0", 1, "1 to 16777216 slots"),
        ("--slots", "16777217", 1, "1 to 16777216 slots"),
        ("--name", "a/b", 1, "invalid ring name"),
        ("--seconds", "0", 2, "--seconds"),
        ("--rate", "-1", 2, "'-1'"),
        ("--rows", "5", 2, "--input"),
    ] {
        let outcome = Demo::start_unnamed(&[option, value]).finish();
        assert_eq!(outcome.code, Some(code), "{option} {value}: {outcome:?}");
        assert!(outcome.stderr.contains(reason), "{option} {value}: {outcome:?}");
    }
}

#[test]
fn help_shows_examples_and_no_hidden_verb() {
    let outcome = Demo::start_unnamed(&["--help"]).finish();
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.stdout.contains("qads demo --input"));
    assert!(!outcome.stdout.contains("demo-writer"));
    assert!(outcome.stdout.as_bytes().lines().all(|line| !line.unwrap().contains('\u{1b}')));
}

fn start_replay(file: &std::path::Path, arguments: &[&str]) -> Demo {
    let file = file.to_str().expect("a plain path");
    Demo::start(&[&["--input", file], arguments].concat())
}

fn replay(file: &std::path::Path, arguments: &[&str]) -> Outcome {
    start_replay(file, arguments).finish()
}
