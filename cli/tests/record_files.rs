//! `qads record`: which files it takes, and what is in them when they cannot have everything.

mod support;

use std::fs;
use std::sync::Arc;

use qadataswap::arrow_array::types::IntervalMonthDayNano;
use qadataswap::arrow_array::{
    ArrayRef, Int64Array, IntervalMonthDayNanoArray, RecordBatch, UnionArray,
};
use qadataswap::arrow_schema::{DataType, Field, UnionFields};
use support::Scratch;
use support::qads::{Running, TestRing, batch, qads, read_stream, text, wait_until};

#[test]
fn nothing_is_overwritten_unless_told_so() {
    let mut ring = TestRing::with_numbers(0..2);
    ring.close();
    let scratch = Scratch::new("overwrite");
    let path = scratch.path("out.arrows");
    fs::write(&path, "precious").unwrap();
    let record =
        |more: &[&str]| qads(&[&["record", ring.name(), "-o", text(&path)], more].concat());
    assert!(record(&[]).failed(1).contains("exists already (--force replaces it)"));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    record(&["--force"]).ok();
    assert_eq!(read_stream(&path), [batch(0, 2), batch(1, 2)]);
    let unnamed = scratch.path("out.xyz");
    assert!(qads(&["record", ring.name(), "-o", text(&unnamed)]).failed(2).contains("--format"));
    let nowhere = scratch.path("nowhere/out.arrows");
    assert!(
        qads(&["record", ring.name(), "-o", text(&nowhere)]).failed(1).contains("not a folder")
    );
    assert!(
        qads(&["record", "a/b", "-o", text(&scratch.path("x.arrows"))]).failed(2).contains("'/'")
    );
}

#[test]
fn files_in_the_way_are_named_before_anything_is_consumed() {
    let mut ring = TestRing::with_numbers(0..3);
    ring.close();
    let scratch = Scratch::new("in-the-way");
    for (there, output, more) in [
        ("a-000003.arrows", "a.arrows", &["--rotate-bytes", "1"][..]),
        // Another schema would begin it.
        ("b-000002.arrow", "b.arrow", &[]),
        ("c.arrow.partial", "c.arrow", &[]),
        ("d.parquet.journal", "d.parquet", &[]),
    ] {
        fs::write(scratch.path(there), "precious").unwrap();
        let path = scratch.path(output);
        let arguments = [&["record", ring.name(), "-o", text(&path)], more].concat();
        let said = qads(&arguments).failed(1);
        assert!(said.contains(&format!("{there} exists already")), "{said}");
        assert!(!said.contains("messages"), "nothing was recorded yet: {said}");
        assert_eq!(fs::read(scratch.path(there)).unwrap(), b"precious");
    }
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 4, "no other file is left");
    // Told to replace them, it says that there may be more than it has for them.
    let path = scratch.path("a.arrows");
    let arguments = ["record", ring.name(), "-o", text(&path), "--rotate-bytes", "1K", "--force"];
    let ran = qads(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("a-000003.arrows; those that are not replaced stay"), "{ran:?}");
    fs::write(scratch.path("e-1.arrows"), "another's").unwrap();
    qads(&["record", ring.name(), "-o", text(&scratch.path("e.arrows"))]).ok();
    let folder = scratch.path("");
    let record = |output: &str| qads(&["record", ring.name(), "-o", output, "--format", "stream"]);
    assert!(record(text(&folder)).failed(1).contains("is a folder; name a file in it"));
    assert!(record("-").failed(2).contains("tail -f --lossless --format arrow"));
}

