//! A ring whose messages are read in place, and where the buffers of what was read are.
#![allow(dead_code)] // each test file uses a part of it

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_data::ArrayData;
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::SchemaRef;
use qadataswap::{
    Batches, QADataSwapError, Reader, ReaderOptions, Result, Writer, WriterOptions, create_reader,
};

use crate::support::RingName;

/// A ring of few slots, one of its readers, and another one that copies.
pub struct Ring {
    pub name: RingName,
    pub writer: Writer,
    pub reader: Reader,
    pub copying: Reader,
}

impl Ring {
    pub fn new(what: &str, slots: usize) -> Self {
        Self::with(what, &WriterOptions::new(slots), &ReaderOptions::new())
    }

    pub fn with(what: &str, writer: &WriterOptions, reader: &ReaderOptions) -> Self {
        let name = RingName::new(what);
        let writer = writer.create(name.name()).unwrap();
        let reader = reader.attach(name.name()).unwrap();
        let copying = create_reader(name.name()).unwrap();
        Self { name, writer, reader, copying }
    }

    /// Where this process has mapped the data segments for reading.
    pub fn mapped(&self) -> Vec<Range<usize>> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = self.name.data_path();
        let ours = maps.lines().filter(|line| {
            let file = line.split_whitespace().nth(5).unwrap_or_default();
            file == path && line.split(' ').nth(1) == Some("r--s")
        });
        ours.map(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let parse = |text| usize::from_str_radix(text, 16).unwrap();
            parse(start)..parse(end)
        })
        .collect()
    }

    /// Goes round the ring; how often a slot was passed over for that.
    pub fn skips_of_a_lap(&self) -> u64 {
        let before = self.writer.stats().lease_skips;
        for _ in 0..self.writer.slot_count() {
            self.writer.write(&[0xff; 64]).unwrap();
        }
        self.writer.stats().lease_skips - before
    }

    pub fn is_leased(&self) -> bool {
        self.skips_of_a_lap() > 0
    }

    /// Passes over what was not consumed.
    pub fn skip_all(&self) {
        while self.reader.skip().unwrap() {}
        while self.copying.skip().unwrap() {}
    }

    pub fn lease(&self) -> RecordBatch {
        self.reader.read_arrow_zero_copy(0).unwrap().expect("was published")
    }

    pub fn publish_number(&self, number: i64) -> RecordBatch {
        let batch = numbers(number);
        self.writer.write_arrow(&batch).unwrap();
        batch
    }
}

/// A batch that tells its number.
pub fn numbers(number: i64) -> RecordBatch {
    let column: Int64Array = (0..20).map(|row| Some(number + row)).collect();
    RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap()
}

pub fn number_of(batch: &RecordBatch) -> i64 {
    let number = batch.column(0).as_primitive::<arrow_array::types::Int64Type>().value(0);
    assert_eq!(*batch, numbers(number));
    number
}

/// Where the buffers of an array are, those of its children included.
pub fn buffers(data: &ArrayData, found: &mut Vec<Range<usize>>) {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    for buffer in data.buffers().iter().chain(nulls) {
        let start = buffer.as_ptr() as usize;
        found.push(start..start + buffer.len());
    }
    data.child_data().iter().for_each(|child| buffers(child, found));
}

/// Asserts that nothing of these batches is anywhere but in the ring; how many buffers they have.
#[track_caller]
pub fn assert_in_ring(what: &str, ring: &Ring, batches: &[RecordBatch]) -> usize {
    let mut found = vec![];
    for column in batches.iter().flat_map(RecordBatch::columns) {
        buffers(&column.to_data(), &mut found);
    }
    let mapped = ring.mapped();
    for buffer in found.iter().filter(|buffer| !buffer.is_empty()) {
        let within =
            |mapping: &Range<usize>| mapping.start <= buffer.start && buffer.end <= mapping.end;
        assert!(mapped.iter().any(within), "{what}: {buffer:x?} is not in {mapped:x?}");
    }
    found.iter().filter(|buffer| !buffer.is_empty()).count()
}

/// What another writer makes of these batches.
pub fn foreign(schema: &SchemaRef, batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = StreamWriter::try_new_with_options(vec![], schema, options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

pub fn aligned_to(alignment: usize) -> IpcWriteOptions {
    IpcWriteOptions::try_new(alignment, false, MetadataVersion::V5).unwrap()
}

#[track_caller]
pub fn arrow_error<T: std::fmt::Debug>(what: &str, result: Result<T>) -> String {
    match result {
        Err(QADataSwapError::ArrowError(error)) => error.to_string(),
        other => panic!("{what}: {other:?}"),
    }
}

/// Asserts that what came back is what went in, and valid.
#[track_caller]
pub fn assert_same(what: &str, schema: &SchemaRef, batches: &[RecordBatch], found: &Batches) {
    assert_eq!((schema, batches.len()), (&found.schema, found.batches.len()), "{what}");
    for (expected, found) in batches.iter().zip(&found.batches) {
        assert_eq!(schema, &found.schema(), "{what}");
        assert_eq!(expected, found, "{what}");
        found.columns().iter().for_each(|column| column.to_data().validate_full().expect(what));
    }
}
