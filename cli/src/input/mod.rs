//! Files to replay (`qads replay`, `qads demo --input`), as batches one after the other: never more of one in memory than a
//! batch.

#[cfg(feature = "full")]
mod tables;
#[cfg(not(feature = "full"))]
#[path = "no_tables.rs"]
mod tables;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use arrow_ipc::reader::{FileReader, StreamReader};
use qadataswap::arrow_array::RecordBatch;
use qadataswap::arrow_schema::{ArrowError, SchemaRef};

use crate::failure::{Outcome, failed, guarded};

/// First bytes of the formats that say what they are; streams begin with a continuation marker.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";
const ENCRYPTED_PARQUET_MAGIC: &[u8; 4] = b"PARE";
const FEATHER_V1_MAGIC: &[u8; 4] = b"FEA1";
/// What JSON begins with, and no line of names.
const JSON: [u8; 2] = *b"{[";
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Where in a file of the IPC file format its stream may begin, as writers align it.
const STREAM_STARTS: [u64; 2] = [8, 64];
/// Rows of a batch of what has no batches of its own.
const USUAL_ROWS: usize = 1024;

/// What there is to say where something is missing.
pub const NEEDS_FULL: &str = "this qads is built for the demo alone, without the feature `full`; 'cargo install --path \
                              cli' installs all of it";
const NO_DATA: &str = "not an Arrow IPC stream or file, nor Parquet, nor CSV";

/// A file that is being read.
pub struct Input {
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>,
    has_messages: bool,
    /// It may end in the middle of a batch.
    is_partial: bool,
}

impl Input {
    /// Opens a file. What has no batches of its own gives batches of `rows` rows.
    pub fn open(path: &Path, rows: Option<usize>) -> Outcome<Self> {
        let mut file = File::open(path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(failed("a folder; name a file in it"));
        }
        if !kind.is_file() {
            return Err(failed("not a file; it is read from the beginning more than once"));
        }
        let mut magic = Vec::new();
        file.by_ref().take(8).read_to_end(&mut magic)?;
        file.rewind()?;
        let rows = rows.unwrap_or(USUAL_ROWS);
        if magic.starts_with(FILE_MAGIC) {
            opened(|| open_file(file))
        } else if magic.starts_with(PARQUET_MAGIC) {
            tables::open_parquet(file, rows)
        } else if magic.starts_with(ENCRYPTED_PARQUET_MAGIC) {
            Err(failed(
                "it is Parquet that is encrypted, which is not read; write it again without",
            ))
        } else if magic.first().is_some_and(|first| JSON.contains(first)) {
            Err(failed("it looks like JSON, which is not read; make it CSV, Parquet or Arrow IPC"))
        } else if magic.starts_with(FEATHER_V1_MAGIC) {
            Err(failed(
                "a Feather V1 file, which came before Arrow IPC files and is not read; write it again as Feather V2 \
                 (the Arrow IPC file format), as pyarrow's write_feather(read_feather(OLD), NEW) does",
            ))
        } else if magic.starts_with(&CONTINUATION) {
            opened(|| open_stream(file, false))
        } else if magic.is_empty() {
            Err(failed("it is empty"))
        } else if magic.contains(&0) {
            // Streams of Arrow before 0.15 begin with a length, as no text does.
            opened(|| open_stream(file, false)).map_err(|_| failed(NO_DATA))
        } else if std::str::from_utf8(&magic).is_err_and(|error| error.error_len().is_some()) {
            Err(failed(NO_DATA))
        } else {
            tables::open_csv(file, rows)
        }
    }

    /// The schema of all batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether its batches are the messages that were recorded.
    pub fn has_messages(&self) -> bool {
        self.has_messages
    }
}

impl Iterator for Input {
    type Item = Outcome<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match guarded(|| self.batches.next().transpose()) {
            Ok(batch) => batch.map(Ok),
            // What a killed recorder had not written whole.
            Err(_) if self.is_partial => None,
            Err(error) if is_cut_short(&error) => {
                Some(Err(failed("it ends in the middle of a batch")))
            }
            Err(error) => Some(Err(failed(format!("cannot be read: {}", shortened(&error))))),
        }
    }
}

/// Opens a file with a decoder that may fail, or panic.
fn opened(open: impl FnOnce() -> Result<Input, ArrowError>) -> Outcome<Input> {
    guarded(open).map_err(|error| failed(format!("cannot be read: {}", shortened(&error))))
}

/// Whether there was less than there should be, as of a file whose writer was killed or had no space left.
fn is_cut_short(error: &ArrowError) -> bool {
    let ArrowError::IoError(_, error) = error else { return false };
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// What a decoder has to say, without the half of the file that it may quote.
fn shortened(error: &ArrowError) -> String {
    let text: String = error.to_string().chars().take(200).collect();
    if text.contains("decompression requires") {
        return format!("it is compressed ({NEEDS_FULL})");
    }
    crate::text::tame(&text)
}

fn open_stream(file: File, is_partial: bool) -> Result<Input, ArrowError> {
    let reader = StreamReader::try_new(BufReader::new(file), None)?;
    let schema = reader.schema();
    Ok(Input { schema, batches: Box::new(reader), has_messages: true, is_partial })
}

fn open_file(mut file: File) -> Result<Input, ArrowError> {
    let again = file.try_clone()?;
    match FileReader::try_new(BufReader::new(again), None) {
        Ok(reader) => {
            let schema = reader.schema();
            Ok(Input { schema, batches: Box::new(reader), has_messages: true, is_partial: false })
        }
        // One that was never finished has no footer; up to there it is a stream.
        Err(error) => {
            for start in STREAM_STARTS {
                let mut marker = [0; 4];
                file.seek(SeekFrom::Start(start))?;
                if file.read_exact(&mut marker).is_ok() && marker == CONTINUATION {
                    file.seek(SeekFrom::Start(start))?;
                    return open_stream(file, true);
                }
            }
            Err(error)
        }
    }
}