#[test]
fn a_full_disk_leaves_whole_batches() {
    let mut ring = TestRing::with_numbers(0..500);
    ring.close();
    // A disk of its own; what is left on it is copied to where it can be read.
    let (disk, kept) = (Scratch::new("disk"), Scratch::new("kept"));
    let script = r#"
        mount -t tmpfs -o size=64K tmpfs "$2" || exit 77
        for name in out.arrows out.arrow out.parquet; do
            "$1" record "$3" -o "$2/$name" --flush-ms 0; echo "code $?"
            cp "$2"/* "$4"; rm "$2"/*
        done 2>&1
    "#;
    let run = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([env!("CARGO_BIN_EXE_qads"), text(&disk.path("")), ring.name()])
        .arg(kept.path(""))
        .output();
    let Some(run) = run.ok().filter(|run| run.status.success()) else {
        println!("skipped: no disk of one's own to be had here");
        return;
    };
    let said = String::from_utf8(run.stdout).unwrap();
    assert_eq!(said.matches("code 1").count(), 3, "{said}");
    for name in ["out.arrows", "out.arrow", "out.parquet.journal"] {
        assert!(said.contains(&format!("{name}: No space left on device")), "{said}");
    }
    assert!(said.contains("not all that was consumed is in it"), "{said}");
    // One that was never finished is a stream after its magic, which is padded to 64 bytes.
    let partial = fs::read(kept.path("out.arrow.partial")).unwrap();
    fs::write(kept.path("stream"), &partial[64..]).unwrap();
    for name in ["out.arrows", "stream", "out.parquet.journal"] {
        let batches = read_stream(&kept.path(name));
        assert!(!batches.is_empty() && batches.len() < 500, "{name}");
        for (number, found) in batches.iter().enumerate() {
            assert!(*found == batch(number as i64, 2), "{name} {number}");
        }
    }
}

#[test]
fn a_file_as_large_as_it_may_be_has_whole_batches() {
    let mut ring = TestRing::with_numbers(0..500);
    ring.close();
    let scratch = Scratch::new("limit");
    let path = scratch.path("out.arrows");
    // In blocks of 512 bytes or 1 KiB: less than is recorded, in any case.
    let script = r#"ulimit -f 40; exec "$1" record "$2" -o "$3" --flush-ms 0"#;
    let run = std::process::Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_qads"), ring.name(), text(&path)])
        .output();
    let said = support::qads::Ran::from(run.expect("a shell")).failed(1);
    assert!(said.contains("File too large") && said.contains("what is there is whole"), "{said}");
    let batches = read_stream(&path);
    assert!(!batches.is_empty() && batches.len() < 500, "{}", batches.len());
}

#[test]
fn what_parquet_cannot_have_is_in_the_journal() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let span = IntervalMonthDayNano { months: 1, days: 2, nanoseconds: 3 };
    let spans: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![span]));
    let fields = UnionFields::try_new([0], [Field::new("id", DataType::Int64, false)]).unwrap();
    let unions = UnionArray::try_new(fields, vec![0_i8].into(), None, vec![ids]).unwrap();
    let scratch = Scratch::new("unfit");
    for (name, column) in [("span", spans), ("union", Arc::new(unions) as ArrayRef)] {
        let mut ring = TestRing::new(8);
        let unfit = RecordBatch::try_from_iter([("c", column)]).unwrap();
        ring.writer().write_arrow(&unfit).unwrap();
        ring.close();
        let path = scratch.path(&format!("{name}.parquet"));
        let said = qads(&["record", ring.name(), "-o", text(&path)]).failed(1);
        assert!(said.contains("cannot be written as Parquet") && said.contains("--format stream"));
        assert!(!path.exists(), "one without its rows is no recording");
        let journal = scratch.path(&format!("{name}.parquet.journal"));
        assert!(!journal.exists() || read_stream(&journal) == [unfit], "{name}");
    }
    assert!(scratch.path("span.parquet.journal").exists());
    assert!(!scratch.path("union.parquet.partial").exists());
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    // As `timeout` sends it.
    let ring = TestRing::with_numbers(0..3);
    let scratch = Scratch::new("twice");
    let path = scratch.path("out.parquet");
    let recorder = Running::start(&["record", ring.name(), "-o", text(&path)]);
    wait_until(|| {
        let seen = qadataswap::observe::Observer::open(ring.name()).unwrap().look().unwrap();
        seen.readers.first().is_some_and(|reader| reader.consumed == 3)
    });
    // Some of them become one before they are delivered, but not all.
    for _ in 0..20 {
        recorder.signal(libc::SIGTERM);
        std::thread::yield_now();
    }
    let ended = recorder.finish();
    assert_eq!(ended.code, Some(143), "{ended:?}");
    assert!(ended.err.contains("3 messages"), "{ended:?}");
    assert!(path.exists() && fs::read_dir(scratch.path("")).unwrap().count() == 1);
}

#[test]
fn another_signal_ends_what_hangs() {
    let mut ring = TestRing::with_numbers(0..3);
    ring.close();
    let scratch = Scratch::new("hangs");
    let path = scratch.path("pipe");
    // Nobody opens its other end.
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let arguments = ["record", ring.name(), "-o", text(&path), "--format", "stream", "--force"];
    let mut recorder = Running::start(&arguments);
    wait_until(|| {
        recorder.signal(libc::SIGINT);
        recorder.process.try_wait().unwrap().is_some()
    });
    let code = recorder.finish().code;
    assert!(code == Some(130) || code.is_none(), "{code:?}");
}

#[test]
fn one_signal_ends_the_wait_for_a_ring() {
    let scratch = Scratch::new("waits");
    let path = scratch.path("out.arrows");
    let name = support::ring_name();
    for arguments in [&["record", &name, "-o", text(&path)][..], &["tail", &name]] {
        let forever = ["--attach-timeout-ms", "18446744073709551615"];
        let waiting = Running::start(&[arguments, &forever].concat());
        // It handles signals from when its bit is set here.
        wait_until(|| {
            let status = fs::read_to_string(format!("/proc/{}/status", waiting.pid())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            caught & (1 << (libc::SIGTERM - 1)) != 0
        });
        waiting.signal(libc::SIGTERM);
        assert_eq!(waiting.finish().code, Some(143), "{arguments:?}");
    }
}

#[test]
fn more_seconds_than_there_are_is_no_limit() {
    let mut ring = TestRing::with_numbers(0..3);
    ring.close();
    let scratch = Scratch::new("forever");
    let path = scratch.path("out.arrows");
    qads(&["record", ring.name(), "-o", text(&path), "--seconds", "18446744073709551615"]).ok();
    assert_eq!(read_stream(&path).len(), 3);
}
