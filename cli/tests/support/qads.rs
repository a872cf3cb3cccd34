//! Runs of the real binary, and rings for it to look at.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use qadataswap::arrow_array::{ArrayRef, TimestampNanosecondArray};
use qadataswap::arrow_array::{Float64Array, Int64Array, RecordBatch, StringArray};
use qadataswap::{Writer, WriterOptions};

use super::{RingGuard, ring_name};

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Ran {
    /// Its output, of a run that went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What it said of its failure.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self.err
    }

    /// Its output, parsed.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("JSON")
    }
}

/// The command with these arguments.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qads"));
    command.args(arguments).stdin(Stdio::null()).env_remove("NO_COLOR");
    command
}

/// Runs it to its end.
pub fn qads(arguments: &[&str]) -> Ran {
    command(arguments).output().expect("the binary starts").into()
}

/// A run that goes on beside the test. Killed, if it still does, when dropped.
pub struct Running {
    pub process: Child,
    pub out: BufReader<ChildStdout>,
    pub err: BufReader<ChildStderr>,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = BufReader::new(process.stdout.take().expect("piped"));
        let err = BufReader::new(process.stderr.take().expect("piped"));
        Self { process, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: libc::c_int) {
        super::kill(self.pid(), signal);
    }

    /// Its next line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.out.read_line(&mut line).expect("text"), 0, "ended early");
        line.trim_end().to_owned()
    }

    /// The next line that it says on standard error.
    #[track_caller]
    pub fn err_line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.err.read_line(&mut line).expect("text"), 0, "ended early");
        line.trim_end().to_owned()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).expect("text");
        self.err.read_to_string(&mut err).expect("text");
        let status = self.process.wait().expect("it ends");
        Ran { code: status.code(), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A ring that this process writes; removed when dropped.
pub struct TestRing {
    // In this order: the writer goes before its ring is removed.
    pub writer: Option<Writer>,
    pub guard: RingGuard,
}

impl TestRing {
    pub fn new(slots: usize) -> Self {
        let guard = RingGuard(ring_name());
        let writer = WriterOptions::new(slots).create(&guard.0).expect("created");
        Self { writer: Some(writer), guard }
    }

    /// One with these numbers in it, a batch each.
    pub fn with_numbers(numbers: std::ops::Range<i64>) -> Self {
        let ring = Self::new(1024);
        for number in numbers {
            ring.writer().write_arrow(&batch(number, 2)).expect("written");
        }
        ring
    }

    pub fn name(&self) -> &str {
        &self.guard.0
    }

    pub fn writer(&self) -> &Writer {
        self.writer.as_ref().expect("not closed")
    }

    /// Ends the ring.
    pub fn close(&mut self) {
        self.writer.take().expect("not closed yet").close().expect("closed");
    }
}

/// A batch of so many rows, the first with this number; one row every millisecond.
pub fn batch(number: i64, rows: i64) -> RecordBatch {
    let numbers = number..number + rows;
    let names = numbers.clone().map(|n| (n % 3 != 0).then(|| format!("name {n}")));
    let columns: [(&str, ArrayRef, bool); 4] = [
        (
            "ts",
            Arc::new(
                TimestampNanosecondArray::from_iter_values(numbers.clone().map(|n| n * 1_000_000))
                    .with_timezone("UTC"),
            ),
            false,
        ),
        ("n", Arc::new(Int64Array::from_iter_values(numbers.clone())), false),
        ("price", Arc::new(Float64Array::from_iter_values(numbers.map(|n| n as f64 / 4.0))), false),
        ("name", Arc::new(StringArray::from_iter(names)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// Waits until `done` says so; in vain only if the test hangs.
pub fn wait_until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Waits until the ring has so many living readers that have found their place.
pub fn await_readers(ring: &str, count: usize) {
    wait_until(|| {
        let seen = qadataswap::observe::Observer::open(ring).and_then(|observer| observer.look());
        seen.is_ok_and(|seen| {
            seen.readers.iter().filter(|reader| reader.is_settled()).count() >= count
        })
    });
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The batches of an Arrow IPC stream.
pub fn read_stream(path: &Path) -> Vec<RecordBatch> {
    let file = BufReader::new(File::open(path).expect("there"));
    let reader = StreamReader::try_new(file, None).expect("a stream");
    reader.map(|batch| batch.expect("whole")).collect()
}

/// A ring whose writer, a process of its own, has published one row and waits an hour for the next.
pub fn start_endless_writer(scratch: &super::Scratch, ring: &str) -> Running {
    let file = scratch.path("endless.csv");
    std::fs::write(&file, "ts,n\n0,1\n3600000000000,2\n").expect("written");
    let writer = Running::start(&["replay", text(&file), ring, "--time-column", "ts"]);
    wait_until(|| {
        let observer = qadataswap::observe::Observer::open(ring);
        observer.and_then(|o| o.newest()).is_ok_and(|newest| newest.is_some())
    });
    writer
}

/// A stream of these batches.
pub fn write_stream(path: &Path, batches: &[RecordBatch]) {
    let file = File::create(path).expect("created");
    let mut writer = StreamWriter::try_new(file, &batches[0].schema()).expect("a stream");
    batches.iter().for_each(|batch| writer.write(batch).expect("written"));
    writer.finish().expect("finished");
}
