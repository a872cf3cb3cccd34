//! The files of a recording, one after the other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qadataswap::arrow_array::RecordBatch;
use qadataswap::arrow_schema::SchemaRef;

use super::sink::{Format, Sink};
use crate::failure::{Outcome, failed};

/// When the next file begins.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    pub bytes: Option<u64>,
    pub time: Option<Duration>,
}

impl Rotation {
    fn is_wanted(&self) -> bool {
        self.bytes.is_some() || self.time.is_some()
    }
}

/// Where a recording goes.
pub struct Output {
    path: PathBuf,
    format: Format,
    rotation: Rotation,
    force: bool,
    sync: bool,
    open: Option<(Sink, Instant)>,
    files: Vec<PathBuf>,
    /// Bytes of files that are whole.
    finished_bytes: u64,
}

impl Output {
    pub fn new(path: &Path, format: Format, rotation: Rotation, force: bool, sync: bool) -> Self {
        Self {
            path: path.to_owned(),
            format,
            rotation,
            force,
            sync,
            open: None,
            files: Vec::new(),
            finished_bytes: 0,
        }
    }

    /// Whether the first file can be had, before a message is consumed for it.
    pub fn check(&self) -> Outcome {
        let first = self.name_of(1);
        if !self.force && first.exists() {
            return Err(failed(format!(
                "{} exists already (--force replaces it)",
                first.display()
            )));
        }
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(failed(format!("{} is not a folder; make it first", folder.display())));
        }
        Ok(())
    }

    /// Files so far, the open one included.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Bytes of all files so far.
    pub fn bytes(&self) -> u64 {
        self.finished_bytes + self.open.as_ref().map_or(0, |(sink, _)| sink.bytes())
    }

    /// Writes batches of a message.
    pub fn write(&mut self, schema: &SchemaRef, batches: &[RecordBatch]) -> Outcome {
        if self.open.as_ref().is_some_and(|(sink, _)| sink.schema() != schema) {
            self.finish()?;
        }
        for batch in batches {
            if !self.sink(schema)?.write(batch)? {
                self.finish()?;
                if !self.sink(schema)?.write(batch)? {
                    return Err(failed("a batch cannot be written in this format"));
                }
            }
        }
        // Also a message without batches makes a file with its schema.
        self.sink(schema).map(drop)
    }

    /// Hands what there is to the system.
    pub fn flush(&mut self) -> Outcome {
        self.open.as_mut().map_or(Ok(()), |(sink, _)| sink.flush())
    }

    /// Ends the file if it is large or old enough.
    pub fn rotate_if_due(&mut self) -> Outcome {
        let Some((sink, since)) = &self.open else { return Ok(()) };
        let large = self.rotation.bytes.is_some_and(|bytes| sink.bytes() >= bytes);
        let old = self.rotation.time.is_some_and(|time| since.elapsed() >= time);
        if large || old { self.finish() } else { Ok(()) }
    }

    /// Makes the open file whole.
    pub fn finish(&mut self) -> Outcome {
        let Some((sink, _)) = self.open.take() else { return Ok(()) };
        self.finished_bytes += sink.bytes();
        sink.finish()
    }

    fn sink(&mut self, schema: &SchemaRef) -> Outcome<&mut Sink> {
        if self.open.is_none() {
            let name = self.name_of(self.files.len() + 1);
            let sink = Sink::open(&name, self.format, schema, self.force, self.sync)?;
            self.files.push(name);
            self.open = Some((sink, Instant::now()));
        }
        let (sink, _) = self.open.as_mut().expect("just opened");
        Ok(sink)
    }

    /// The name of file `number`: the one asked for, unless there are to be several.
    fn name_of(&self, number: usize) -> PathBuf {
        if number == 1 && !self.rotation.is_wanted() {
            return self.path.clone();
        }
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = match self.path.extension() {
            Some(extension) => format!("{stem}-{number:06}.{}", extension.to_string_lossy()),
            None => format!("{stem}-{number:06}"),
        };
        self.path.with_file_name(name)
    }
}
