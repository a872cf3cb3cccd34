//! Tables from whatever exports the Arrow PyCapsule interface, as validated record batches.
//!
//! The structs come from another library in this process: their pointers have to be trusted, as every
//! consumer does. What the buffers hold is not: arrays are validated in full before anything depends on it.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::ByteViewType;
use arrow_array::{
    Array, ArrayRef, GenericByteViewArray, RecordBatch, RecordBatchOptions, StructArray, make_array,
};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors;

/// Bytes of strings that nobody refers to which are not worth a copy of the others.
const PRUNE_FROM_BYTES: usize = 16 << 10;

/// A table: its schema and its batches, perhaps none.
pub type Table = (SchemaRef, Vec<RecordBatch>);

/// Takes a table out of `object`.
pub fn table(object: &Bound<'_, PyAny>) -> PyResult<Table> {
    let py = object.py();
    // What exports both has one batch, for which a stream is only a detour.
    let imported = if let Some(export) = object.getattr_opt("__arrow_c_array__")? {
        let (schema, array) = take_array(&export.call0()?)?;
        py.detach(move || without_panic(move || read_array(schema, array)))
    } else if let Some(export) = object.getattr_opt("__arrow_c_stream__")? {
        let mut stream = take_stream(&export.call0()?)?;
        // Producers may run queries, and call Python from other threads.
        py.detach(|| without_panic(|| read_stream(&mut stream)))
    } else {
        return Err(PyTypeError::new_err(format!(
            "write_arrow takes what has __arrow_c_stream__ or __arrow_c_array__ (tables of pyarrow, polars, \
             pandas >= 2.2, DuckDB and others), not {}; bytes are written with write",
            object.get_type().name()?
        )));
    };
    imported.map_err(|error| errors::arrow(py, &format!("cannot take this table: {error}")))
}

/// What the capsule holds, which has to have this name.
fn pointer<T>(capsule: &Bound<'_, PyAny>, name: &'static CStr) -> PyResult<*mut T> {
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| {
        PyTypeError::new_err(format!("expected a capsule named {name:?} from the Arrow interface"))
    })?;
    Ok(capsule.pointer_checked(Some(name))?.cast().as_ptr())
}

fn take_stream(capsule: &Bound<'_, PyAny>) -> PyResult<FFI_ArrowArrayStream> {
    let stream = pointer(capsule, c"arrow_array_stream")?;
    // SAFETY: a capsule of this name holds a valid stream struct, and by the interface's rules the consumer
    // moves it out, leaving it released.
    Ok(unsafe { FFI_ArrowArrayStream::from_raw(stream) })
}

fn take_array(capsules: &Bound<'_, PyAny>) -> PyResult<(FFI_ArrowSchema, FFI_ArrowArray)> {
    let capsules = capsules.cast::<PyTuple>()?;
    let schema = pointer(&capsules.get_item(0)?, c"arrow_schema")?;
    let array = pointer(&capsules.get_item(1)?, c"arrow_array")?;
    // SAFETY: as in `take_stream`.
    let schema = unsafe { FFI_ArrowSchema::from_raw(schema) };
    // SAFETY: as in `take_stream`.
    let array = unsafe { FFI_ArrowArray::from_raw(array) };
    Ok((schema, array))
}

/// arrow-rs takes some faults of producers for impossible.
fn without_panic<T>(act: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text =
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(ArrowError::CDataInterface(format!("arrow-rs gave up on it: {text}")))
    })
}

fn read_stream(stream: &mut FFI_ArrowArrayStream) -> Result<Table, ArrowError> {
    let missing = || ArrowError::CDataInterface("the stream is released or incomplete".to_owned());
    let get_schema = stream.get_schema().ok_or_else(missing)?;
    let get_next = stream.get_next().ok_or_else(missing)?;
    let mut schema = FFI_ArrowSchema::empty();
    // SAFETY: the stream is alive (it has its callbacks), and `schema` is there to be filled.
    let status = unsafe { get_schema(stream, &raw mut schema) };
    check_status(status, stream)?;
    let target = Target::new(&schema)?;
    let mut batches = Vec::new();
    loop {
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: as above.
        let status = unsafe { get_next(stream, &raw mut array) };
        check_status(status, stream)?;
        if array.is_released() {
            return Ok((target.schema, batches));
        }
        batches.push(target.batch(array)?);
    }
}

