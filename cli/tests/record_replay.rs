//! `qads record` and `qads replay`: what goes in comes out, whatever happens to whom.

mod support;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::StreamWriter;
use arrow_select::concat::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use qadataswap::arrow_array::{RecordBatch, TimestampNanosecondArray};
use qadataswap::{OnSlowReader, WriterOptions};
use support::qads::{Running, TestRing, await_readers, batch, qads, read_stream, text, wait_until};
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

/// A stream of these batches.
fn write_stream(path: &Path, batches: &[RecordBatch]) {
    let file = File::create(path).expect("created");
    let mut writer = StreamWriter::try_new(file, &batches[0].schema()).expect("a stream");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.finish().expect("finished");
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

#[test]
fn the_original_timing_is_kept() {
    let scratch = Scratch::new("timing");
    let input = scratch.path("in.arrows");
    // A row every millisecond: 300 ms, or 30 ms at ten times the speed.
    let batches: Vec<RecordBatch> = (0..300).map(|n| batch(n, 1)).collect();
    write_stream(&input, &batches);
    let replay = |speed: &str| {
        let ring = RingGuard(ring_name());
        let started = Instant::now();
        qads(&["replay", text(&input), &ring.0, "--speed", speed]).ok();
        started.elapsed().as_millis()
    };
    // Never faster; how much slower is the machine's affair.
    assert!(replay("1x") >= 299);
    assert!(replay("10x") >= 29);
    // One batch, taken apart by its times.
    write_stream(&input, &[batch(0, 40)]);
    let ring = RingGuard(ring_name());
    let started = Instant::now();
    qads(&["replay", text(&input), &ring.0, "--by-time"]).ok();
    assert!(started.elapsed().as_millis() >= 39);
    let reader = qadataswap::create_reader(&ring.0).unwrap();
    for number in 0..40 {
        assert_eq!(reader.read_arrow(0).unwrap(), Some(batch(number, 1)));
    }
}

#[test]
fn csv_and_parquet_are_replayed_by_time_or_by_rows() {
    let scratch = Scratch::new("csv");
    let csv = scratch.path("in.csv");
    fs::write(&csv, "ts,price,name\n1,1.5,a\n1,2.5,b\n2,,c\n5,3.5,\n").unwrap();
    let replay = |more: &[&str]| -> Vec<usize> {
        let ring = RingGuard(ring_name());
        qads(&[&["replay", text(&csv), &ring.0], more].concat()).ok();
        let reader = qadataswap::create_reader(&ring.0).unwrap();
        let batches = std::iter::from_fn(|| reader.read_arrow(0).unwrap_or(None));
        batches.map(|batch| batch.num_rows()).collect()
    };
    assert_eq!(replay(&["--time-column", "ts", "--time-unit", "ms"]), [2, 1, 1]);
    assert_eq!(replay(&["--speed", "max"]), [4]);
    assert_eq!(replay(&["--speed", "max", "--rows", "3"]), [3, 1]);
    let ring = RingGuard(ring_name());
    let ran = qads(&["replay", text(&csv), &ring.0, "--speed", "max"]);
    assert!(ran.err.contains(&format!("{}: 1 message, 4 rows, ", ring.0)), "{ran:?}");
    let replay = |more: &[&str]| qads(&[&["replay", text(&csv), &ring.0], more].concat());
    assert!(replay(&[]).failed(2).contains("no column of timestamps"));
    assert!(replay(&["--time-column", "when"]).failed(1).contains("there are: ts, price, name"));
    assert!(replay(&["--time-column", "name"]).failed(1).contains("not a timestamp"));
    assert!(replay(&["--speed", "fast"]).failed(2).contains("not a speed"));
}

#[test]
fn types_of_csv_columns_are_those_of_all_lines() {
    let scratch = Scratch::new("csv-types");
    let csv = scratch.path("in.csv");
    // With the mark of other programs at the beginning, and what is finest in the last line.
    let coarse = "2023-12-25T18:00:00Z,1\n".repeat(5_000);
    let fine = "2023-12-25T18:00:00.123456789Z,1.5\n";
    fs::write(&csv, format!("\u{feff}ts,price\n{coarse}{fine}")).unwrap();
    let ring = RingGuard(ring_name());
    qads(&["replay", text(&csv), &ring.0, "--speed", "max", "--time-column", "ts"]).ok();
    let shown = qads(&["tail", "-n", "1", &ring.0, "--format", "csv"]).ok();
    assert!(shown.ends_with("2023-12-25T18:00:00.123456789,1.5\n"), "{shown}");
}

#[test]
fn a_stream_that_is_cut_short_is_published_as_far_as_it_goes() {
    let scratch = Scratch::new("cut-short");
    let path = scratch.path("in.arrows");
    write_stream(&path, &[batch(0, 2), batch(1, 2)]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let ring = RingGuard(ring_name());
    let said = qads(&["replay", text(&path), &ring.0, "--speed", "max"]).failed(1);
    assert!(said.contains("it ends in the middle of a batch; all before that was published"));
    let reader = qadataswap::create_reader(&ring.0).unwrap();
    assert_eq!(reader.read_arrow(0).unwrap(), Some(batch(0, 2)));
    // Its types have to be known before its first row is published.
    let said = qads(&["replay", "/dev/null", &ring.0, "--speed", "max"]).failed(1);
    assert!(said.contains("not a file"), "{said}");
}

#[test]
fn what_is_no_data_is_said_to_be_none() {
    let scratch = Scratch::new("no-data");
    let ring = RingGuard(ring_name());
    let replay = |bytes: &[u8]| {
        let path = scratch.path("in");
        fs::write(&path, bytes).unwrap();
        let said = qads(&["replay", text(&path), &ring.0, "--speed", "max"]).failed(1);
        assert!(said.len() < 1000, "{said}");
        said
    };
    assert!(replay(b"").contains("it is empty"));
    assert!(replay(&[0x80; 100]).contains("not an Arrow IPC stream or file"));
    assert!(replay(b"ARROW1\0\0").contains("cannot be read"));
    assert!(replay(b"PAR1").contains("cannot be read"));
    assert!(replay(&[0xff; 64]).contains("cannot be read"));
    assert!(qads(&["replay", "/no/such/file", &ring.0]).failed(1).contains("/no/such/file"));
    if let Some(folder) = support::shared_data("arrow-fuzz") {
        for entry in fs::read_dir(folder).unwrap().flatten().take(40) {
            let path = entry.path();
            let ran = qads(&["replay", text(&path), &ring.0, "--speed", "max", "--rm"]);
            assert!(matches!(ran.code, Some(0 | 1)) && !ran.err.contains("panicked"), "{ran:?}");
        }
    }
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
fn parquet_of_every_compression_is_read() {
    use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    let scratch = Scratch::new("compressions");
    let path = scratch.path("in.parquet");
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let properties = parquet::file::properties::WriterProperties::builder();
        let properties = properties.set_compression(compression).build();
        let file = File::create(&path).unwrap();
        let schema = batch(0, 1).schema();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
        writer.write(&batch(0, 500)).unwrap();
        writer.close().unwrap();
        let ring = RingGuard(ring_name());
        let ran = qads(&["replay", text(&path), &ring.0, "--speed", "max"]);
        assert_eq!(ran.code, Some(0), "{compression}: {ran:?}");
        let reader = qadataswap::create_reader(&ring.0).unwrap();
        assert_eq!(reader.read_arrow(0).unwrap(), Some(batch(0, 500)), "{compression}");
    }
}

#[test]
fn feather_of_the_first_version_is_told_by_its_name() {
    let scratch = Scratch::new("feather");
    let path = scratch.path("in.feather");
    fs::write(&path, b"FEA1\0\0\0\0\x08\0\0\0\x08\0\0\0FEA1").unwrap();
    let ring = RingGuard(ring_name());
    let said = qads(&["replay", text(&path), &ring.0, "--speed", "max"]).failed(1);
    assert!(said.contains("Feather V1") && said.contains("write_feather"), "{said}");
}

#[test]
fn bytes_are_recorded_with_the_time_of_their_coming_and_replayed_by_it() {
    let mut ring = TestRing::new(16);
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64;
    let before = now();
    let scratch = Scratch::new("bytes-times");
    let path = scratch.path("out.arrows");
    let recorder = Running::start(&["record", ring.name(), "-o", text(&path)]);
    await_readers(ring.name(), 1);
    let messages = [&b"one"[..], b"", b"three"];
    for message in messages {
        ring.writer().write(message).unwrap();
    }
    ring.close();
    assert_eq!(recorder.finish().code, Some(0));
    let recorded = read_stream(&path);
    let times: Vec<i64> = recorded.iter().map(|batch| received(batch).value(0)).collect();
    assert!(times.len() == 3 && times.is_sorted(), "{times:?}");
    assert!(before <= times[0] && times[2] <= now(), "{before} {times:?}");

    // The same with other times: 100 ms, then 200 ms.
    let slow = [0, 100_000_000, 300_000_000];
    let slowed: Vec<RecordBatch> = recorded
        .iter()
        .zip(slow)
        .map(|(batch, time)| {
            let times = TimestampNanosecondArray::from(vec![time]).with_timezone("UTC");
            let mut columns = batch.columns().to_vec();
            columns[batch.schema().index_of("received").unwrap()] = Arc::new(times);
            RecordBatch::try_new(batch.schema(), columns).unwrap()
        })
        .collect();
    write_stream(&path, &slowed);
    let replay = |file: &Path, speed: &str| {
        let again = RingGuard(ring_name());
        let started = Instant::now();
        qads(&["replay", text(file), &again.0, "--speed", speed]).ok();
        let reader = qadataswap::create_reader(&again.0).unwrap();
        for message in messages {
            assert_eq!(reader.read(0).unwrap().as_deref(), Some(message));
        }
        started.elapsed().as_millis()
    };
    assert!(replay(&path, "1x") >= 300);
    assert!(replay(&path, "10x") >= 30);

    // Recorded before there were times.
    let old: Vec<RecordBatch> = recorded
        .iter()
        .map(|batch| {
            let schema = batch.schema();
            let names = ["sequence", "message"].map(|name| schema.index_of(name).unwrap());
            batch.project(&names).unwrap()
        })
        .collect();
    let path = scratch.path("old.arrows");
    write_stream(&path, &old);
    replay(&path, "max");
    let ring = RingGuard(ring_name());
    let said = qads(&["replay", text(&path), &ring.0]).failed(2);
    assert!(said.contains("--speed max"), "{said}");
}

fn received(batch: &RecordBatch) -> &TimestampNanosecondArray {
    batch.column_by_name("received").expect("a time").as_any().downcast_ref().expect("in ns")
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
