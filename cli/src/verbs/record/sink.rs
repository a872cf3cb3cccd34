//! The formats that a recording can have, each as something that batches are written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use qadataswap::arrow_array::RecordBatch;
use qadataswap::arrow_schema::{ArrowError, SchemaRef};

use crate::failure::{Failure, Outcome, failed, guarded};

/// A format that a ring can be recorded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// An Arrow IPC stream
    Stream,
    /// An Arrow IPC file
    File,
    /// A Parquet file
    Parquet,
}

impl Format {
    /// The format that a file of this name should have.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "arrows" | "stream" => Some(Self::Stream),
            "arrow" | "feather" | "ipc" => Some(Self::File),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Bytes that are handed to the system without waiting for a flush.
const BUFFER_BYTES: usize = 1 << 20;
/// Rows of a Parquet row group at most, and bytes (before encoding).
const ROW_GROUP_ROWS: usize = 1 << 20;
const ROW_GROUP_BYTES: usize = 64 << 20;

/// An open recording of one schema.
pub struct Sink {
    kind: Kind,
    name: PathBuf,
    schema: SchemaRef,
    sync: bool,
}

enum Kind {
    Stream(StreamWriter<Vec<u8>>, Whole),
    File(FileWriter<Vec<u8>>, Whole),
    /// `is_unfit`: it has not all that the journal has, because it cannot have it.
    Parquet {
        writer: Box<ArrowWriter<File>>,
        journal: Box<Sink>,
        is_unfit: bool,
    },
}

/// A file that gets whole batches only: what is not handed over yet is in the writer's buffer.
struct Whole {
    file: File,
    written: u64,
    /// Where in the buffer batches end.
    ends: Vec<usize>,
}

impl Whole {
    fn new(file: File) -> Self {
        Self { file, written: 0, ends: Vec::new() }
    }

