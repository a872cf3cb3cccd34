//! `qads record` and `qads replay`: what goes in comes out, whatever happens to whom.

mod support;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use arrow_ipc::reader::FileReader;
use arrow_select::concat::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use qadataswap::arrow_array::RecordBatch;
use qadataswap::{OnSlowReader, WriterOptions};
use support::qads::{
    Running, TestRing, await_readers, batch, qads, read_stream, text, wait_until, write_stream,
};
use support::{RingGuard, Scratch, ring_name};

fn read_file(path: &Path) -> Vec<RecordBatch> {
    let file = BufReader::new(File::open(path).expect("there"));
    let reader = FileReader::try_new(file, None).expect("a file");
    reader.map(|batch| batch.expect("whole")).collect()
}

fn read_parquet(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).expect("there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().unwrap();
    reader.map(|batch| batch.expect("whole")).collect()
}

/// All batches as one.
fn joined(batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(&batches[0].schema(), batches).expect("one schema")
}

/// Replays the file at full speed into recorders of all three formats; gives the files.
fn through_three_recorders(input: &Path, scratch: &Scratch) -> [PathBuf; 3] {
    let ring = RingGuard(ring_name());
    let files = ["out.arrows", "out.arrow", "out.parquet"].map(|name| scratch.path(name));
    let recorders: Vec<Running> = files
        .iter()
        .map(|file| {
            let arguments = ["record", &ring.0, "-o", text(file), "--attach-timeout-ms", "60000"];
            Running::start(&arguments)
        })
        .collect();
    let arguments = ["replay", text(input), &ring.0, "--speed", "max", "--readers", "3", "--rm"];
    let ran = qads(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for recorder in recorders {
        let ended = recorder.finish();
        assert!(ended.err.contains(" 0 lost"), "{ended:?}");
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    support::assert_nothing_left(&ring.0);
    files
}

#[test]
fn three_recorders_get_just_what_is_replayed() {
    let scratch = Scratch::new("three");
    let input = scratch.path("in.arrows");
    // More than the ring has slots.
    let batches: Vec<RecordBatch> = (0..5_000).map(|n| batch(n, 1 + n % 4)).collect();
    write_stream(&input, &batches);
    let [stream, file, parquet] = through_three_recorders(&input, &scratch);
    assert!(read_stream(&stream) == batches);
    assert!(read_file(&file) == batches);
    assert!(joined(&read_parquet(&parquet)) == joined(&batches));
    // The same bytes, too: both are streams of the same batches.
    assert!(fs::read(&stream).unwrap() == fs::read(&input).unwrap());
    let left = fs::read_dir(scratch.path("")).unwrap().count();
    assert_eq!(left, 4, "a .partial or .journal is left");
}

#[test]
fn real_market_data_goes_through_three_recorders() {
    let Some(input) = support::shared_data("es_mbo_20231225.arrows") else { return };
    let scratch = Scratch::new("es");
    let [stream, file, parquet] = through_three_recorders(&input, &scratch);
    let batches = read_stream(&input);
    assert!(read_stream(&stream) == batches);
    assert!(read_file(&file) == batches);
    assert!(joined(&read_parquet(&parquet)) == joined(&batches));
}

/// Records `format` from a ring whose writer goes on; kills the recorder once it has flushed some; gives the path.
fn record_and_kill(scratch: &Scratch, name: &str, grows: &str) -> (PathBuf, i64) {
    let options = WriterOptions::new(64).on_slow_reader(OnSlowReader::Evict { grace_ms: 60_000 });
    let guard = RingGuard(ring_name());
    let writer = options.create(&guard.0).unwrap();
    let path = scratch.path(name);
    let arguments = ["record", &guard.0, "-o", text(&path), "--flush-ms", "0"];
    let mut recorder = Running::start(&arguments);
    await_readers(&guard.0, 1);
    for number in 0..500 {
        writer.write_arrow(&batch(number, 3)).unwrap();
    }
    // What the recorder has consumed and then asked for more is flushed.
    let grown = scratch.path(grows);
    wait_until(|| fs::metadata(&grown).is_ok_and(|found| found.len() > 100_000));
    recorder.process.kill().unwrap();
    recorder.process.wait().unwrap();
    writer.unlink().unwrap();
    (grown, 500)
}

/// The batches are the first that were written, in order, and at least some.
#[track_caller]
fn assert_is_a_beginning(batches: &[RecordBatch], of: i64) {
    assert!(batches.len() > 50 && batches.len() as i64 <= of, "{}", batches.len());
    for (number, found) in batches.iter().enumerate() {
        assert!(*found == batch(number as i64, 3), "{number}");
    }
}

#[test]
fn a_killed_recording_of_a_stream_is_read_up_to_the_last_flush() {
    let scratch = Scratch::new("kill-stream");
    let (path, of) = record_and_kill(&scratch, "out.arrows", "out.arrows");
    assert_is_a_beginning(&read_stream(&path), of);
}

#[test]
fn a_killed_recording_of_a_file_is_replayed_up_to_the_last_flush() {
    let scratch = Scratch::new("kill-file");
    let (partial, of) = record_and_kill(&scratch, "out.arrow", "out.arrow.partial");
    assert!(!scratch.path("out.arrow").exists());
    let ring = RingGuard(ring_name());
    qads(&["replay", text(&partial), &ring.0, "--speed", "max", "--slots", "1024"]).ok();
    let again = scratch.path("again.arrows");
    qads(&["record", &ring.0, "-o", text(&again)]).ok();
    assert_is_a_beginning(&read_stream(&again), of);
}

#[test]
fn a_killed_recording_of_parquet_leaves_a_journal() {
    let scratch = Scratch::new("kill-parquet");
    let (journal, of) = record_and_kill(&scratch, "out.parquet", "out.parquet.journal");
    assert!(!scratch.path("out.parquet").exists());
    assert_is_a_beginning(&read_stream(&journal), of);
}

#[test]
fn ctrl_c_finishes_the_file() {
    for (name, read) in [
        ("out.arrows", read_stream as fn(&Path) -> Vec<RecordBatch>),
        ("out.arrow", read_file),
        ("out.parquet", read_parquet),
    ] {
        let ring = TestRing::with_numbers(0..10);
        let scratch = Scratch::new("ctrl-c");
        let path = scratch.path(name);
        let recorder = Running::start(&["record", ring.name(), "-o", text(&path)]);
        wait_until(|| {
            let seen = qadataswap::observe::Observer::open(ring.name()).unwrap().look().unwrap();
            seen.readers.first().is_some_and(|reader| reader.consumed == 10)
        });
        recorder.signal(libc::SIGINT);
        let ended = recorder.finish();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert!(ended.err.contains("10 messages, 20 rows"), "{ended:?}");
        let expected: Vec<RecordBatch> = (0..10).map(|number| batch(number, 2)).collect();
        assert!(joined(&read(&path)) == joined(&expected), "{name}");
    }
}

#[test]
fn files_rotate_and_each_is_whole() {
    let mut ring = TestRing::with_numbers(0..200);
    ring.close();
    let scratch = Scratch::new("rotate");
    for (name, read) in [
        ("out.arrows", read_stream as fn(&Path) -> Vec<RecordBatch>),
        ("out.arrow", read_file),
        ("out.parquet", read_parquet),
    ] {
        let path = scratch.path(name);
        qads(&["record", ring.name(), "-o", text(&path), "--rotate-bytes", "3K"]).ok();
        let numbered = |number: usize| {
            let (stem, extension) = name.split_once('.').unwrap();
            scratch.path(&format!("{stem}-{number:06}.{extension}"))
        };
        let files: Vec<PathBuf> =
            (1..).map(numbered).take_while(|numbered| numbered.exists()).collect();
        assert!(files.len() > 1, "{name}: {files:?}");
        let all: Vec<RecordBatch> = files.iter().flat_map(|file| read(file)).collect();
        let expected: Vec<RecordBatch> = (0..200).map(|number| batch(number, 2)).collect();
        assert!(joined(&all) == joined(&expected), "{name}");
    }
}

#[test]
fn another_schema_begins_another_file() {
    let mut ring = TestRing::new(16);
    let other = batch(0, 1).project(&[1, 2]).unwrap();
    ring.writer().write_arrow(&batch(0, 1)).unwrap();
    ring.writer().write_arrow(&other).unwrap();
    ring.writer().write_arrow(&other).unwrap();
    ring.close();
    let scratch = Scratch::new("schemas");
    let path = scratch.path("out.arrows");
    qads(&["record", ring.name(), "-o", text(&path)]).ok();
    assert_eq!(read_stream(&path), [batch(0, 1)]);
    assert_eq!(read_stream(&scratch.path("out-000002.arrows")), [other.clone(), other]);
}

#[test]
fn bytes_are_recorded_and_are_bytes_again() {
    let mut ring = TestRing::new(16);
    for message in [&b"one"[..], b"", b"three"] {
        ring.writer().write(message).unwrap();
    }
    ring.close();
    let scratch = Scratch::new("bytes");
    for name in ["out.arrows", "out.parquet"] {
        let path = scratch.path(name);
        qads(&["record", ring.name(), "-o", text(&path)]).ok();
        let again = RingGuard(ring_name());
        qads(&["replay", text(&path), &again.0, "--speed", "max"]).ok();
        let reader = qadataswap::create_reader(&again.0).unwrap();
        for message in [&b"one"[..], b"", b"three"] {
            assert_eq!(reader.read(0).unwrap().as_deref(), Some(message), "{name}");
        }
    }
}

#[test]
fn a_lossy_recording_counts_what_it_misses() {
    let mut ring = TestRing::new(4);
    for number in 0..10 {
        ring.writer().write_arrow(&batch(number, 1)).unwrap();
    }
    let scratch = Scratch::new("lossy");
    let path = scratch.path("out.arrows");
    let arguments = ["record", ring.name(), "-o", text(&path), "--lossy", "--messages", "4"];
    let ran = qads(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(read_stream(&path).len(), 4);
    ring.close();
}

/// The most memory that a process has had at a time, in bytes.
fn peak_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Batches of some 350 kB each, and how much less than all of them the memory may grow by after the first of them.
const LARGE_ROWS: i64 = 10_000;
const LARGE_BATCHES: i64 = 100;
const FEW: i64 = 20;
const GROWTH_BYTES: u64 = 10 << 20;

#[test]
fn a_long_replay_takes_no_more_memory_than_a_short_one() {
    let scratch = Scratch::new("long-replay");
    let input = scratch.path("in.arrows");
    let large = batch(0, LARGE_ROWS);
    write_stream(&input, &vec![large.clone(); LARGE_BATCHES as usize]);
    let ring = RingGuard(ring_name());
    let arguments =
        ["replay", text(&input), &ring.0, "--speed", "max", "--readers", "1", "--slots", "4"];
    let replay = Running::start(&arguments);
    let reader = qadataswap::ReaderOptions::new()
        .lossless(true)
        .attach_timeout_ms(60_000)
        .attach(&ring.0)
        .unwrap();
    let mut early = 0;
    // It waits for this reader, and so lives, as long as more messages are left than the ring has slots.
    for number in 1..LARGE_BATCHES - 5 {
        assert!(reader.read_arrow(u64::MAX).unwrap().as_ref() == Some(&large));
        if number == FEW {
            early = peak_bytes(replay.pid());
        }
    }
    let late = peak_bytes(replay.pid());
    assert!(late < early + GROWTH_BYTES, "{early} {late}");
    while reader.read_arrow(u64::MAX).is_ok() {}
    assert_eq!(replay.finish().code, Some(0));
}

#[test]
fn a_long_recording_takes_no_more_memory_than_a_short_one() {
    for name in ["out.arrows", "out.arrow"] {
        let scratch = Scratch::new("long-recording");
        let path = scratch.path(name);
        let guard = RingGuard(ring_name());
        let writer = WriterOptions::new(4).create(&guard.0).unwrap();
        let recorder = Running::start(&["record", &guard.0, "-o", text(&path)]);
        await_readers(&guard.0, 1);
        let large = batch(0, LARGE_ROWS);
        let mut early = 0;
        for number in 1..=LARGE_BATCHES {
            writer.write_arrow(&large).unwrap();
            if number == FEW {
                early = peak_bytes(recorder.pid());
            }
        }
        let late = peak_bytes(recorder.pid());
        assert!(late < early + GROWTH_BYTES, "{name}: {early} {late}");
        writer.close().unwrap();
        let ended = recorder.finish();
        assert!(ended.code == Some(0) && ended.err.contains("100 messages"), "{ended:?}");
    }
}

#[test]
fn files_rotate_by_time() {
    let mut ring = TestRing::with_numbers(0..1);
    let scratch = Scratch::new("rotate-time");
    let path = scratch.path("out.arrow");
    let arguments = ["record", ring.name(), "-o", text(&path), "--rotate-seconds", "1"];
    let recorder = Running::start(&arguments);
    let numbered = |number: usize| scratch.path(&format!("out-{number:06}.arrow"));
    for number in 1..=2 {
        // It gets its name when its time is over, whether or not anything comes.
        wait_until(|| numbered(number as usize).exists());
        assert_eq!(read_file(&numbered(number as usize)), [batch(number - 1, 2)]);
        ring.writer().write_arrow(&batch(number, 2)).unwrap();
    }
    ring.close();
    let ended = recorder.finish();
    assert!(ended.code == Some(0) && ended.err.contains("3 files"), "{ended:?}");
    assert_eq!(read_file(&numbered(3)), [batch(2, 2)]);
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 3);
}
