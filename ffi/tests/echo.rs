//! Rust writes, a process in C or C++ reads and writes back, Rust reads: bytes and every Arrow type must come back as
//! they were, copied and in place, also through Arrow C++ and nanoarrow.
//!
//! The programs are built by `make ffi`, which says where they are; without it there is nothing to test.

#[path = "../../tests/arrow/generate.rs"]
mod generate;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use generate::{Nulls, all_types, array, batch};
use ring::{Reader, ReaderOptions, Writer, WriterOptions};

/// The directory of the programs.
fn programs() -> Option<PathBuf> {
    let programs = std::env::var_os("QADATASWAP_FFI_PROGRAMS").map(PathBuf::from);
    if programs.is_none() {
        println!("skipped: the programs in C and C++ are built by `make ffi`");
    }
    programs
}

/// A process that echoes.
struct Echo {
    process: Child,
    to: Option<Writer>,
    from: Option<Reader>,
}

impl Echo {
    fn start(program: PathBuf, mode: &str) -> Self {
        // Before there is a ring to be left behind.
        assert!(program.exists(), "{} is not there", program.display());
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |way: &str| format!("test-echo-{way}-{}-{number}", std::process::id());
        // A name that an earlier process with this number may have left.
        let (there, back) = (name("there"), name("back"));
        let _ = (ring::unlink(&there), ring::unlink(&back));
        let to = WriterOptions::new(4).create(&there).expect("ring is created");
        let process = Command::new(&program)
            .args([&there, &back, mode])
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let from =
            ReaderOptions::new().attach_timeout_ms(60_000).attach(&back).expect("echo starts");
        Self { process, to: Some(to), from: Some(from) }
    }

    fn to(&self) -> &Writer {
        self.to.as_ref().expect("still open")
    }

    fn from(&self) -> &Reader {
        self.from.as_ref().expect("still open")
    }

    /// Reads what comes back; `None` if the echo has ended instead.
    fn hear<T>(&mut self, read: impl Fn(&Reader) -> ring::Result<Option<T>>) -> T {
        loop {
            if let Some(heard) = read(self.from()).expect("readable") {
                return heard;
            }
            if let Some(status) = self.process.try_wait().expect("child") {
                panic!("the echo ended: {status}");
            }
        }
    }

    fn finish(mut self) {
        self.to.take().expect("still open").unlink().expect("ring is removed");
        let status = self.process.wait().expect("child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let Some(from) = self.from.take() else { return };
        let _ = ring::unlink(&from.name());
        let to = self.to.take();
        drop(to.map(Writer::unlink));
    }
}

fn echo_bytes(mode: &str) {
    let Some(programs) = programs() else { return };
    let mut echo = Echo::start(programs.join("echo"), mode);
    for size in [0, 1, 39, 40, 41, 4096, 1 << 20] {
        let message: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
        echo.to().write(&message).expect("written");
        assert!(echo.hear(|from| from.read(100)) == message, "{size} bytes");
    }
    echo.finish();
}

#[test]
fn bytes_copied() {
    echo_bytes("bytes");
}

#[test]
fn bytes_leased() {
    echo_bytes("lease");
}

/// One batch of each type, and of each pattern of nulls, row count and offset that matters.
fn batches() -> impl Iterator<Item = RecordBatch> {
    all_types().into_iter().flat_map(|data_type| {
        let full = move |rows, nulls| array(&data_type, rows, nulls);
        let sizes = [0, 1, 9].map(|rows| full(rows, Nulls::None));
        let nulls = [full(65, Nulls::Some), full(9, Nulls::All)];
        let sliced = [full(20, Nulls::Some).slice(1, 7), full(20, Nulls::Some).slice(8, 9)];
        sizes.into_iter().chain(nulls).chain(sliced).map(batch)
    })
}

/// Sends every batch there and back; gives what a program refused.
fn echo_batches(program: &str, mode: &str) -> Vec<(DataType, String)> {
    let Some(programs) = programs() else { return vec![] };
    let mut echo = Echo::start(programs.join(program), mode);
    let (mut sent, mut refused) = (0, Vec::new());
    for batch in batches() {
        echo.to().write_arrow(&batch).expect("written");
        sent += 1;
        let stream = echo.hear(|from| from.lease(100));
        // Arrow data in an echo, or plain text that says why not.
        match std::str::from_utf8(&stream) {
            Ok(text) if !stream.starts_with(&[0xff; 4]) => {
                refused.push((batch.column(0).data_type().clone(), text.to_owned()));
                continue;
            }
            _ => {}
        }
        let decoded =
            arrow_ipc::reader::StreamReader::try_new(&stream[..], None).expect("a stream");
        let decoded: Vec<_> = decoded.map(|batch| batch.expect("a batch")).collect();
        if program == "echo_arrow" && has_names_of_its_own(batch.column(0).data_type()) {
            assert_eq!(decoded[0].num_rows(), batch.num_rows());
            continue;
        }
        assert_eq!(
            decoded,
            std::slice::from_ref(&batch),
            "{program} {mode}: {}",
            batch.column(0).data_type()
        );
    }
    echo.finish();
    println!("{program} {mode}: {sent} batches, {} refused", refused.len());
    refused
}

/// A map whose fields are not named as usual: Arrow C++ 26 gives those that it exports the usual names.
fn has_names_of_its_own(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Map(entries, _) if entries.name() != "entries")
}

