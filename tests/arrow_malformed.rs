//! Whatever the bytes are, reading them gives batches or an error: no panic, no memory out of proportion.

#[path = "arrow/generate.rs"]
mod generate;
#[path = "arrow/support.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Arc, Once};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Fields, Schema};
use generate::{Nulls, all_types, array, batch, dictionary, item, rows_only, union};
use support::{decode, encode, join};

/// Counts what this thread has allocated.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let now = NOW.get() + change;
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

// SAFETY: every call goes to the system allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sees panics that are caught further up, too.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}

/// Reads `bytes` and uses what came out, if anything; says whether something did.
fn survive(what: &dyn Fn() -> String, bytes: &[u8]) -> bool {
    count_panics();
    let before = NOW.get();
    PEAK.set(before);
    let decoded = decode(bytes);
    let accepted = decoded.is_ok();
    if let Ok(decoded) = decoded {
        for batch in &decoded.batches {
            assert!(*batch == batch.clone(), "{}", what());
            assert!(!(*batch != batch.slice(0, batch.num_rows())), "{}", what());
            let half = batch.slice(batch.num_rows() / 2, batch.num_rows().div_ceil(2));
            assert!(half == half.clone(), "{}", what());
            for column in batch.columns() {
                column.to_data().validate_full().expect("valid arrays");
                let _ = column.logical_null_count();
            }
        }
        let _ = join(decoded);
    }
    let peak = (PEAK.get() - before) as usize;
    let allowed = bytes.len() * 16 + (24 << 20);
    assert!(peak < allowed, "{}: {peak} bytes allocated for {}", what(), bytes.len());
    assert_eq!(PANICS.get(), 0, "{}", what());
    accepted
}

/// Asserts that `bytes` are refused for this reason, at no cost.
fn refused_because(reason: &str, bytes: &[u8]) {
    assert!(!survive(&|| reason.to_string(), bytes), "{reason}");
    let error = decode(bytes).expect_err("an error").to_string();
    assert!(error.contains(reason), "{reason}: {error}");
}

/// Of the exhaustive tests, debug builds do a part.
const EVERY: usize = if cfg!(debug_assertions) { 8 } else { 1 };

/// A small stream of each type, with several batches, dictionaries and nulls.
fn streams() -> Vec<(String, Vec<u8>)> {
    let mut streams = vec![];
    for data_type in all_types() {
        let batches =
            [3, 2].map(|rows| batch(array(&data_type, rows + 1, Nulls::Some).slice(1, rows)));
        let bytes = encode(&batches[0].schema(), &batches[..]).expect("a stream");
        streams.push((data_type.to_string(), bytes));
    }
    let columns = [
        ("a", array(&dictionary(DataType::Int8, DataType::Utf8), 4, Nulls::Some)),
        ("b", array(&DataType::Utf8View, 4, Nulls::Some)),
        ("c", array(&DataType::Int64, 4, Nulls::None)),
    ];
    let mixed = RecordBatch::try_from_iter(columns).expect("a batch");
    let schema =
        mixed.schema().as_ref().clone().with_metadata([("k".to_string(), "v".to_string())]);
    let mixed = RecordBatch::try_new(Arc::new(schema), mixed.columns().to_vec()).expect("a batch");
    streams.push(("mixed".to_string(), encode(&mixed.schema(), &[mixed]).expect("a stream")));
    streams.push((
        "rows".to_string(),
        encode(&rows_only(0).schema(), &[rows_only(9)]).expect("a stream"),
    ));
    streams
}

