//! Every Arrow type comes back as it went in; what cannot is refused where it is written.

#[path = "arrow/generate.rs"]
mod generate;
#[path = "arrow/support.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float16Array, Float32Array, Float64Array, Int32Array,
    ListArray, RecordBatch, RunArray, StringArray, StringViewArray, make_array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, UnionMode};
use generate::{Nulls, all_types, array, batch, dictionary, item, map, nested_types, rows_only};
use support::{Decoded, assert_same, join, roundtrip};

fn check(what: &str, batch: RecordBatch) -> Decoded {
    let schema = batch.schema();
    let decoded = roundtrip(&schema, std::slice::from_ref(&batch))
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_same(what, &schema, &[batch], &decoded);
    decoded
}

fn refused(schema: &SchemaRef, batches: &[RecordBatch]) -> String {
    match roundtrip(schema, batches) {
        Ok(_) => panic!("{schema} was not refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_type_every_length_every_offset() {
    for data_type in all_types() {
        for rows in [0, 1, 7, 8, 9, 65] {
            for nulls in [Nulls::None, Nulls::Some, Nulls::All] {
                for offset in [0, 1, 8] {
                    let column = array(&data_type, rows + offset + 2, nulls).slice(offset, rows);
                    let what = format!("{data_type}, {rows} rows from {offset}, {nulls:?} null");
                    check(&what, batch(column));
                }
            }
        }
    }
}

/// Twice nested, for fewer shapes.
#[test]
fn nested_in_nested() {
    for inner in
        [DataType::Utf8View, dictionary(DataType::Int16, DataType::Utf8), DataType::Boolean]
    {
        for middle in nested_types(&inner) {
            for outer in nested_types(&middle) {
                for rows in [0, 9] {
                    let column = array(&outer, rows + 3, Nulls::Some).slice(1, rows);
                    check(&format!("{outer}, {rows} rows"), batch(column));
                }
            }
        }
    }
}

#[test]
fn all_types_in_one_batch() {
    let columns = all_types().into_iter().enumerate().map(|(index, data_type)| {
        (index.to_string(), array(&data_type, 20, Nulls::Some).slice(3, 9), true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("a batch");
    check("all types", batch);
}

#[test]
fn no_batches_and_several() {
    for data_type in all_types() {
        let what = data_type.to_string();
        let batches: Vec<_> = [4, 0, 9]
            .map(|rows| batch(array(&data_type, rows + 1, Nulls::Some).slice(1, rows)))
            .into();
        let schema = batches[0].schema();
        let decoded = roundtrip(&schema, &[]).expect(&what);
        assert_same(&what, &schema, &[], &decoded);
        assert_eq!(join(decoded).expect(&what).num_rows(), 0);
        let decoded = roundtrip(&schema, &batches).expect(&what);
        assert_same(&what, &schema, &batches, &decoded);
        let joined = join(decoded).expect(&what);
        assert_eq!(joined.num_rows(), 13, "{what}");
        assert_eq!(&joined.slice(0, 4), &batches[0], "{what}");
        assert_eq!(&joined.slice(4, 9), &batches[2], "{what}");
    }
}

#[test]
fn floats_keep_their_bits() {
    let bits = [0x7ff8_dead_beef_0001_u64, 0xfff0_0000_0000_0001, 1 << 63, 0];
    let doubles: Float64Array = bits.iter().map(|bits| Some(f64::from_bits(*bits))).collect();
    let decoded = check("f64", batch(Arc::new(doubles)));
    let column = decoded.batches[0].column(0).as_primitive::<Float64Type>().clone();
    assert_eq!(column.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);

    let bits = [0x7fc0_beef_u32, 0xff80_0001, 1 << 31];
    let floats: Float32Array = bits.iter().map(|bits| Some(f32::from_bits(*bits))).collect();
    let decoded = check("f32", batch(Arc::new(floats)));
    let column = decoded.batches[0].column(0).to_data();
    assert_eq!(column.buffers()[0].typed_data::<u32>(), bits);

    let bits = [0x7e01_u16, 0xfc01, 1 << 15];
    let halves: Float16Array = bits.iter().map(|bits| Some(half::f16::from_bits(*bits))).collect();
    let decoded = check("f16", batch(Arc::new(halves)));
    assert_eq!(decoded.batches[0].column(0).to_data().buffers()[0].typed_data::<u16>(), bits);
}

#[test]
fn view_buffers() {
    for data_type in [DataType::Utf8View, DataType::BinaryView] {
        for block in [0, 1, 1 << 20] {
            let column = generate::views(&data_type, 30, None, block);
            let buffers = column.to_data().buffers().len() - 1;
            assert_eq!(buffers == 0, block == 0);
            assert_eq!(buffers == 1, block > 1);
            for (offset, rows) in [(0, 30), (1, 0), (4, 9), (29, 1)] {
                let what = format!("{data_type} {block} {offset} {rows}");
                check(&what, batch(column.slice(offset, rows)));
                let list = DataType::List(item(data_type.clone()));
                let ends = OffsetBuffer::from_lengths([0, 3, 0, 27]);
                let list_array =
                    ListArray::new(item(data_type.clone()), ends, column.clone(), None);
                assert_eq!(list_array.data_type(), &list);
                check(&what, batch(Arc::new(list_array.slice(offset % 3, 2))));
            }
        }
    }
    // A million views of one string are more string than stream.
    let shared = StringViewArray::from_iter_values(std::iter::repeat_n("x".repeat(1000), 2));
    let indices = vec![0; 100_000];
    let views: Vec<u128> = indices.iter().map(|i| shared.views()[*i]).collect();
    let many = StringViewArray::new(views.into(), shared.data_buffers().to_vec(), None);
    check("shared views", batch(Arc::new(many)));
}

#[test]
fn null_lists_over_values_that_are_not_there() {
    let values = StringArray::from_iter_values((0..10).map(|i| "x".repeat(i)));
    let nulls = NullBuffer::from(vec![true, false, true, false]);
    let field = Arc::new(Field::new("item", DataType::Utf8, false));
    let ends = OffsetBuffer::new(vec![2, 4, 7, 7, 10].into());
    let lists = ListArray::new(field, ends, Arc::new(values), Some(nulls));
    for (offset, rows) in [(0, 4), (1, 2), (3, 1), (4, 0)] {
        check("null lists", batch(Arc::new(lists.slice(offset, rows))));
    }
}

#[test]
fn dictionaries() {
    // Null values, null keys, values nobody uses, an ordered one, in batches that share it or do not.
    let values: ArrayRef =
        Arc::new(StringArray::from(vec![Some("a"), None, Some("unused"), Some("d")]));
    let keys = |keys: Vec<Option<i32>>| Int32Array::from(keys);
    let one = DictionaryArray::new(keys(vec![Some(0), None, Some(1), Some(3)]), values.clone());
    let two = DictionaryArray::new(keys(vec![Some(3)]), values);
    let other: ArrayRef = Arc::new(StringArray::from(vec!["z"]));
    let three = DictionaryArray::new(keys(vec![Some(0), None]), other);
    let longer: ArrayRef = Arc::new(StringArray::from(vec!["z", "zz"]));
    let four = DictionaryArray::new(keys(vec![Some(1)]), longer);
    let field = Field::new("d", one.data_type().clone(), true).with_dict_is_ordered(true);
    let inner = Field::new("s", DataType::Struct(Fields::from(vec![field.clone()])), true);
    let schema = Arc::new(Schema::new(vec![field.clone(), inner]));
    let batches: Vec<_> = [one, two, three, four]
        .map(|column| {
            let column: ArrayRef = Arc::new(column);
            let inner = arrow_array::StructArray::new(
                vec![field.clone()].into(),
                vec![column.clone()],
                None,
            );
            RecordBatch::try_new(schema.clone(), vec![column, Arc::new(inner)]).expect("a batch")
        })
        .into();
    for batches in [&batches[..], &batches[..2], &batches[1..3], &batches[2..]] {
        let decoded = roundtrip(&schema, batches).expect("dictionaries");
        assert_same("dictionaries", &schema, batches, &decoded);
        let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!(join(decoded).expect("joined").num_rows(), rows);
    }
    // The same batch again is encoded with its dictionary again.
    let first = support::encode(&schema, &batches[..1]).expect("a stream");
    assert_eq!(first, support::encode(&schema, &batches[..1]).expect("a stream"));
}

#[test]
fn dictionaries_that_overflow_their_keys_when_joined() {
    let make = |from: usize| {
        let keys = arrow_array::UInt8Array::from_iter_values(0..200);
        let values = StringArray::from_iter_values((from..from + 200).map(|i| i.to_string()));
        batch(Arc::new(DictionaryArray::new(keys, Arc::new(values))))
    };
    let batches = [make(0), make(1000)];
    let decoded = roundtrip(&batches[0].schema(), &batches).expect("two dictionaries");
    assert_same("overflow", &batches[0].schema(), &batches, &decoded);
    let error = join(decoded).expect_err("400 values have no 8-bit keys");
    assert!(!error.to_string().contains("panic"), "{error}");
}

#[test]
fn run_ends_sliced_inside_a_run() {
    let ends = Int32Array::from(vec![3, 10, 11, 40]);
    let values = StringArray::from(vec![Some("a"), None, Some("c"), Some("d")]);
    let runs = RunArray::<Int32Type>::try_new(&ends, &values).expect("runs");
    for offset in 0..40 {
        for rows in [0, 1, 2, 40 - offset] {
            check("runs", batch(Arc::new(runs.slice(offset, rows.min(40 - offset)))));
        }
    }
}

#[test]
fn nesting() {
    let nested = |levels: usize| {
        let mut column = array(&DataType::Int8, 3, Nulls::Some);
        for _ in 0..levels {
            let ends = OffsetBuffer::from_lengths([column.len()]);
            let list = ListArray::new(item(column.data_type().clone()), ends, column, None);
            column = Arc::new(list);
        }
        batch(column)
    };
    for levels in [1, 30, 59, 60] {
        check(&format!("{levels} lists in one another"), nested(levels));
    }
    // The verifier of every Arrow reader stops at 64 tables in one another: message, schema, 61 fields, type.
    for levels in [61, 62, 63, 64, 100, 1000] {
        let batch = nested(levels);
        let error = refused(&batch.schema(), &[batch]);
        assert!(error.contains("nested deeper"), "{levels}: {error}");
    }
}

#[test]
fn no_columns() {
    for rows in [0, 1, 65, 1 << 20] {
        check("no columns", rows_only(rows));
    }
    let batches = [rows_only(3), rows_only(0), rows_only(5)];
    let decoded = roundtrip(&batches[0].schema(), &batches).expect("no columns");
    assert_same("no columns", &batches[0].schema(), &batches, &decoded);
    assert_eq!(join(decoded).expect("joined").num_rows(), 8);
    let error = refused(&rows_only(0).schema(), &[rows_only(1 << 40)]);
    assert!(error.contains("rows"), "{error}");
}

#[test]
fn many_columns_and_strange_names() {
    for rows in [0, 1, 9] {
        let column = array(&DataType::Utf8, rows, Nulls::Some);
        let fields: Vec<_> =
            (0..10_000).map(|i| Field::new(format!("column {i}"), DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema, vec![column; 10_000]).expect("a batch");
        check("10,000 columns", batch);
    }
    let fields: Vec<_> = (0..10_000).map(|_| Field::new("", DataType::Null, true)).collect();
    let columns = vec![array(&DataType::Null, 5, Nulls::None); 10_000];
    check(
        "10,000 columns without names",
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch"),
    );

    let columns = vec![array(&DataType::Int8, 3, Nulls::None); 5];
    let fields = ["", "same", "same", "\u{1F600}", "a\0b\n"]
        .map(|name| Field::new(name, DataType::Int8, false));
    check(
        "names",
        RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns).expect("a batch"),
    );
}

#[test]
fn many_dictionaries() {
    let data_type = dictionary(DataType::Int8, DataType::Utf8);
    let fields: Vec<_> =
        (0..2000).map(|i| Field::new(i.to_string(), data_type.clone(), true)).collect();
    let columns = vec![array(&data_type, 3, Nulls::Some); 2000];
    check(
        "2,000 dictionaries",
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch"),
    );
}

#[test]
fn metadata() {
    let pairs = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        pairs.collect::<HashMap<String, String>>()
    };
    let uuid = Field::new("id", DataType::FixedSizeBinary(16), false).with_metadata(pairs(&[
        ("ARROW:extension:name", "arrow.uuid"),
        ("ARROW:extension:metadata", ""),
    ]));
    let inner = Field::new("item", DataType::Utf8, false)
        .with_metadata(pairs(&[("", ""), ("k", "\u{fc}\0")]));
    let list = Field::new("l", DataType::List(Arc::new(inner)), true).with_metadata(pairs(&[
        ("ARROW:extension:name", "geoarrow.box"),
        ("ARROW:extension:metadata", "{\"crs\": 1}"),
    ]));
    let columns = [&uuid, &list].map(|field| {
        let nulls = if field.is_nullable() { Nulls::Some } else { Nulls::None };
        array(field.data_type(), 9, nulls)
    });
    let schema = Schema::new(vec![uuid, list])
        .with_metadata(pairs(&[("pandas", "{}"), ("big", &"x".repeat(100_000))]));
    let schema = Arc::new(schema);
    let batch = RecordBatch::try_new(schema.clone(), columns.to_vec()).expect("a batch");
    check("metadata", batch.clone());

    // A batch whose metadata the stream would lose is refused, by its number.
    let plain = Arc::new(schema.as_ref().clone().with_metadata(HashMap::new()));
    let other = batch.clone().with_schema(plain.clone());
    let other = other.unwrap_or_else(|_| {
        RecordBatch::try_new(plain, batch.columns().to_vec()).expect("a batch")
    });
    let error = refused(&schema, &[batch.clone(), other]);
    assert!(error.contains("batch 1") && error.contains("metadata"), "{error}");
    let fields = schema.project(&[1]).expect("a schema");
    let one =
        RecordBatch::try_new(Arc::new(fields), vec![batch.column(1).clone()]).expect("a batch");
    let error = refused(&schema, &[one]);
    assert!(error.contains("batch 0") && error.contains("1 fields instead of 2"), "{error}");
}

/// What arrow-rs itself cannot carry in a stream, and says so in words.
#[test]
fn refused_where_written() {
    let schema = |data_type| Arc::new(Schema::new(vec![Field::new("c", data_type, true)]));
    let empty_zone = DataType::Timestamp(TimeUnit::Second, Some("".into()));
    let twice = dictionary(DataType::Int8, dictionary(DataType::Int8, DataType::Utf8));
    let cases = [
        // Its empty time zone would come back as none.
        (empty_zone, "cannot carry"),
        // The format has one index type for each field.
        (twice.clone(), "dictionary of dictionaries"),
        (DataType::List(item(twice)), "dictionary of dictionaries"),
        // Types of which arrow-rs can make no array.
        (dictionary(DataType::Utf8, DataType::Utf8), "dictionary keys"),
        (DataType::FixedSizeBinary(-1), "negative"),
        (DataType::FixedSizeList(item(DataType::Int8), -7), "negative"),
        (DataType::Decimal128(77, 0), "precision"),
        (DataType::Decimal32(0, 0), "precision"),
        (generate::run_ends(DataType::UInt8, DataType::Int8), "run ends"),
        (DataType::Map(item(DataType::Int8), false), "map entries"),
    ];
    for (data_type, words) in cases {
        let error = refused(&schema(data_type.clone()), &[]);
        assert!(error.contains(words), "{data_type}: {error}");
    }

    // arrow-ipc 60.1 writes fewer view buffers than it announces for runs of views that are all sliced away.
    let runs = array(&generate::run_ends(DataType::Int32, DataType::Utf8View), 20, Nulls::None);
    let lists = ListArray::new(
        item(runs.data_type().clone()),
        OffsetBuffer::new(vec![0, 0, 20].into()),
        runs,
        None,
    );
    check("runs of views", batch(Arc::new(lists.clone())));
    let error =
        refused(&batch(Arc::new(lists.clone())).schema(), &[batch(Arc::new(lists.slice(0, 1)))]);
    assert!(error.contains("variadic") || error.contains("view"), "{error}");
}

/// Arrays that came in unvalidated may have nulls where their type says there are none. arrow-rs refuses
/// to read such arrays.
#[test]
fn nulls_where_there_must_be_none() {
    let required = |data_type| Arc::new(Field::new("x", data_type, false));
    let nothing = array(&DataType::Null, 3, Nulls::None).to_data();
    let some = array(&DataType::Int8, 3, Nulls::Some).to_data();
    let dictionary_type = dictionary(DataType::Int8, DataType::Int8);
    let values = array(&DataType::Int8, 3, Nulls::Some).to_data();
    let keys = Buffer::from_slice_ref([0_i8, 1, 2]);
    let hidden = arrow_data::ArrayData::builder(dictionary_type.clone());
    let hidden = hidden.len(3).add_buffer(keys).add_child_data(values).build().expect("keys");
    let in_struct = |data_type: DataType, child: arrow_data::ArrayData| {
        let data_type = DataType::Struct(vec![required(data_type)].into());
        // SAFETY: all but the nullability is right, which nothing relies on for memory safety.
        make_array(unsafe {
            arrow_data::ArrayData::builder(data_type).len(3).add_child_data(child).build_unchecked()
        })
    };
    let columns = [
        in_struct(DataType::Null, nothing),
        in_struct(DataType::Int8, some.clone()),
        in_struct(dictionary_type, hidden),
    ];
    for column in columns {
        let what = column.data_type().to_string();
        let batch = batch(column);
        let error = refused(&batch.schema(), &[batch]);
        assert!(error.contains("null"), "{what}: {error}");
    }
}

#[test]
fn fixed_size_lists_of_nothing() {
    for nullable in [true, false] {
        let field = Arc::new(Field::new("item", DataType::Null, nullable));
        for (size, rows) in [(0, 65), (5, 65)] {
            let data_type = DataType::FixedSizeList(field.clone(), size);
            for nulls in [Nulls::None, Nulls::Some, Nulls::All] {
                check("nothing", batch(array(&data_type, rows + 1, nulls).slice(1, rows)));
            }
        }
    }
    let none = make_array(array(&DataType::FixedSizeBinary(0), 9, Nulls::Some).to_data());
    assert_eq!(none.len(), 9);
    let empty = Buffer::from_slice_ref::<u8, _>([]);
    assert!(empty.is_empty());
    check(
        "sorted",
        batch(array(&map(DataType::Utf8, DataType::Int8, ["e", "k", "v"], true), 4, Nulls::Some)),
    );
    check(
        "union of one",
        batch(array(
            &generate::union(UnionMode::Sparse, vec![(127, DataType::Int8)]),
            4,
            Nulls::Some,
        )),
    );
}
