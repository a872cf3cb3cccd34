//! Batches on standard output: tables, JSON lines, CSV, an Arrow IPC stream; and bytes as hex.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::Arc;

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::pretty::pretty_format_batches;
use arrow_ipc::writer::StreamWriter;
use qadataswap::Batches;
use qadataswap::arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use qadataswap::arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use serde::Serialize;

use crate::failure::{Failure, Outcome, failed};
use crate::text::{self, Look, painted};
use crate::verbs::messages::Arrived;
use crate::verbs::rings::Content;

/// How batches are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables for people, with the schema; bytes in hex
    Table,
    /// A JSON object per row
    Json,
    /// CSV, with a line of names whenever the schema changes
    Csv,
    /// An Arrow IPC stream
    Arrow,
}

/// Bytes of a message that the hex view shows, and characters of a cell that a table does, unless told otherwise.
pub const SHOWN: usize = 512;

/// A value for programs, on lines of its own.
pub fn write_json(out: &mut dyn Write, value: &impl Serialize) -> Outcome {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(out.write_all(&escaped_json(text, io::stdout().is_terminal()))?)
}

/// JSON as a terminal may get it. It escapes most control characters by itself; those that it does not are within
/// strings, where it may.
fn escaped_json(text: Vec<u8>, on_terminal: bool) -> Vec<u8> {
    if !on_terminal {
        return text;
    }
    let escape = |c: char| format!("\\u{:04x}", u32::from(c));
    text::escaped_by(&String::from_utf8_lossy(&text), &['\n'], escape).into_bytes()
}

/// A batch as it is shown to people: strings of so many characters at most, without what moves the cursor.
fn readable(batch: &RecordBatch, most: usize) -> Result<RecordBatch, ArrowError> {
    let options = FormatOptions::new().with_null("null").with_display_error(true);
    let schema = batch.schema();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let values = ArrayFormatter::try_new(column, &options)?;
        let cells = (0..batch.num_rows())
            .map(|row| text::escaped(&shortened(values.value(row).to_string(), most)));
        columns.push(Arc::new(StringArray::from_iter_values(cells)));
        fields.push(Field::new(text::escaped(field.name()), DataType::Utf8, false));
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)
}

/// Which column cannot be written as JSON (unions have none).
fn unfit_for_json(batch: &RecordBatch, error: ArrowError) -> Failure {
    let is_unfit = |column: &usize| {
        let alone = batch.project(&[*column]);
        alone.is_ok_and(|batch| {
            arrow_json::LineDelimitedWriter::new(Vec::new()).write(&batch).is_err()
        })
    };
    let Some(column) = (0..batch.num_columns()).find(is_unfit) else { return error.into() };
    let schema = batch.schema();
    let field = schema.field(column);
    failed(format!(
        "column '{}' is {}, which cannot be written as JSON; use --format table, or choose others with --columns",
        text::tame(field.name()),
        field.data_type()
    ))
}

/// The beginning of a text that is too long for a table, and how much more there is.
fn shortened(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        let more = text::grouped(text[end..].chars().count() as u64);
        text.truncate(end);
        text += &format!("... {more} more (--bytes)");
    }
    text
}

/// Where batches go.
pub struct Printer {
    format: Format,
    out: BufWriter<Stdout>,
    schema: Option<SchemaRef>,
    stream: Option<StreamWriter<Vec<u8>>>,
    most: usize,
    colours: bool,
    /// Its output is a terminal: what moves the cursor there is not to come from the ring.
    on_terminal: bool,
}

impl Printer {
    /// Fails if the format is not for where standard output goes.
    pub fn new(format: Format, most: usize) -> Outcome<Self> {
        let on_terminal = io::stdout().is_terminal();
        if on_terminal && format == Format::Arrow {
            return Err(Failure::Usage(
                "an Arrow stream is not for a terminal; send it to a file (> ticks.arrows) or a program".to_owned(),
            ));
        }
        let out = BufWriter::new(io::stdout());
        let colours = text::colours();
        Ok(Self { format, out, schema: None, stream: None, most, colours, on_terminal })
    }

    /// Prints a message. `change` says which of its rows and columns are wanted.
    pub fn print(
        &mut self,
        message: Arrived,
        change: impl Fn(&RecordBatch) -> Outcome<RecordBatch>,
    ) -> Outcome {
        let sequence = message.sequence();
        if self.format == Format::Table
            && let Arrived::Bytes { bytes, .. } = &message
        {
            // A condition may be on its number.
            let whole = bytes.clone();
            let batches = message.into_batches();
            let wanted = batches.batches.iter().map(&change).collect::<Outcome<Vec<_>>>()?;
            if wanted.iter().any(|batch| batch.num_rows() > 0) {
                self.print_hex(sequence, &whole)?;
            }
            return Ok(());
        }
        let Batches { schema, mut batches } = message.into_batches();
        if batches.is_empty() {
            // It has a schema, and that is to be told as those of others are: with the columns that are wanted.
            batches.push(RecordBatch::new_empty(schema));
        }
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum();
        let had: usize = rows(&batches);
        let wanted = batches.iter().map(&change).collect::<Outcome<Vec<_>>>()?;
        let schema = wanted[0].schema();
        match self.format {
            // Nothing in it is wanted.
            Format::Table if had > 0 && rows(&wanted) == 0 => Ok(()),
            Format::Table => self.print_table(sequence, schema, &wanted),
            Format::Json => self.print_json(&wanted),
            Format::Csv => self.print_csv(schema, &wanted),
            Format::Arrow => self.print_stream(schema, &wanted),
        }
    }

