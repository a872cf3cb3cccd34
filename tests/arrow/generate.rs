//! Arrays of any Arrow type, with any number of rows and pattern of nulls.
#![allow(dead_code)]

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array, new_empty_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{
    DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit, UnionFields,
    UnionMode,
};

/// Which rows are null.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nulls {
    None,
    Some,
    All,
}

impl Nulls {
    fn buffer(self, rows: usize) -> Option<NullBuffer> {
        match self {
            Nulls::None => None,
            Nulls::Some => Some((0..rows).map(|row| row % 3 != 1).collect()),
            Nulls::All => Some(NullBuffer::new_null(rows)),
        }
    }
}

const WORDS: [&str; 7] = [
    "",
    "a",
    "twelve bytes",
    "thirteen byte",
    "naïve, 漢字 and a long tail of words",
    "NUL \0 inside",
    "another string that is not inlined",
];

fn build(
    data_type: &DataType,
    rows: usize,
    nulls: Option<NullBuffer>,
    buffers: Vec<Buffer>,
    children: Vec<ArrayData>,
) -> ArrayRef {
    let data = ArrayData::builder(data_type.clone())
        .len(rows)
        .nulls(nulls)
        .buffers(buffers)
        .child_data(children)
        .build();
    make_array(data.unwrap_or_else(|error| panic!("{data_type}: {error}")))
}

/// Zero, all ones, lowest and highest, and for floats -0 and a NaN with a payload, then a mixture.
fn fixed(width: usize, rows: usize) -> Buffer {
    let mut bytes = Vec::with_capacity(width * rows);
    for row in 0..rows {
        for byte in 0..width {
            bytes.push(match (row % 6, byte + 1 == width) {
                (0, _) => 0,
                (1, _) => 0xff,
                (2, true) => 0x80,
                (2, false) => 0,
                (3, true) => 0x7f,
                (3, false) => 0xff,
                _ => (row * 31 + byte * 7) as u8,
            });
        }
    }
    Buffer::from_slice_ref(bytes)
}

fn offsets(large: bool, lengths: impl Iterator<Item = usize>) -> (Buffer, usize) {
    let mut ends = vec![0];
    for length in lengths {
        ends.push(ends[ends.len() - 1] + length);
    }
    let last = ends[ends.len() - 1];
    (integers(if large { 8 } else { 4 }, ends.into_iter()), last)
}

fn integers(width: usize, values: impl Iterator<Item = usize>) -> Buffer {
    let bytes: Vec<u8> = values.flat_map(|v| v.to_le_bytes()[..width].to_vec()).collect();
    Buffer::from_slice_ref(bytes)
}

