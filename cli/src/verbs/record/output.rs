//! The files of a recording, one after the other.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qadataswap::arrow_array::RecordBatch;
use qadataswap::arrow_schema::SchemaRef;

use super::sink::{Format, Sink, with_suffix};
use crate::failure::{Failure, Outcome, failed};
use crate::text;

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

    /// Whether the files can be had, before a message is consumed for them: a recording that ends in the middle,
    /// because one of them is there already, would lose the rest.
    pub fn check(&self) -> Outcome {
        if self.path.as_os_str() == "-" {
            return Err(Failure::Usage(
                "it writes to a file; 'qads tail -f --lossless --format arrow' writes a stream to standard output"
                    .to_owned(),
            ));
        }
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(failed(format!("{} is not a folder; make it first", folder.display())));
        }
        if self.path.is_dir() {
            return Err(failed(format!("{} is a folder; name a file in it", self.path.display())));
        }
        let mut found: Vec<PathBuf> = fs::read_dir(folder)
            .map_err(|error| Failure::from(error).about(folder.display()))?
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| name.to_str().is_some_and(|name| self.is_one_of_these(name)))
            .map(|name| self.path.with_file_name(name))
            .collect();
        found.sort();
        if self.force {
            let numbered = |found: &&PathBuf| found.as_path() != self.path;
            if let Some(last) = found.iter().rfind(numbered) {
                text::say(&format!(
                    "qads record: files of an earlier recording are there, up to {}; those that are not replaced stay",
                    text::tame(&last.display().to_string())
                ));
            }
            return Ok(());
        }
        if let Some(found) = found.first() {
            return Err(failed(format!(
                "{} exists already (--force replaces it)",
                found.display()
            )));
        }
        // One that may be made now may be made later.
        let probe = with_suffix(&self.name_of(1), ".partial");
        let made = File::create_new(&probe).and_then(|_| fs::remove_file(&probe));
        made.map_err(|error| Failure::from(error).about(probe.display()))
    }

    /// Whether a file of this name may be in the way of a recording.
    fn is_one_of_these(&self, name: &str) -> bool {
        let name =
            [".partial", ".journal"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let first = self.name_of(1);
        if first.file_name().is_some_and(|first| first == name) {
            return true;
        }
        let (stem, extension) = self.stem_and_extension();
        let number = name.strip_prefix(stem.as_ref()).and_then(|rest| rest.strip_prefix('-'));
        let number = number.and_then(|number| number.strip_suffix(extension.as_str()));
        number.is_some_and(|number| number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit()))
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
        let finished = sink.finish();
        // As it is there: Parquet gets its footer in the end, and a full disk has not all of it.
        if let Some(name) = self.files.last() {
            let found = fs::metadata(name).or_else(|_| fs::metadata(with_suffix(name, ".partial")));
            self.finished_bytes += found.map_or(0, |found| found.len());
        }
        finished
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
        let (stem, extension) = self.stem_and_extension();
        self.path.with_file_name(format!("{stem}-{number:06}{extension}"))
    }

    /// What comes before the number of a file, and after it.
    fn stem_and_extension(&self) -> (Cow<'_, str>, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = self.path.extension().map(|extension| extension.to_string_lossy());
        (stem, extension.map_or(String::new(), |extension| format!(".{extension}")))
    }
}
