//! Reads a record batch from a ring into polars, queries it lazily and prints the result.
//!
//! `cargo run --manifest-path examples/polars/Cargo.toml`
//!
//! polars 0.55 has no conversion from arrow-rs of its own. Columns are handed over through the Arrow C
//! Data Interface, which shares the buffers; only what polars stores in another form is rebuilt (for
//! `Utf8`, the 16-byte views of the texts).

use std::{error::Error, mem, sync::Arc};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, to_ffi};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use polars::prelude::{DataFrame, IntoColumn, IntoLazy, LazyFrame, Series, col};
use polars_arrow::ffi::{ArrowArray, ArrowSchema, import_array_from_c, import_field_from_c};
use qadataswap::{create_reader, create_writer};

/// A lazy frame over the columns of an arrow-rs batch.
fn scan_arrow(batch: &RecordBatch) -> Result<LazyFrame, Box<dyn Error>> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let (array, schema) = to_ffi(&column.to_data())?;
        // SAFETY: both crates declare these as the `repr(C)` structs of the Arrow C Data Interface, so
        // their layouts are equal, and the interface allows them to be moved. `transmute` takes its
        // argument by value, so each is released once, by polars.
        let array = unsafe { mem::transmute::<FFI_ArrowArray, ArrowArray>(array) };
        // SAFETY: as above.
        let schema = unsafe { mem::transmute::<FFI_ArrowSchema, ArrowSchema>(schema) };
        // SAFETY: `to_ffi` made it from a valid array.
        let dtype = unsafe { import_field_from_c(&schema)? }.dtype;
        // SAFETY: array and type come from the same valid array.
        let array = unsafe { import_array_from_c(array, dtype)? };
        columns.push(Series::from_arrow(field.name().as_str().into(), array)?.into_column());
    }
    Ok(DataFrame::new(batch.num_rows(), columns)?.lazy())
}

fn main() -> Result<(), Box<dyn Error>> {
    let name = format!("polars-example-{}", std::process::id());
    let writer = create_writer(&name, 5)?;
    writer.write_arrow(&RecordBatch::try_from_iter([
        ("symbol", Arc::new(StringArray::from(vec!["AAPL", "MSFT", "AAPL", "MSFT"])) as ArrayRef),
        ("price", Arc::new(Float64Array::from(vec![187.5, 411.0, 188.25, 409.5]))),
        ("volume", Arc::new(Int64Array::from(vec![1_200, 300, 800, 450]))),
    ])?)?;

    let reader = create_reader(&name)?;
    if let Some(batch) = reader.read_arrow(3000)? {
        let df = scan_arrow(&batch)?.collect()?;
        println!("{df}");
        let by_symbol = scan_arrow(&batch)?
            .group_by_stable([col("symbol")])
            .agg([col("volume").sum(), col("price").mean().alias("mean_price")])
            .collect()?;
        println!("{by_symbol}");
    }
    writer.unlink()?;
    Ok(())
}