/// An array of `data_type` with `rows` rows.
pub fn array(data_type: &DataType, rows: usize, nulls: Nulls) -> ArrayRef {
    let child = |field: &Field, rows: usize| {
        let nulls = if field.is_nullable() { nulls } else { Nulls::None };
        array(field.data_type(), rows, nulls).to_data()
    };
    let valid = nulls.buffer(rows);
    match data_type {
        DataType::Null => build(data_type, rows, None, vec![], vec![]),
        DataType::Boolean => {
            let bits = BooleanBuffer::collect_bool(rows, |row| row % 5 < 2);
            build(data_type, rows, valid, vec![bits.into_inner()], vec![])
        }
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
            let large = matches!(data_type, DataType::LargeUtf8 | DataType::LargeBinary);
            let words = || (0..rows).map(|row| WORDS[row % WORDS.len()]);
            let (offsets, _) = offsets(large, words().map(str::len));
            let bytes = Buffer::from_slice_ref(words().collect::<String>().as_bytes());
            build(data_type, rows, valid, vec![offsets, bytes], vec![])
        }
        DataType::Utf8View | DataType::BinaryView => views(data_type, rows, valid, 40),
        DataType::FixedSizeBinary(width) => {
            let bytes = fixed(*width as usize, rows);
            build(data_type, rows, valid, vec![bytes], vec![])
        }
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            // Nulls stand over ranges that are not empty.
            let large = matches!(data_type, DataType::LargeList(_));
            let (offsets, last) = offsets(large, (0..rows).map(|row| row % 4));
            build(data_type, rows, valid, vec![offsets], vec![child(field, last)])
        }
        DataType::ListView(field) | DataType::LargeListView(field) => {
            let width = if matches!(data_type, DataType::ListView(_)) { 4 } else { 8 };
            let last = rows + 3;
            // Out of order and overlapping.
            let starts = integers(width, (0..rows).map(|row| (row * 7) % last));
            let sizes = (0..rows).map(|row| (row % 4).min(last - (row * 7) % last));
            let buffers = vec![starts, integers(width, sizes)];
            build(data_type, rows, valid, buffers, vec![child(field, last)])
        }
        DataType::FixedSizeList(field, size) => {
            let values = child(field, rows * *size as usize);
            build(data_type, rows, valid, vec![], vec![values])
        }
        DataType::Struct(fields) => {
            let children = fields.iter().map(|field| child(field, rows)).collect();
            build(data_type, rows, valid, vec![], children)
        }
        DataType::Union(fields, UnionMode::Sparse) => {
            let ids: Vec<i8> = fields.iter().map(|(id, _)| id).collect();
            let ids: Vec<i8> = (0..rows).map(|row| ids[row % ids.len()]).collect();
            let children = fields.iter().map(|(_, field)| child(field, rows)).collect();
            build(data_type, rows, None, vec![Buffer::from_slice_ref(ids)], children)
        }
        DataType::Union(fields, UnionMode::Dense) => {
            let ids: Vec<i8> = fields.iter().map(|(id, _)| id).collect();
            let starts: Vec<i32> = (0..rows).map(|row| (row / ids.len()) as i32).collect();
            let count = rows.div_ceil(ids.len().max(1));
            let ids: Vec<i8> = (0..rows).map(|row| ids[row % ids.len()]).collect();
            let buffers = vec![Buffer::from_slice_ref(ids), Buffer::from_slice_ref(starts)];
            let children = fields.iter().map(|(_, field)| child(field, count)).collect();
            build(data_type, rows, None, buffers, children)
        }
        DataType::Dictionary(keys, values) => {
            let width = keys.primitive_width().expect("an integer");
            // All keys null: nothing in the dictionary.
            let count = if nulls == Nulls::All || rows == 0 { 0 } else { 7 };
            let values = array(values, count, nulls).to_data();
            let keys = integers(width, (0..rows).map(|row| row * 5 % count.max(1)));
            build(data_type, rows, valid, vec![keys], vec![values])
        }
        DataType::RunEndEncoded(ends, values) => {
            let width = ends.data_type().primitive_width().expect("an integer");
            let mut runs = vec![];
            while runs.last().copied().unwrap_or(0) < rows {
                runs.push(runs.last().copied().unwrap_or(0) + runs.len() % 4 + 1);
            }
            let count = runs.len();
            let runs = integers(width, runs.into_iter());
            let ends = build(ends.data_type(), count, None, vec![runs], vec![]).to_data();
            build(data_type, rows, None, vec![], vec![ends, child(values, count)])
        }
        other => {
            let width = other.primitive_width().expect("a primitive type");
            build(data_type, rows, valid, vec![fixed(width, rows)], vec![])
        }
    }
}

/// An array of views, with as many data buffers as blocks of `block` bytes make (none if 0).
pub fn views(
    data_type: &DataType,
    rows: usize,
    valid: Option<NullBuffer>,
    block: usize,
) -> ArrayRef {
    let mut blocks: Vec<Vec<u8>> = vec![];
    let mut bytes = vec![];
    for row in 0..rows {
        let word = WORDS[row % if block == 0 { 3 } else { WORDS.len() }].as_bytes();
        bytes.extend((word.len() as u32).to_le_bytes());
        if word.len() <= 12 {
            bytes.extend(word);
            bytes.resize(16 * (row + 1), 0);
        } else {
            if blocks.last().is_none_or(|last| last.len() >= block) {
                blocks.push(vec![]);
            }
            let index = blocks.len() - 1;
            bytes.extend(&word[..4]);
            bytes.extend((index as u32).to_le_bytes());
            bytes.extend((blocks[index].len() as u32).to_le_bytes());
            blocks[index].extend(word);
        }
    }
    let mut buffers = vec![Buffer::from_slice_ref(bytes)];
    buffers.extend(blocks.into_iter().map(Buffer::from));
    build(data_type, rows, valid, buffers, vec![])
}

pub fn item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("item", data_type, true))
}

pub fn dictionary(keys: DataType, values: DataType) -> DataType {
    DataType::Dictionary(Box::new(keys), Box::new(values))
}

pub fn run_ends(ends: DataType, values: DataType) -> DataType {
    let ends = Arc::new(Field::new("run_ends", ends, false));
    DataType::RunEndEncoded(ends, Arc::new(Field::new("values", values, true)))
}

pub fn map(keys: DataType, values: DataType, names: [&str; 3], sorted: bool) -> DataType {
    let entries = DataType::Struct(Fields::from(vec![
        Field::new(names[1], keys, false),
        Field::new(names[2], values, true),
    ]));
    DataType::Map(Arc::new(Field::new(names[0], entries, false)), sorted)
}

pub fn union(mode: UnionMode, children: Vec<(i8, DataType)>) -> DataType {
    let (ids, types): (Vec<_>, Vec<_>) = children.into_iter().unzip();
    let fields = types.into_iter().enumerate();
    let fields = fields.map(|(i, data_type)| Field::new(format!("u{i}"), data_type, true));
    DataType::Union(UnionFields::try_new(ids, fields.collect::<Vec<_>>()).unwrap(), mode)
}