    /// Hands the buffer over. If it cannot be had as a whole (no space left), the file ends with the last batch that
    /// can, and the rest stays in the buffer.
    fn send(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut sent = 0;
        while sent < buffer.len() {
            match self.file.write(&buffer[sent..]) {
                Ok(0) => return self.cut(buffer, sent, io::ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.cut(buffer, sent, error),
            }
        }
        self.written += sent as u64;
        buffer.clear();
        self.ends.clear();
        Ok(())
    }

    fn cut(&mut self, buffer: &mut Vec<u8>, sent: usize, error: io::Error) -> io::Result<()> {
        let whole = self.ends.iter().copied().filter(|end| *end <= sent).max().unwrap_or(0);
        self.written += whole as u64;
        buffer.drain(..whole);
        self.ends.retain(|end| *end > whole);
        self.ends.iter_mut().for_each(|end| *end -= whole);
        // The first error is the one to be told.
        let _ = self.file.set_len(self.written);
        let _ = self.file.seek(SeekFrom::Start(self.written));
        Err(error)
    }

    /// Has the system write it to disk, if it is a file that has one.
    fn sync(&self) -> io::Result<()> {
        if self.file.metadata()?.is_file() { self.file.sync_all() } else { Ok(()) }
    }
}

/// `path` with more at its end.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Sink {
    /// Opens a recording that will have the name `name`.
    pub fn open(
        name: &Path,
        format: Format,
        schema: &SchemaRef,
        force: bool,
        sync: bool,
    ) -> Outcome<Self> {
        let about = |failure: Failure, path: &Path| failure.about(path.display());
        if format != Format::Stream && !force && name.exists() {
            return Err(failed(format!("{} exists already (--force replaces it)", name.display())));
        }
        let path = match format {
            Format::Stream => name.to_owned(),
            Format::File | Format::Parquet => with_suffix(name, ".partial"),
        };
        let file = create(&path, force)?;
        let kind = match format {
            Format::Stream => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                let mut whole = Whole::new(file);
                whole.send(writer.get_mut()).map_err(|error| about(error.into(), &path))?;
                Kind::Stream(writer, whole)
            }
            Format::File => {
                let writer = FileWriter::try_new(Vec::new(), schema)?;
                let mut whole = Whole::new(file);
                whole.ends.push(writer.get_ref().len());
                Kind::File(writer, whole)
            }
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let made =
                    guarded(|| Ok(ArrowWriter::try_new(file, schema.clone(), Some(properties))?));
                let writer = made.map_err(|error| {
                    // Nothing is in it, and nothing can be.
                    let _ = fs::remove_file(&path);
                    unfit(&error, name)
                })?;
                let journal = with_suffix(name, ".journal");
                let journal = Sink::open(&journal, Format::Stream, schema, force, sync)?;
                let (writer, journal) = (Box::new(writer), Box::new(journal));
                Kind::Parquet { writer, journal, is_unfit: false }
            }
        };
        Ok(Self { kind, name: name.to_owned(), schema: schema.clone(), sync })
    }

    /// The schema that it was opened for.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes so far, as far as they are known.
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::Stream(writer, whole) => whole.written + writer.get_ref().len() as u64,
            Kind::File(writer, whole) => whole.written + writer.get_ref().len() as u64,
            Kind::Parquet { writer, .. } => {
                (writer.bytes_written() + writer.in_progress_size()) as u64
            }
        }
    }

    /// Writes a batch. `false` if this file can take no more of its kind, and the batch belongs into another.
    pub fn write(&mut self, batch: &RecordBatch) -> Outcome<bool> {
        let about = |error: io::Error| incomplete(error, &self.name);
        let written = match &mut self.kind {
            Kind::Stream(writer, whole) => {
                writer.write(batch)?;
                whole.ends.push(writer.get_ref().len());
                if writer.get_ref().len() >= BUFFER_BYTES {
                    whole.send(writer.get_mut()).map_err(about)?;
                }
                true
            }
            Kind::File(writer, whole) => match writer.write(batch) {
                Ok(()) => {
                    whole.ends.push(writer.get_ref().len());
                    if writer.get_ref().len() >= BUFFER_BYTES {
                        whole.send(writer.get_mut()).map_err(about)?;
                    }
                    true
                }
                // The format has one dictionary for each column.
                Err(error) if error.to_string().contains("ictionary replacement") => false,
                Err(error) => return Err(error.into()),
            },
            Kind::Parquet { writer, journal, is_unfit } => {
                journal.write(batch)?;
                let written = guarded(|| {
                    writer.write(batch)?;
                    if writer.in_progress_size() >= ROW_GROUP_BYTES {
                        writer.flush()?;
                    }
                    Ok(())
                });
                *is_unfit = written.is_err();
                written.map_err(|error| unfit(&error, &self.name))?;
                true
            }
        };
        Ok(written)
    }

    /// Hands what there is to the system, so that it outlives this process.
    pub fn flush(&mut self) -> Outcome {
        let about = |error: io::Error| incomplete(error, &self.name);
        match &mut self.kind {
            Kind::Stream(writer, whole) => whole.send(writer.get_mut()).map_err(about)?,
            Kind::File(writer, whole) => whole.send(writer.get_mut()).map_err(about)?,
            Kind::Parquet { journal, .. } => return journal.flush(),
        }
        if self.sync
            && let Kind::Stream(_, whole) | Kind::File(_, whole) = &self.kind
        {
            whole.file.sync_data().map_err(about)?;
        }
        Ok(())
    }

    /// Makes the file whole, and gives it its name.
    pub fn finish(self) -> Outcome {
        let Self { kind, name, .. } = self;
        let about = |failure: Failure| failure.about(name.display());
        match kind {
            Kind::Stream(mut writer, mut whole) => {
                writer.finish()?;
                whole.send(writer.get_mut()).map_err(|error| incomplete(error, &name))?;
                whole.sync().map_err(|error| about(error.into()))
            }
            Kind::File(mut writer, mut whole) => {
                writer.finish()?;
                whole.send(writer.get_mut()).map_err(|error| incomplete(error, &name))?;
                whole.sync().map_err(|error| about(error.into()))?;
                fs::rename(with_suffix(&name, ".partial"), &name).map_err(|e| about(e.into()))
            }
            Kind::Parquet { mut journal, is_unfit: true, .. } => journal.flush(),
            Kind::Parquet { writer, journal, is_unfit: false } => {
                let file = writer.into_inner().map_err(|error| about(error.into()))?;
                file.sync_all().map_err(|error| about(error.into()))?;
                fs::rename(with_suffix(&name, ".partial"), &name).map_err(|e| about(e.into()))?;
                fs::remove_file(&journal.name).map_err(|error| about(error.into()))
            }
        }
    }
}

fn unfit(error: &ArrowError, name: &Path) -> Failure {
    failed(format!(
        "{}: cannot be written as Parquet ({error}); record it with --format stream",
        name.display()
    ))
}

fn incomplete(error: io::Error, name: &Path) -> Failure {
    failed(format!(
        "{}: {error}; not all that was consumed is in it, but what is there is whole",
        name.display()
    ))
}

fn create(path: &Path, force: bool) -> Outcome<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    let opened = if force {
        options.create(true).truncate(true).open(path)
    } else {
        options.create_new(true).open(path)
    };
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            failed(format!("{} exists already (--force replaces it)", path.display()))
        }
        _ => Failure::from(error).about(path.display()),
    })
}
