//! Record batches through the Arrow C Data and C Stream Interface.
//!
//! The structures are declared here as the specification has them, because arrow-rs keeps the fields of its own
//! private, and `import` checks them before arrow-rs sees any.

mod import;

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, RecordBatchIterator, StructArray};

use crate::reader::{self, qads_reader};
use crate::status::{self, Failure, Outcome};
use crate::writer::{self, qads_writer};
use import::Borrowed;

#[repr(C)]
pub struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
#[derive(Clone)]
pub struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct ArrowArrayStream {
    get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    private_data: *mut c_void,
}

const _: () = assert!(size_of::<ArrowSchema>() == size_of::<FFI_ArrowSchema>());
const _: () = assert!(size_of::<ArrowArray>() == size_of::<FFI_ArrowArray>());
const _: () = assert!(size_of::<ArrowArrayStream>() == size_of::<FFI_ArrowArrayStream>());

/// flags: the arrays lie in shared memory and nothing is copied. The message is leased until the last of them is
/// released. Without it they are copies.
pub const QADS_ZERO_COPY: u32 = 1;

/// Publishes one record batch as one message: a struct array without nulls of its own, and its schema. The slot then
/// holds a complete Arrow IPC stream, so the schema may change with every message. Both are only read, and stay
/// yours to release. The contents are validated in full (offsets, UTF-8, dictionary keys, ...): QADS_ARROW if they are
/// not what their types say. Lengths of buffers cannot be checked; the interface does not tell them.
///
/// # Safety
/// `writer` must be from qads_writer_create, and `array` and `schema` be as the Arrow C Data Interface says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_write_arrow(
    writer: *mut qads_writer,
    array: *const ArrowArray,
    schema: *const ArrowSchema,
) -> c_int {
    status::call(|| {
        let mut state = writer::enter(writer)?;
        let writer = state.writer()?;
        let schema = import::schema(schema)?;
        let batch = Borrowed::new(array, &schema)?;
        Ok(writer.write_arrow(batch.batch())?)
    })
}

/// Publishes all record batches of a stream as one message. The stream is read to its end, whether or not the message
/// can be published then, and stays yours to release. Its callbacks must not throw or jump.
///
/// # Safety
/// `writer` must be from qads_writer_create, and `stream` be as the Arrow C Stream Interface says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_write_arrow_stream(
    writer: *mut qads_writer,
    stream: *mut ArrowArrayStream,
) -> c_int {
    status::call(|| {
        let mut state = writer::enter(writer)?;
        let writer = state.writer()?;
        let (schema, arrays) = import::read_stream(stream)?;
        let imported: Outcome<Vec<_>> =
            arrays.iter().map(|array| Borrowed::new(array.as_ptr(), &schema)).collect();
        let batches: Vec<_> = imported?.iter().map(|batch| batch.batch().clone()).collect();
        Ok(writer.write_batches(&schema, &batches)?)
    })
}

/// Reads the next message as one record batch: a struct array, and its schema. Both are then yours to release.
/// Several batches in one message are put together; with QADS_ZERO_COPY that is QADS_NOT_IN_PLACE, and the message is not
/// consumed. Waits like qads_reader_read. `flags` is 0 or QADS_ZERO_COPY.
///
/// # Safety
/// `reader` must be from qads_reader_attach, and `array` and `schema` writable; what they held is not released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_read_arrow(
    reader: *mut qads_reader,
    array: *mut ArrowArray,
    schema: *mut ArrowSchema,
    timeout_ms: u64,
    flags: u32,
) -> c_int {
    status::call(|| {
        status::check_out(array, "array")?;
        status::check_out(schema, "schema")?;
        let reader = reader::enter(reader)?;
        let batch = match zero_copy(flags)? {
            true => reader.read_arrow_zero_copy(timeout_ms)?,
            false => reader.read_arrow(timeout_ms)?,
        };
        let batch = batch.ok_or_else(Failure::nothing)?;
        let exported = FFI_ArrowSchema::try_from(batch.schema().as_ref())?;
        status::store(schema.cast(), exported, "schema")?;
        let exported = FFI_ArrowArray::new(&StructArray::from(batch).to_data());
        status::store(array.cast(), exported, "array")
    })
}

/// Reads the next message as a stream of the record batches that were published in it, which is then yours to
/// release. Waits like qads_reader_read. `flags` is 0 or QADS_ZERO_COPY.
///
/// # Safety
/// `reader` must be from qads_reader_attach, and `stream` writable; what it held is not released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qads_read_arrow_stream(
    reader: *mut qads_reader,
    stream: *mut ArrowArrayStream,
    timeout_ms: u64,
    flags: u32,
) -> c_int {
    status::call(|| {
        status::check_out(stream, "stream")?;
        let reader = reader::enter(reader)?;
        let message = match zero_copy(flags)? {
            true => reader.read_batches_zero_copy(timeout_ms)?,
            false => reader.read_batches(timeout_ms)?,
        };
        let message = message.ok_or_else(Failure::nothing)?;
        // A schema that the C interface cannot carry (a NUL in a name) is refused here: in the stream's own
        // callback its error text would have a NUL, on which arrow-rs panics.
        FFI_ArrowSchema::try_from(message.schema.as_ref())?;
        let batches = message.batches.into_iter().map(Ok);
        let batches = RecordBatchIterator::new(batches, Arc::clone(&message.schema));
        status::store(stream.cast(), FFI_ArrowArrayStream::new(Box::new(batches)), "stream")
    })
}

fn zero_copy(flags: u32) -> Outcome<bool> {
    match flags {
        0 => Ok(false),
        QADS_ZERO_COPY => Ok(true),
        _ => Err(Failure::invalid(format!("flags = {flags}: 0 or QADS_ZERO_COPY"))),
    }
}