/// Every type that is not made of others.
pub fn flat_types() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Date32,
        Date64,
        Utf8,
        Binary,
        LargeUtf8,
        LargeBinary,
        Utf8View,
        BinaryView,
    ];
    types.extend([Decimal32(9, 2), Decimal64(18, -3), Decimal128(38, 10), Decimal256(76, -5)]);
    types.extend([Time32(TimeUnit::Second), Time32(TimeUnit::Millisecond)]);
    types.extend([Time64(TimeUnit::Microsecond), Time64(TimeUnit::Nanosecond)]);
    for unit in
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond]
    {
        types.push(Duration(unit));
        for zone in [None, Some("UTC"), Some("Europe/Zurich"), Some("+05:30")] {
            types.push(Timestamp(unit, zone.map(Into::into)));
        }
    }
    for unit in [IntervalUnit::YearMonth, IntervalUnit::DayTime, IntervalUnit::MonthDayNano] {
        types.push(Interval(unit));
    }
    types.extend([FixedSizeBinary(0), FixedSizeBinary(1), FixedSizeBinary(17)]);
    types
}

/// Types made of `inner`.
pub fn nested_types(inner: &DataType) -> Vec<DataType> {
    use DataType::*;
    let field = item(inner.clone());
    let pair = vec![(5, inner.clone()), (100, Int16), (0, Utf8)];
    let mut types = vec![
        List(field.clone()),
        LargeList(field.clone()),
        ListView(field.clone()),
        LargeListView(field.clone()),
        FixedSizeList(field.clone(), 3),
        FixedSizeList(field.clone(), 0),
        Struct(Fields::from(vec![
            Field::new("a", inner.clone(), true),
            Field::new("b", Int8, false),
        ])),
        map(Utf8, inner.clone(), ["entries", "key", "value"], false),
        union(UnionMode::Sparse, pair.clone()),
        union(UnionMode::Dense, pair),
    ];
    if *inner != Null {
        types.push(Struct(Fields::from(vec![Field::new("a", inner.clone(), false)])));
    }
    types
}

/// One or more types of every kind, among them nested ones.
pub fn all_types() -> Vec<DataType> {
    use DataType::*;
    let mut types = flat_types();
    types.push(Struct(Fields::empty()));
    for inner in [
        Null,
        Boolean,
        Int64,
        Decimal256(40, 3),
        Utf8,
        LargeBinary,
        Utf8View,
        FixedSizeBinary(3),
        List(item(Utf8)),
        ListView(item(Int32)),
        Struct(Fields::empty()),
        Struct(Fields::from(vec![Field::new("x", Utf8View, true), Field::new("y", Boolean, true)])),
        dictionary(Int8, Utf8),
        run_ends(Int32, Utf8),
        union(UnionMode::Dense, vec![(3, Int8), (7, Utf8)]),
        union(UnionMode::Sparse, vec![(3, Int8), (7, Boolean)]),
        map(Int32, Int32, ["entries", "key", "value"], false),
    ] {
        types.extend(nested_types(&inner));
    }
    types.push(map(Utf8, Utf8, ["entries", "key", "value"], true));
    types.push(map(Utf8, Int8, ["my entries", "", "the value"], false));
    types.push(map(dictionary(Int8, Utf8), Int8, ["entries", "key", "value"], false));
    for keys in [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64] {
        types.push(dictionary(keys, Utf8));
    }
    for values in [
        Null,
        Boolean,
        Decimal128(5, 1),
        Utf8View,
        FixedSizeBinary(2),
        List(item(Int8)),
        ListView(item(Int8)),
        List(item(dictionary(Int8, Utf8))),
        Struct(Fields::from(vec![Field::new("d", dictionary(Int16, Binary), true)])),
        union(UnionMode::Dense, vec![(3, Int8), (7, dictionary(Int8, Utf8))]),
        run_ends(Int16, Int64),
    ] {
        types.push(dictionary(Int32, values));
    }
    for ends in [Int16, Int32, Int64] {
        types.push(run_ends(ends.clone(), Int32));
        types.push(run_ends(ends, dictionary(Int8, Utf8)));
    }
    types.push(run_ends(Int32, Struct(Fields::from(vec![Field::new("x", Int8, true)]))));
    types.push(run_ends(Int32, List(item(Utf8View))));
    types
}

/// A batch of one column.
pub fn batch(column: ArrayRef) -> RecordBatch {
    let field = Field::new("c", column.data_type().clone(), true);
    let schema: SchemaRef = Arc::new(Schema::new(vec![field]));
    RecordBatch::try_new(schema, vec![column]).expect("a batch")
}

/// A batch without columns.
pub fn rows_only(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).expect("a batch")
}

pub fn empty(data_type: &DataType) -> ArrayRef {
    new_empty_array(data_type)
}