#[test]
fn arrays_copied() {
    assert_eq!(echo_batches("echo", "array"), []);
}

#[test]
fn arrays_in_place() {
    assert_eq!(echo_batches("echo", "array-in-place"), []);
}

#[test]
fn streams_copied() {
    assert_eq!(echo_batches("echo", "stream"), []);
}

#[test]
fn streams_in_place() {
    assert_eq!(echo_batches("echo", "stream-in-place"), []);
}

#[test]
fn through_arrow_cpp() {
    for mode in ["stream", "stream-in-place"] {
        assert_eq!(echo_batches("echo_arrow", mode), []);
    }
}

#[test]
fn through_nanoarrow() {
    for mode in ["stream", "stream-in-place"] {
        let mut refused = echo_batches("echo_nanoarrow", mode);
        // nanoarrow 0.9 knows no binary values without bytes.
        refused.retain(|(data_type, _)| *data_type != DataType::FixedSizeBinary(0));
        assert_eq!(refused, []);
    }
}

#[test]
fn several_batches_in_one_message_in_place() {
    several_batches("echo");
}

#[test]
fn several_batches_through_arrow_cpp() {
    several_batches("echo_arrow");
}

fn several_batches(program: &str) {
    let Some(programs) = programs() else { return };
    for mode in ["stream", "stream-in-place"] {
        let mut echo = Echo::start(programs.join(program), mode);
        for count in [0, 1, 2, 5] {
            let chunk = batch(array(&DataType::Utf8, 9, Nulls::Some));
            let chunks = vec![chunk.clone(); count];
            echo.to().write_batches(&chunk.schema(), &chunks).expect("written");
            let back = echo.hear(|from| from.read_batches(100));
            assert_eq!((back.schema, back.batches), (chunk.schema(), chunks));
        }
        echo.finish();
    }
}

/// Text with a NUL cannot be told to C: an error, whose text has none, rather than the end of the process.
#[test]
fn names_with_nul() {
    let Some(programs) = programs() else { return };
    for mode in ["array", "array-in-place", "stream", "stream-in-place"] {
        let mut echo = Echo::start(programs.join("echo"), mode);
        let column = array(&DataType::Int8, 3, Nulls::None);
        let zone = DataType::Timestamp(arrow_schema::TimeUnit::Second, Some("a\0b".into()));
        for (name, column) in [("a\0b", column), ("zone", array(&zone, 3, Nulls::None))] {
            let batch = RecordBatch::try_from_iter([(name, column)]).expect("a batch");
            echo.to().write_arrow(&batch).expect("written");
            let why = echo.hear(|from| from.read(100));
            let why = String::from_utf8(why).expect("text");
            assert!(why.contains("Null byte at position"), "{mode}: {why}");
        }
        echo.finish();
    }
}

/// Metadata of the schema and of fields, extension types, ordered dictionaries, deep nesting, columns without names.
#[test]
fn schemas_in_place() {
    let Some(programs) = programs() else { return };
    let metadata = |what: &str| HashMap::from([("key".to_owned(), what.to_owned())]);
    let extension = HashMap::from([
        ("ARROW:extension:name".to_owned(), "example.id".to_owned()),
        ("ARROW:extension:metadata".to_owned(), "v1".to_owned()),
    ]);
    let deep =
        (0..59).fold(DataType::Int8, |inner, _| DataType::FixedSizeList(generate::item(inner), 1));
    let keys = generate::dictionary(DataType::Int8, DataType::Utf8);
    let fields = vec![
        Field::new("", DataType::Int8, false),
        Field::new("same", DataType::Utf8, true).with_metadata(metadata("of a field")),
        Field::new("same", DataType::FixedSizeBinary(3), true).with_metadata(extension),
        Field::new("ordered", keys, true).with_dict_is_ordered(true),
        Field::new("deep", deep, true),
    ];
    let columns = fields.iter().map(|field| array(field.data_type(), 9, Nulls::None)).collect();
    let schema = Schema::new(fields).with_metadata(metadata("of the schema"));
    let batch = RecordBatch::try_new(schema.into(), columns).expect("a batch");
    for mode in ["array", "array-in-place", "stream", "stream-in-place"] {
        let mut echo = Echo::start(programs.join("echo"), mode);
        echo.to().write_arrow(&batch).expect("written");
        assert_eq!(echo.hear(|from| from.read_arrow(100)), batch, "{mode}");
        echo.finish();
    }
}
