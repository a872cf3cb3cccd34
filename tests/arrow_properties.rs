//! Record batches of random types, nested in one another, with random rows, nulls and slices come back equal,
//! copied and in place, through a ring that they just fit into and through one that is a byte too small.
//!
//! What fails is kept, smallest first, in `arrow_properties.proptest-regressions` and tried again in every
//! run.

#[path = "arrow/generate.rs"]
mod generate;
#[path = "arrow/support.rs"]
mod support;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef, UnionMode};
use generate::{Nulls, array, flat_types, nested_types};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::FileFailurePersistence;
use qadataswap::{Batches, QADataSwapError, Reader, ReaderOptions, Writer, WriterOptions};
use rings::RingName;
use support::{assert_same, rings};

/// Any type, up to three deep.
fn data_type() -> impl Strategy<Value = DataType> {
    select(flat_types()).prop_recursive(3, 12, 3, |inner| {
        let keys = select(vec![DataType::Int8, DataType::Int32, DataType::UInt16, DataType::Int64]);
        let ends = select(vec![DataType::Int16, DataType::Int32, DataType::Int64]);
        let names = select(vec!["f", "", "naïve"]);
        let fields = prop::collection::vec((names, inner.clone(), any::<bool>()), 0..3);
        let union = (any::<bool>(), prop::collection::vec(inner.clone(), 1..3));
        prop_oneof![
            4 => (inner.clone(), any::<prop::sample::Index>())
                .prop_map(|(inner, which)| which.get(&nested_types(&inner)).clone()),
            1 => (keys, inner.clone()).prop_map(|(keys, values)| match values {
                // A stream cannot carry a dictionary of dictionaries.
                DataType::Dictionary(..) => values,
                _ => generate::dictionary(keys, values),
            }),
            1 => (ends, inner).prop_map(|(ends, values)| generate::run_ends(ends, values)),
            1 => fields.prop_map(|fields| {
                let field = |(name, data_type, nullable): (_, DataType, _)| {
                    Field::new(name, data_type.clone(), nullable || has_nulls(&data_type))
                };
                DataType::Struct(fields.into_iter().map(field).collect())
            }),
            1 => union.prop_map(|(dense, children)| {
                let mode = if dense { UnionMode::Dense } else { UnionMode::Sparse };
                generate::union(mode, (3..).zip(children).collect())
            }),
        ]
    })
}

/// Whether there is no array of this type without nulls.
fn has_nulls(data_type: &DataType) -> bool {
    data_type.to_string().contains("Null")
}

/// What one column of one batch is made from.
#[derive(Clone, Debug)]
struct Column {
    nulls: Nulls,
    /// Rows before it in the array of which it is a slice, and after it.
    around: (usize, usize),
    /// Rows that are null, where the type has nulls of its own.
    null_rows: Option<u64>,
}

fn column() -> impl Strategy<Value = Column> {
    let nulls = select(vec![Nulls::None, Nulls::Some, Nulls::All]);
    (nulls, (0usize..20, 0usize..3), prop::option::of(any::<u64>()))
        .prop_map(|(nulls, around, null_rows)| Column { nulls, around, null_rows })
}

impl Column {
    fn make(&self, field: &Field, rows: usize) -> ArrayRef {
        let (before, after) = self.around;
        let nulls = if field.is_nullable() { self.nulls } else { Nulls::None };
        let whole = array(field.data_type(), before + rows + after, nulls);
        let own_nulls = !matches!(
            field.data_type(),
            DataType::Null | DataType::Union(..) | DataType::RunEndEncoded(..)
        );
        let whole = match self.null_rows {
            Some(bits) if own_nulls && field.is_nullable() && nulls != Nulls::All => {
                let valid: NullBuffer =
                    (0..whole.len() as u32).map(|row| bits.rotate_left(row) & 1 == 1).collect();
                let data = whole.to_data().into_builder().nulls(Some(valid)).build();
                make_array(data.expect("the same with other nulls"))
            }
            _ => whole,
        };
        whole.slice(before, rows)
    }
}