fn read_array(schema: FFI_ArrowSchema, array: FFI_ArrowArray) -> Result<Table, ArrowError> {
    // As a capsule is that somebody has taken from; arrow-rs would panic on such a schema.
    if array.is_released() {
        return Err(ArrowError::CDataInterface("the array is released".to_owned()));
    }
    let target = Target::new(&schema)?;
    let batch = target.batch(array)?;
    Ok((target.schema, vec![batch]))
}

fn check_status(status: i32, stream: &mut FFI_ArrowArrayStream) -> Result<(), ArrowError> {
    if status == 0 {
        return Ok(());
    }
    let text = stream.get_last_error().and_then(|last_error| {
        // SAFETY: a call on this stream has just failed, which is when the text may be asked for.
        let text = unsafe { last_error(stream) };
        if text.is_null() {
            return None;
        }
        // SAFETY: a string of the producer's that is there until the next call on the stream.
        let text = unsafe { CStr::from_ptr(text) };
        Some(text.to_string_lossy().into_owned())
    });
    let error = std::io::Error::from_raw_os_error(status);
    let text = text.unwrap_or_else(|| error.to_string());
    Err(ArrowError::CDataInterface(format!("its producer failed: {text}")))
}

/// What the arrays of one stream become.
struct Target {
    data_type: DataType,
    schema: SchemaRef,
    /// Arrays that are no tables become tables of one column.
    one_column: bool,
}

impl Target {
    fn new(schema: &FFI_ArrowSchema) -> Result<Self, ArrowError> {
        let field = Field::try_from(schema)?;
        let data_type = field.data_type().clone();
        let DataType::Struct(columns) = &data_type else {
            let schema = Arc::new(Schema::new(vec![field]));
            return Ok(Self { data_type, schema, one_column: true });
        };
        // The metadata of a table's schema stands in that of the struct.
        let metadata = field.metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(columns.clone(), metadata));
        Ok(Self { data_type, schema, one_column: false })
    }

    fn batch(&self, array: FFI_ArrowArray) -> Result<RecordBatch, ArrowError> {
        // SAFETY: the producer's structs agree with each other, as the interface demands of it; what the
        // buffers hold is validated next.
        let data = unsafe { from_ffi_and_data_type(array, self.data_type.clone()) }?;
        data.validate_full()?;
        let rows = data.len();
        let columns = if self.one_column { vec![make_array(data)] } else { columns(data)? };
        let columns = columns.into_iter().map(prune).collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)
    }
}

fn columns(data: ArrayData) -> Result<Vec<ArrayRef>, ArrowError> {
    if data.null_count() > 0 {
        return Err(ArrowError::CDataInterface(format!(
            "{} of its rows are null as a whole, which a table cannot have",
            data.null_count()
        )));
    }
    Ok(StructArray::from(data).into_parts().1)
}

/// Leaves out strings that a column of views does not refer to. Polars and others slice such a column without
/// touching its strings, and all of them would be written.
fn prune(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => prune_views(column.as_string_view()).unwrap_or(column),
        DataType::BinaryView => prune_views(column.as_binary_view()).unwrap_or(column),
        _ => column,
    }
}

fn prune_views<T: ByteViewType + ?Sized>(views: &GenericByteViewArray<T>) -> Option<ArrayRef> {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.len()).sum();
    let unused = held.saturating_sub(views.total_buffer_bytes_used());
    (unused > PRUNE_FROM_BYTES && unused > held / 2).then(|| Arc::new(views.gc()) as ArrayRef)
}