/// Where the messages' metadata is.
fn metadata(stream: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = vec![];
    let mut position = 0;
    while position + 8 < stream.len() {
        let length =
            u32::from_le_bytes(stream[position + 4..position + 8].try_into().expect("4 bytes"));
        let range = position + 8..position + 8 + length as usize;
        let message = arrow_ipc::root_as_message(&stream[range.clone()]).expect("a message");
        position = range.end + message.bodyLength() as usize;
        found.push(range);
    }
    found
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn fuzzed_files() {
    let Some(folder) = support::data("arrow-fuzz") else {
        return;
    };
    let files = support::files(folder);
    assert!(!files.is_empty());
    let accepted =
        files.iter().filter(|(path, bytes)| survive(&|| path.display().to_string(), bytes));
    println!("{} of {} files accepted", accepted.count(), files.len());
}

#[test]
fn truncated_anywhere() {
    for (what, stream) in streams() {
        let ends: Vec<_> = std::iter::once(stream.len() - 8).collect();
        let mut boundaries: Vec<usize> =
            metadata(&stream).iter().skip(1).map(|range| range.start - 8).collect();
        boundaries.extend(ends);
        for length in 0..stream.len() {
            let accepted = survive(&|| format!("{what} cut to {length}"), &stream[..length]);
            // A stream may end without a marker, but only between two messages.
            assert_eq!(accepted, boundaries.contains(&length), "{what} cut to {length}");
        }
        let mut longer = stream.clone();
        longer.push(0);
        assert!(!survive(&|| format!("{what} and a byte"), &longer), "{what}");
    }
}

#[test]
fn every_bit_flipped() {
    for (what, stream) in streams().into_iter().step_by(EVERY) {
        let mut stream = stream;
        for bit in (0..stream.len() * 8).step_by(if EVERY == 1 { 1 } else { 5 }) {
            stream[bit / 8] ^= 1 << (bit % 8);
            survive(&|| format!("{what}, bit {bit}"), &stream);
            stream[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn interesting_values_in_metadata() {
    for (what, stream) in streams().into_iter().step_by(EVERY) {
        for range in metadata(&stream) {
            for width in [2, 4, 8] {
                for start in (range.start - 8..range.end).step_by(width) {
                    let mut values: Vec<[u8; 8]> = vec![[0; 8], [0xff; 8], [0x80; 8], [0x7f; 8]];
                    values.push(i64::MAX.to_le_bytes());
                    values.push((1_u64 << (width * 8 - 1)).to_le_bytes());
                    values.push(((1_u64 << (width * 8 - 1)) - 1).to_le_bytes());
                    values.extend(
                        [1_u64, 2, 7, 8, 63, 64, 65, 1 << 24, 1 << 31, 1 << 60]
                            .map(u64::to_le_bytes),
                    );
                    for value in values {
                        if stream[start..start + width] == value[..width] {
                            continue;
                        }
                        let mut changed = stream.clone();
                        changed[start..start + width].copy_from_slice(&value[..width]);
                        survive(&|| format!("{what}, {value:?} at {start}"), &changed);
                    }
                }
            }
        }
    }
}

#[test]
fn random_changes() {
    let streams = streams();
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    for round in 0..60_000 {
        let (what, stream) = &streams[random.below(streams.len())];
        let mut changed = stream.clone();
        let ranges = metadata(stream);
        for _ in 0..1 + random.below(8) {
            let range = match random.below(3) {
                0 => 0..stream.len(),
                _ => ranges[random.below(ranges.len())].clone(),
            };
            let at = range.start + random.below(range.len());
            match random.below(4) {
                0 => changed[at] = random.below(256) as u8,
                1 => changed[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                2 => changed[at] = changed[at].wrapping_add(random.below(9) as u8).wrapping_sub(4),
                _ => {
                    // Another piece of the stream, for offsets that mean something.
                    let from = range.start + random.below(range.len());
                    let length = [2, 4, 8, 16][random.below(4)].min(stream.len() - from.max(at));
                    changed.copy_within(from..from + length, at);
                }
            }
        }
        survive(&|| format!("{what}, round {round}"), &changed);
    }
}

/// Messages of one stream after the schema of another.
#[test]
fn mixed_up_messages() {
    let streams = streams();
    let mut random = Random(0xfeed);
    for round in 0..20_000 {
        let (what, one) = &streams[random.below(streams.len())];
        let (other_what, other) = &streams[random.below(streams.len())];
        let first = metadata(one).get(1).map_or(one.len() - 8, |range| range.start - 8);
        let second = metadata(other).get(1).map_or(other.len() - 8, |range| range.start - 8);
        let mut bytes = one[..first].to_vec();
        bytes.extend(&other[second..]);
        survive(&|| format!("{what} with {other_what}, round {round}"), &bytes);
    }
}

/// Adds a batch (or dictionary batch) message to `stream`.
fn push_batch(
    stream: &mut Vec<u8>,
    rows: i64,
    nodes: &[(i64, i64)],
    buffers: &[&[u8]],
    dictionary: Option<(i64, bool)>,
) {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let mut body = vec![];
    let mut places = vec![];
    for buffer in buffers {
        places.push(arrow_ipc::Buffer::new(body.len() as i64, buffer.len() as i64));
        body.extend_from_slice(buffer);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let nodes: Vec<_> =
        nodes.iter().map(|(rows, nulls)| arrow_ipc::FieldNode::new(*rows, *nulls)).collect();
    let nodes = builder.create_vector(&nodes);
    let places = builder.create_vector(&places);
    let mut batch = arrow_ipc::RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(places);
    let batch = batch.finish();
    let (kind, header) = match dictionary {
        None => (arrow_ipc::MessageHeader::RecordBatch, batch.as_union_value()),
        Some((id, delta)) => {
            let mut dictionary = arrow_ipc::DictionaryBatchBuilder::new(&mut builder);
            dictionary.add_id(id);
            dictionary.add_data(batch);
            dictionary.add_isDelta(delta);
            (arrow_ipc::MessageHeader::DictionaryBatch, dictionary.finish().as_union_value())
        }
    };
    push_message(stream, builder, kind, header, &body);
}

fn push_message(
    stream: &mut Vec<u8>,
    mut builder: flatbuffers::FlatBufferBuilder<'_>,
    kind: arrow_ipc::MessageHeader,
    header: flatbuffers::WIPOffset<flatbuffers::UnionWIPOffset>,
    body: &[u8],
) {
    let mut message = arrow_ipc::MessageBuilder::new(&mut builder);
    message.add_version(arrow_ipc::MetadataVersion::V5);
    message.add_header_type(kind);
    message.add_header(header);
    message.add_bodyLength(body.len() as i64);
    let message = message.finish();
    builder.finish(message, None);
    let metadata = builder.finished_data();
    let padded = metadata.len().next_multiple_of(8);
    stream.extend([0xff; 4]);
    stream.extend((padded as u32).to_le_bytes());
    stream.extend(metadata);
    stream.resize(stream.len() + padded - metadata.len(), 0);
    stream.extend(body);
}

/// The schema message for one column.
fn schema_message(data_type: &DataType, nullable: bool) -> Vec<u8> {
    let schema = Arc::new(Schema::new(vec![Field::new("c", data_type.clone(), nullable)]));
    let mut bytes = encode(&schema, &[]).expect("a stream");
    bytes.truncate(bytes.len() - 8);
    bytes
}

#[test]
fn lengths_that_no_buffer_bounds() {
    for rows in [-1, 1 << 26, 1 << 31, 1 << 40, 1 << 60, i64::MAX] {
        let what = |what: &str| format!("{what} with {rows} rows");
        let one = |data_type: DataType, nodes: &[(i64, i64)], buffers: &[&[u8]]| {
            let mut stream = schema_message(&data_type, true);
            push_batch(&mut stream, rows, nodes, buffers, None);
            push_batch(&mut stream, rows, nodes, buffers, None);
            survive(&|| what(&data_type.to_string()), &stream);
            // Inside a struct that must not be null readers look at every row.
            let inner = Field::new("x", data_type, false);
            let outer = DataType::Struct(vec![inner].into());
            let mut stream = schema_message(&outer, true);
            let nodes: Vec<_> = [(rows, 0)].iter().chain(nodes).copied().collect();
            let buffers: Vec<&[u8]> = [&[][..]].iter().chain(buffers).copied().collect();
            push_batch(&mut stream, rows, &nodes, &buffers, None);
            push_batch(&mut stream, rows, &nodes, &buffers, None);
            survive(&|| what(&outer.to_string()), &stream);
        };
        let mut stream = encode(&rows_only(0).schema(), &[]).expect("a stream");
        stream.truncate(stream.len() - 8);
        for _ in 0..100 {
            push_batch(&mut stream, rows, &[], &[], None);
        }
        survive(&|| what("no columns"), &stream);
        one(DataType::Null, &[(rows, rows)], &[]);
        one(DataType::FixedSizeBinary(0), &[(rows, 0)], &[&[], &[]]);
        one(
            DataType::FixedSizeList(item(DataType::Int8), 0),
            &[(rows, 0), (0, 0)],
            &[&[], &[], &[]],
        );
        one(
            DataType::FixedSizeList(item(DataType::Null), i32::MAX),
            &[(rows, 0), (rows, rows)],
            &[&[]],
        );
        one(DataType::Struct(Fields::empty()), &[(rows, 0)], &[&[]]);
        let ends = i64::MAX.to_le_bytes();
        let nodes = [(rows, 0), (1, 0), (1, 1)];
        one(generate::run_ends(DataType::Int64, DataType::Int8), &nodes, &[&[], &ends, &[0], &[0]]);
        let ends = [0_i32.to_le_bytes(), i32::MAX.to_le_bytes()].concat();
        let mut stream = schema_message(&DataType::List(item(DataType::Null)), true);
        for _ in 0..3 {
            push_batch(&mut stream, 1, &[(1, 0), (rows, rows)], &[&[], &ends], None);
        }
        survive(&|| what("list of null"), &stream);
        // Many children, each with its rows.
        let children: Vec<_> = (0..120).map(|id| (id, DataType::Null)).collect();
        let many = union(arrow_schema::UnionMode::Dense, children);
        let nodes: Vec<_> = [(1, 0)].into_iter().chain([(rows, rows); 120]).collect();
        let outer = DataType::Struct(vec![Field::new("x", many, false)].into());
        let mut stream = schema_message(&outer, true);
        let nodes: Vec<_> = [(1, 0)].into_iter().chain(nodes).collect();
        push_batch(&mut stream, 1, &nodes, &[&[], &[0], &[0; 4]], None);
        survive(&|| what("union"), &stream);
    }
}

#[test]
fn buffers_that_overlap() {
    // Misaligned, so that each would be copied.
    let body = vec![0; 1 << 16];
    let fields: Vec<_> =
        (0..2000).map(|i| Field::new(i.to_string(), DataType::Int64, true)).collect();
    let mut stream = encode(&Arc::new(Schema::new(fields)), &[]).expect("a stream");
    stream.truncate(stream.len() - 8);
    let rows = 8000_i64;
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let nodes = builder.create_vector(&vec![arrow_ipc::FieldNode::new(rows, 0); 2000]);
    let pair = [arrow_ipc::Buffer::new(0, 0), arrow_ipc::Buffer::new(1, rows * 8)];
    let places = builder.create_vector(&pair.repeat(2000));
    let mut batch = arrow_ipc::RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(places);
    let batch = batch.finish();
    push_message(
        &mut stream,
        builder,
        arrow_ipc::MessageHeader::RecordBatch,
        batch.as_union_value(),
        &body,
    );
    refused_because("overlap", &stream);
}

#[test]
fn delta_dictionaries() {
    let utf8 = dictionary(DataType::Int32, DataType::Binary);
    let dictionary_of = |stream: &mut Vec<u8>, bytes: usize, delta| {
        let ends = [0_i32.to_le_bytes(), (bytes as i32).to_le_bytes()].concat();
        push_batch(stream, 1, &[(1, 0)], &[&[], &ends, &vec![b'x'; bytes]], Some((0, delta)));
    };
    // Three values from two messages.
    let mut stream = schema_message(&utf8, true);
    dictionary_of(&mut stream, 3, false);
    dictionary_of(&mut stream, 2, true);
    push_batch(&mut stream, 2, &[(2, 0)], &[&[], &[0, 0, 0, 0, 1, 0, 0, 0]], None);
    let decoded = decode(&stream).expect("a delta dictionary");
    let values: &dyn Array = decoded.batches[0].column(0).as_ref();
    assert_eq!(values.to_data().child_data()[0].len(), 2);

    let mut early = schema_message(&utf8, true);
    dictionary_of(&mut early, 3, true);
    refused_because("extended before", &early);

    // Each batch would hold its own copy of a growing dictionary.
    let mut stream = schema_message(&utf8, true);
    dictionary_of(&mut stream, 1 << 18, false);
    for _ in 0..1000 {
        dictionary_of(&mut stream, 1, true);
        push_batch(&mut stream, 1, &[(1, 0)], &[&[], &[0; 4]], None);
    }
    refused_because("dictionary copies", &stream);

    // The same through a dictionary inside.
    let nested = dictionary(
        DataType::Int32,
        DataType::List(item(dictionary(DataType::Int32, DataType::Binary))),
    );
    let mut stream = schema_message(&nested, true);
    dictionary_of(&mut stream, 1 << 18, false);
    for round in 0..1000 {
        let ends = [0_i32.to_le_bytes(), 1_i32.to_le_bytes()].concat();
        push_batch(
            &mut stream,
            1,
            &[(1, 0), (1, 0)],
            &[&[], &ends, &[], &[0; 4]],
            Some((1, round > 0)),
        );
        push_batch(&mut stream, 1, &[(1, 0)], &[&[], &[0; 4]], None);
    }
    refused_because("dictionary copies", &stream);
}

#[test]
fn views_of_the_same_bytes() {
    // Every view is a megabyte, the same one.
    let text = vec![b'x'; 1 << 20];
    let view = [&(1_u32 << 20).to_le_bytes()[..], b"xxxx", &[0; 8]].concat();
    let views = view.repeat(1 << 14);
    let columns: Vec<(&str, ArrayRef)> = vec![("c", array(&DataType::Utf8View, 0, Nulls::None))];
    let schema = RecordBatch::try_from_iter(columns).expect("a batch").schema();
    let mut stream = encode(&schema, &[]).expect("a stream");
    stream.truncate(stream.len() - 8);
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let counts = builder.create_vector(&[1_i64]);
    let rows = 1 << 14;
    let nodes = builder.create_vector(&[arrow_ipc::FieldNode::new(rows, 0)]);
    let sizes = [0, views.len() as i64, text.len() as i64];
    let starts = [0, 0, views.len() as i64];
    let places: Vec<_> = (0..3).map(|i| arrow_ipc::Buffer::new(starts[i], sizes[i])).collect();
    let places = builder.create_vector(&places);
    let mut batch = arrow_ipc::RecordBatchBuilder::new(&mut builder);
    batch.add_length(rows);
    batch.add_nodes(nodes);
    batch.add_buffers(places);
    batch.add_variadicBufferCounts(counts);
    let batch = batch.finish();
    let body = [views, text].concat();
    push_message(
        &mut stream,
        builder,
        arrow_ipc::MessageHeader::RecordBatch,
        batch.as_union_value(),
        &body,
    );
    refused_because("string bytes", &stream);
}

/// Few bytes that describe a huge schema: fields that share their children or their names.
#[test]
fn schemas_that_share_their_parts() {
    use arrow_ipc::{
        FieldBuilder, MessageHeader, NullBuilder, SchemaBuilder, Struct_Builder, Type,
    };
    // Two to the power of 15 fields, in 15 levels.
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let null = NullBuilder::new(&mut builder).finish().as_union_value();
    let mut field = {
        let mut field = FieldBuilder::new(&mut builder);
        field.add_type_type(Type::Null);
        field.add_type_(null);
        field.finish()
    };
    for _ in 0..15 {
        let children = builder.create_vector(&[field, field]);
        let type_ = Struct_Builder::new(&mut builder).finish().as_union_value();
        let mut next = FieldBuilder::new(&mut builder);
        next.add_type_type(Type::Struct_);
        next.add_type_(type_);
        next.add_children(children);
        field = next.finish();
    }
    let fields = builder.create_vector(&[field]);
    let mut schema = SchemaBuilder::new(&mut builder);
    schema.add_fields(fields);
    let schema = schema.finish();
    let mut stream = vec![];
    push_message(&mut stream, builder, MessageHeader::Schema, schema.as_union_value(), &[]);
    refused_because("Too many tables", &stream);

    // A long name, a thousand times.
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let name = builder.create_string(&"n".repeat(1 << 16));
    let fields: Vec<_> = (0..1000)
        .map(|_| {
            let null = NullBuilder::new(&mut builder).finish().as_union_value();
            let mut field = FieldBuilder::new(&mut builder);
            field.add_name(name);
            field.add_type_type(Type::Null);
            field.add_type_(null);
            field.finish()
        })
        .collect();
    let fields = builder.create_vector(&fields);
    let mut schema = SchemaBuilder::new(&mut builder);
    schema.add_fields(fields);
    let schema = schema.finish();
    let mut stream = vec![];
    push_message(&mut stream, builder, MessageHeader::Schema, schema.as_union_value(), &[]);
    refused_because("Apparent size", &stream);
}

#[test]
fn no_stream_at_all() {
    for bytes in
        [&[][..], &[0], &[0; 4], &[0xff; 4], &[0xff; 8], &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]]
    {
        assert!(!survive(&|| format!("{bytes:?}"), bytes));
    }
    let mut bytes = [0xff; 64];
    bytes[4..8].copy_from_slice(&i32::MAX.to_le_bytes());
    refused_because("metadata", &bytes);
}
