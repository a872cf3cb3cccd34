//! `qads replay`: which files it takes, and the timing that is in them.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use qadataswap::arrow_array::{RecordBatch, TimestampNanosecondArray};
use support::qads::{
    Running, TestRing, await_readers, batch, qads, read_stream, text, write_stream,
};
use support::{RingGuard, Scratch, ring_name};

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
    let by_time = ["--speed", "max", "--by-time", "--time-column", "ts"];
    assert_eq!(replay(&by_time), [2, 1, 1], "not waited for, but cut");
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
    let folder = scratch.path("");
    let said = qads(&["replay", text(&folder), &ring.0, "--speed", "max"]).failed(1);
    assert!(said.contains("a folder; name a file in it"), "{said}");
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
    let many = ["replay", "/dev/null", &ring.0, "--readers", "65"];
    assert!(qads(&many).failed(2).contains("64"), "more than can be registered never come");
    assert!(replay(b"PAREabcdPARE").contains("encrypted"));
    assert!(replay(b"{\"a\":1}\n{\"a\":2}\n").contains("looks like JSON"));
    assert!(qads(&["replay", "/no/such/file", &ring.0]).failed(1).contains("/no/such/file"));
    if let Some(folder) = support::shared_data("arrow-fuzz") {
        for entry in fs::read_dir(folder).unwrap().flatten().take(40) {
            let path = entry.path();
            let ran = qads(&["replay", text(&path), &ring.0, "--speed", "max", "--rm"]);
            assert!(matches!(ran.code, Some(0 | 1)) && !ran.err.contains("panicked"), "{ran:?}");
        }
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

    // Parquet has no messages, but rows of a time each.
    let ring = RingGuard(ring_name());
    qads(&["replay", text(&path), &ring.0, "--speed", "max"]).ok();
    let parquet = scratch.path("out.parquet");
    qads(&["record", &ring.0, "-o", text(&parquet)]).ok();
    replay(&parquet, "1x");

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
