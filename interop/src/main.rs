//! One side of a test that exchanges messages between languages. Every language has a program like this one:
//!
//! ```text
//! interop-peer write RING raw|arrow|ipc INPUT
//! interop-peer read RING raw|arrow|in-place OUTPUT
//! ```
//!
//! A writer creates the ring, says `created`, waits for a line, publishes the messages of the file INPUT and
//! ends the ring. A lossless reader attaches, says `attached`, and stores what it reads into the file OUTPUT
//! until the ring ends; then it says `done`. Both files are messages, each behind its length (u32, little-endian).
//!
//! * `raw`: plain bytes.
//! * `arrow`: each message of the file is an Arrow IPC stream; it goes through this language's record batches
//!   (on writing, decoded and published; on reading, read and encoded again). `in-place`: read without a copy.
//! * `ipc`: the streams are published as they are.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, ErrorKind, Read, Write};

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use qadataswap::{Batches, OnSlowReader, QADataSwapError, Reader, ReaderOptions, WriterOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Fewer than there are messages, so that the writer waits for the reader.
const SLOTS: usize = 16;
/// For ever.
const NO_LIMIT: u64 = u64::MAX;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", ring, mode, file] => write(ring, mode, file),
        ["read", ring, mode, file] => read(ring, mode, file),
        _ => Err("usage: interop-peer write|read RING MODE FILE".into()),
    }
}

fn say(line: &str) {
    println!("{line}");
}

fn write(ring: &str, mode: &str, file: &str) -> Result<()> {
    let patient = OnSlowReader::Wait { limit_ms: NO_LIMIT };
    let writer = WriterOptions::new(SLOTS).on_slow_reader(patient).create(ring)?;
    say("created");
    io::stdin().lock().read_line(&mut String::new())?;
    let mut input = BufReader::new(File::open(file)?);
    while let Some(message) = next_message(&mut input)? {
        match mode {
            "raw" => writer.write(&message)?,
            "ipc" => writer.write_ipc_stream(&message)?,
            "arrow" => {
                let stream = StreamReader::try_new(Cursor::new(message), None)?;
                let schema = stream.schema();
                let batches = stream.collect::<std::result::Result<Vec<_>, _>>()?;
                writer.write_batches(&schema, &batches)?;
            }
            _ => return Err(format!("cannot write in the mode {mode:?}").into()),
        }
    }
    writer.close()?;
    Ok(())
}

fn read(ring: &str, mode: &str, file: &str) -> Result<()> {
    let reader = ReaderOptions::new().lossless(true).attach(ring)?;
    say("attached");
    let mut output = BufWriter::new(File::create(file)?);
    loop {
        match next_read(&reader, mode) {
            Ok(message) => {
                output.write_all(&u32::try_from(message.len())?.to_le_bytes())?;
                output.write_all(&message)?;
            }
            Err(error) => match error.downcast_ref() {
                Some(QADataSwapError::Closed) => break,
                _ => return Err(error),
            },
        }
    }
    output.flush()?;
    say("done");
    Ok(())
}

fn next_read(reader: &Reader, mode: &str) -> Result<Vec<u8>> {
    let nothing = "a read without limit gave nothing";
    let table = match mode {
        "raw" => return Ok(reader.read(NO_LIMIT)?.ok_or(nothing)?),
        "arrow" => reader.read_batches(NO_LIMIT)?.ok_or(nothing)?,
        "in-place" => reader.read_batches_zero_copy(NO_LIMIT)?.ok_or(nothing)?,
        _ => return Err(format!("cannot read in the mode {mode:?}").into()),
    };
    encode(&table)
}

fn encode(table: &Batches) -> Result<Vec<u8>> {
    let mut stream = StreamWriter::try_new(Vec::new(), &table.schema)?;
    for batch in &table.batches {
        stream.write(batch)?;
    }
    Ok(stream.into_inner()?)
}

/// The next message of an input file; `None` at its end.
fn next_message(input: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let mut message = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut message)?;
    Ok(Some(message))
}