    /// Sends on what is buffered.
    pub fn flush(&mut self) -> Outcome {
        Ok(self.out.flush()?)
    }

    /// A failure if whoever read the output has gone, as is otherwise seen by writing alone.
    pub fn check_reader(&self) -> Outcome {
        let mut output = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
        // SAFETY: it is one pollfd, and outlives the call, which does not wait.
        let found = unsafe { libc::poll(&raw mut output, 1, 0) };
        let has_gone = found > 0 && output.revents & (libc::POLLERR | libc::POLLHUP) != 0;
        if has_gone { Err(Failure::NobodyListens) } else { Ok(()) }
    }

    /// Ends the output, where its format has an end.
    pub fn finish(mut self) -> Outcome {
        if let Some(stream) = self.stream.take() {
            self.out.write_all(&stream.into_inner()?)?;
        }
        self.flush()
    }

    fn is_new(&mut self, schema: &SchemaRef) -> bool {
        let is_new = self.schema.as_ref() != Some(schema);
        self.schema = Some(schema.clone());
        is_new
    }

    fn print_table(
        &mut self,
        sequence: u64,
        schema: SchemaRef,
        batches: &[RecordBatch],
    ) -> Outcome {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if self.is_new(&schema) {
            let line = Content::Arrow(schema.as_ref().clone()).line();
            writeln!(self.out, "{}", painted(&line, Look::Dim, self.colours))?;
        }
        let title =
            format!("message {}, {}", text::grouped(sequence), text::count(rows as u64, "row"));
        writeln!(self.out, "{}", painted(&title, Look::Bold, self.colours))?;
        if rows > 0 {
            let batches = batches.iter().map(|batch| readable(batch, self.most));
            let batches = batches.collect::<Result<Vec<_>, _>>()?;
            writeln!(self.out, "{}", pretty_format_batches(&batches)?)?;
        }
        Ok(())
    }

    fn print_json(&mut self, batches: &[RecordBatch]) -> Outcome {
        let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
        let mut text = Vec::new();
        let mut writer = builder.build::<_, arrow_json::writer::LineDelimited>(&mut text);
        for batch in batches {
            writer.write(batch).map_err(|error| unfit_for_json(batch, error))?;
        }
        writer.finish()?;
        Ok(self.out.write_all(&escaped_json(text, self.on_terminal))?)
    }

    fn print_csv(&mut self, schema: SchemaRef, batches: &[RecordBatch]) -> Outcome {
        let header = self.is_new(&schema);
        let nested = |field: &&FieldRef| field.data_type().is_nested();
        if let Some(field) = schema.fields().iter().find(nested) {
            let name = text::tame(field.name());
            return Err(failed(format!(
                "column '{name}' is {}, which CSV has no way to write; use --format json, or choose others with \
                 --columns",
                field.data_type()
            )));
        }
        let builder = arrow_csv::WriterBuilder::new().with_header(header);
        let mut text = Vec::new();
        let mut writer = builder.build(&mut text);
        for batch in batches {
            writer.write(batch)?;
        }
        drop(writer);
        if self.on_terminal {
            text = text::escaped(&String::from_utf8_lossy(&text)).into_bytes();
        }
        Ok(self.out.write_all(&text)?)
    }

    fn print_stream(&mut self, schema: SchemaRef, batches: &[RecordBatch]) -> Outcome {
        if self.is_new(&schema) && self.stream.is_some() {
            return Err(failed(
                "the schema has changed, and an Arrow stream has just one; use --format json",
            ));
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(StreamWriter::try_new(Vec::new(), &schema)?),
        };
        for batch in batches {
            stream.write(batch)?;
        }
        self.out.write_all(stream.get_ref())?;
        stream.get_mut().clear();
        Ok(())
    }

    /// As `hexdump -C` has it.
    fn print_hex(&mut self, sequence: u64, bytes: &[u8]) -> Outcome {
        let length = text::count(bytes.len() as u64, "byte");
        let title = format!("message {}, {length}", text::grouped(sequence));
        writeln!(self.out, "{}", painted(&title, Look::Bold, self.colours))?;
        let shown = &bytes[..bytes.len().min(self.most)];
        for (line, chunk) in shown.chunks(16).enumerate() {
            let mut hex = String::new();
            for at in 0..16 {
                let byte = chunk.get(at).map_or("  ".to_owned(), |byte| format!("{byte:02x}"));
                hex += &byte;
                hex += if at == 7 { "  " } else { " " };
            }
            let visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
            let text: String =
                chunk.iter().map(|byte| if visible(byte) { *byte as char } else { '.' }).collect();
            writeln!(self.out, "{:08x}  {hex} |{text}|", line * 16)?;
        }
        if shown.len() < bytes.len() {
            let more = format!("... {} more bytes (--bytes)", bytes.len() - shown.len());
            writeln!(self.out, "{}", painted(&more, Look::Dim, self.colours))?;
        }
        Ok(())
    }
}