/// A schema, and batches of it.
fn batches() -> impl Strategy<Value = (SchemaRef, Vec<RecordBatch>)> {
    let fields = prop::collection::vec((data_type(), prop::bool::weighted(0.8)), 0..4);
    fields.prop_flat_map(|fields| {
        let columns = prop::collection::vec(column(), fields.len());
        prop::collection::vec((0usize..40, columns), 0..4).prop_map(move |batches| {
            let field = |(index, (data_type, nullable)): (usize, &(DataType, bool))| {
                let nullable = *nullable || has_nulls(data_type);
                Field::new(format!("c{index}"), data_type.clone(), nullable)
            };
            let fields: Vec<_> = fields.iter().enumerate().map(field).collect();
            let schema = Arc::new(Schema::new(fields));
            let batch = |(rows, columns): (usize, Vec<Column>)| {
                let fields = schema.fields().iter().zip(columns);
                let columns = fields.map(|(field, column)| column.make(field, rows)).collect();
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                RecordBatch::try_new_with_options(schema.clone(), columns, &options).unwrap()
            };
            (schema.clone(), batches.into_iter().map(batch).collect())
        })
    })
}

/// A ring whose slots have so many bytes, with a reader of each kind.
struct Ring {
    writer: Writer,
    reader: Reader,
    copying: Reader,
    _name: RingName,
}

impl Ring {
    fn new(capacity: usize, rollover: bool) -> Self {
        let name = RingName::new("arrow-properties");
        let options = WriterOptions::new(2).slot_capacity(capacity).rollover(rollover);
        let writer = options.create(name.name()).unwrap();
        let [reader, copying] = [1, 2].map(|_| ReaderOptions::new().attach(name.name()).unwrap());
        Self { writer, reader, copying, _name: name }
    }

    /// The message that was published comes as `batches` in every way.
    fn check(&self, schema: &SchemaRef, batches: &[RecordBatch]) {
        let copy = self.copying.read_batches(0).unwrap().expect("just published");
        assert_same("copied", schema, batches, &copy);
        let shared = match (self.reader.read_arrow_zero_copy(0), batches) {
            (Ok(found), [_]) => {
                let batch = found.expect("just published");
                Batches { schema: batch.schema(), batches: vec![batch] }
            }
            (Ok(found), []) => {
                let found = found.expect("just published");
                assert_eq!((&found.schema(), found.num_rows()), (schema, 0));
                return;
            }
            (Err(QADataSwapError::NotOneBatch { found }), _) => {
                assert!(found > 1 && found == batches.len());
                self.reader.read_batches_zero_copy(0).unwrap().expect("not consumed")
            }
            (other, _) => panic!("{other:?}"),
        };
        assert_same("in place", schema, batches, &shared);
        // As it is while the writer goes on, and as a copy of what is in place.
        for _ in 0..3 {
            self.writer.write(&[0xff; 1]).unwrap();
        }
        assert_same("in place, later", schema, batches, &shared);
        drop(shared);
        assert_eq!(self.reader.stats().leases, 0);
        while self.reader.skip().unwrap() {}
        while self.copying.skip().unwrap() {}
    }
}

/// PROPTEST_CASES=N for more.
fn settings() -> ProptestConfig {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/arrow_properties.proptest-regressions");
    let default = ProptestConfig::default();
    let given = std::env::var_os("PROPTEST_CASES").map(|_| default.cases);
    ProptestConfig {
        cases: given.unwrap_or(200),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..default
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn batches_of_any_type_come_back_equal((schema, batches) in batches()) {
        // In a ring of its own: room that batches of the same schema have had before would be kept.
        let roomy = Ring::new(1 << 20, true);
        roomy.writer.write_batches(&schema, &batches).unwrap();
        let stream = roomy.reader.read(0).unwrap().expect("just published");
        let len = stream.len();

        let fits = Ring::new(len, false);
        fits.writer.write_batches(&schema, &batches).unwrap();
        fits.check(&schema, &batches);
        fits.writer.write_ipc_stream(&stream).unwrap();
        fits.check(&schema, &batches);

        let too_small = Ring::new(len - 1, false);
        let refused = too_small.writer.write_batches(&schema, &batches);
        prop_assert!(
            matches!(refused, Err(QADataSwapError::MessageTooLarge { needed_bytes, available_bytes })
                if (needed_bytes, available_bytes) == (len, len - 1)),
            "{refused:?}"
        );
        prop_assert_eq!(too_small.reader.read(0).unwrap(), None);
        too_small.writer.write(&vec![1; len - 1]).unwrap();
        prop_assert_eq!(too_small.reader.read(0).unwrap(), Some(vec![1; len - 1]));

        let moves = Ring::new(len - 1, true);
        moves.writer.write_batches(&schema, &batches).unwrap();
        prop_assert_eq!(moves.writer.stats().rollovers, 1);
        moves.check(&schema, &batches);
    }
}
