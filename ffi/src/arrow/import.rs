//! Arrays from the caller: what is checked before arrow-rs reads them, and what it validates afterwards.
//!
//! arrow-rs 60.1 trusts the structures of the C Data Interface: it converts negative lengths to huge ones, adds and
//! multiplies without looking, reads the last offset of strings wherever it may lie, asserts on the numbers of
//! buffers and children, and looks at no contents. So all that the structures themselves tell is checked here, on a
//! copy that arrow-rs then gets, and `ArrayData::validate_full` checks the contents.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::{RecordBatch, RecordBatchOptions, StructArray};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef, UnionMode};

use super::{ArrowArray, ArrowArrayStream, ArrowSchema};
use crate::status::{self, Failure, Outcome, QADS_ARROW};

/// How deep types may nest, the batch itself included; messages with more are refused by readers.
const MAX_DEPTH: usize = 65;
/// Most fields of a schema, those below others included: stops structures that refer to themselves.
const MAX_FIELDS: usize = 1 << 20;

/// What the offsets of an array without rows may be where the producer has none.
static NO_OFFSETS: [i64; 1] = [0];

fn fault(what: impl Into<String>) -> Failure {
    Failure::new(QADS_ARROW, what.into())
}

/// The schema of a struct.
pub fn schema(schema: *const ArrowSchema) -> Outcome<SchemaRef> {
    status::check_out(schema, "schema")?;
    // SAFETY: not NULL and aligned; the interface asks for a schema as Arrow's specification says.
    if unsafe { &*schema }.release.is_none() {
        return Err(Failure::invalid("schema is released already"));
    }
    check_schema(schema, 1, &mut 0)?;
    // SAFETY: the same structure, whose pointers were just checked.
    let schema = unsafe { &*schema.cast::<FFI_ArrowSchema>() };
    Ok(Arc::new(Schema::try_from(schema)?))
}

/// Checks what arrow-rs panics on or trusts.
fn check_schema(schema: *const ArrowSchema, depth: usize, fields: &mut usize) -> Outcome {
    *fields += 1;
    if depth > MAX_DEPTH || *fields > MAX_FIELDS {
        return Err(fault(
            "the schema is nested too deep (about 60 levels) or has too many fields",
        ));
    }
    if schema.is_null() || !schema.is_aligned() {
        return Err(fault("the schema has a child or dictionary that is NULL or misaligned"));
    }
    // SAFETY: as in `schema`, for its children and dictionary too.
    let schema = unsafe { &*schema };
    if schema.release.is_none() {
        // Moved elsewhere: what it points to may be gone.
        return Err(fault("the schema has a child or dictionary that is released"));
    }
    let format = text(schema.format)?.ok_or_else(|| fault("a field has no format"))?;
    text(schema.name)?;
    let children = match format {
        "+l" | "+L" | "+vl" | "+vL" | "+m" => Some(1),
        "+r" => Some(2),
        _ if format.starts_with("+w:") => Some(1),
        _ if format.starts_with('+') => None,
        _ => Some(0),
    };
    let found = usize::try_from(schema.n_children).ok();
    let Some(found) = found.filter(|found| children.is_none_or(|children| children == *found))
    else {
        return Err(fault(format!(
            "a field of format {format} has {} children",
            schema.n_children
        )));
    };
    if found > MAX_FIELDS || (found > 0 && schema.children.is_null()) {
        return Err(fault(format!(
            "a field of format {format} has {found} children at no address"
        )));
    }
    for index in 0..found {
        let child = schema.children.wrapping_add(index);
        // SAFETY: there are as many children, as the structure says.
        check_schema(unsafe { child.read_unaligned() }, depth + 1, fields)?;
    }
    if schema.dictionary.is_null() {
        return Ok(());
    }
    check_schema(schema.dictionary, depth + 1, fields)
}

/// Text of a schema, which must be UTF-8.
fn text<'a>(text: *const c_char) -> Outcome<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: Arrow's specification has null-terminated strings there.
    match unsafe { CStr::from_ptr(text) }.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(fault("a format or name of the schema is not UTF-8")),
    }
}

/// A record batch whose buffers are the caller's. It must not outlive the call.
pub struct Borrowed {
    batch: RecordBatch,
    /// What the batch was made from.
    _copy: Copied,
}

impl Borrowed {
    /// Imports and validates an array.
    pub fn new(array: *const ArrowArray, schema: &SchemaRef) -> Outcome<Self> {
        status::check_out(array, "array")?;
        // SAFETY: not NULL and aligned; the interface asks for an array as Arrow's specification says.
        if unsafe { &*array }.release.is_none() {
            return Err(Failure::invalid("array is released already"));
        }
        let data_type = DataType::Struct(schema.fields().clone());
        let mut copy = Copied::default();
        let top = copy.node(array, &data_type)?;
        // SAFETY: the same structure, in memory of the copy. It has no release callback, so that dropping it does
        // nothing.
        let top = unsafe { top.cast::<FFI_ArrowArray>().read() };
        // SAFETY: the structure was checked by `node`; for the lengths of buffers the caller vouches.
        let data = unsafe { from_ffi_and_data_type(top, data_type) }?;
        data.validate_full()?;
        if data.null_count() > 0 {
            return Err(fault("a record batch is a struct array without nulls of its own"));
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(data.len()));
        let (_, columns, _) = StructArray::from(data).into_parts();
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?;
        Ok(Self { batch, _copy: copy })
    }

    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }
}

/// A copy of an array's structure, without its buffers: arrow-rs reads what was checked, also if the caller's changes.
#[derive(Default)]
struct Copied {
    // Vectors, each of which stays where it is: pointers to the inside of a box would not outlive its move.
    nodes: Vec<Vec<ArrowArray>>,
    buffers: Vec<Vec<*const c_void>>,
    children: Vec<Vec<*mut ArrowArray>>,
}

/// What a buffer must have.
#[derive(Clone, Copy)]
enum Buffer {
    Validity,
    Bits,
    /// So many bytes per row.
    Fixed(usize),
    /// One more than there are rows, so many bytes each.
    Offsets(usize),
    /// As many bytes as the last of the offsets says.
    Bytes,
}

impl Copied {
    /// Checks and copies an array of `data_type`, and those below it.
    fn node(&mut self, array: *const ArrowArray, data_type: &DataType) -> Outcome<*mut ArrowArray> {
        if array.is_null() || !array.is_aligned() {
            return Err(fault(format!("an array of type {data_type} is NULL or misaligned")));
        }
        // SAFETY: Arrow's specification has a structure there.
        let mut node = unsafe { &*array }.clone();
        if node.release.is_none() {
            // As in `check_schema`.
            return Err(fault(format!("an array of type {data_type} below the batch is released")));
        }
        let wrong = |what: &str, found: i64| {
            fault(format!("an array of type {data_type} has {what} {found}"))
        };
        let length = usize::try_from(node.length).map_err(|_| wrong("length", node.length))?;
        let offset = usize::try_from(node.offset).map_err(|_| wrong("offset", node.offset))?;
        if node.null_count < -1 || node.null_count > node.length {
            return Err(wrong("null count", node.null_count));
        }
        let rows = length.checked_add(offset).ok_or_else(|| wrong("length", node.length))?;

        let mut buffers = pointers(node.buffers, node.n_buffers)
            .ok_or_else(|| wrong("number of buffers", node.n_buffers))?;
        let expected = expected_buffers(data_type).map_err(Failure::from)?;
        let views = matches!(data_type, DataType::Utf8View | DataType::BinaryView);
        if buffers.len() < expected.len() + usize::from(views)
            || (!views && buffers.len() > expected.len())
        {
            return Err(wrong("number of buffers", node.n_buffers));
        }
        for (index, expected) in expected.iter().enumerate() {
            self.buffer(&node, &mut buffers, index, *expected, rows, data_type)?;
        }
        if views {
            check_views(&buffers).map_err(|what| fault(format!("type {data_type}: {what}")))?;
        }

        let children = children(data_type);
        let given = match children.is_empty() {
            true => Vec::new(),
            false => pointers(node.children, node.n_children).unwrap_or_default(),
        };
        if given.len() != children.len() {
            return Err(wrong("number of children", node.n_children));
        }
        if let DataType::FixedSizeList(_, size) = data_type {
            let size = usize::try_from(*size).map_err(|_| wrong("list size", (*size).into()))?;
            bytes(rows, size).ok_or_else(|| wrong("length", node.length))?;
        }
        let mut copies = Vec::with_capacity(given.len());
        for (child, data_type) in given.into_iter().zip(children) {
            copies.push(self.node(child, data_type)?);
        }
        match data_type {
            DataType::Dictionary(_, values) => {
                node.dictionary = self.node(node.dictionary, values)?
            }
            _ if node.dictionary.is_null() => {}
            _ => return Err(fault(format!("an array of type {data_type} has a dictionary"))),
        }

        node.n_children = copies.len() as i64;
        node.children = copies.as_mut_ptr();
        node.buffers = buffers.as_mut_ptr();
        // Released by its owner only.
        node.release = None;
        node.private_data = std::ptr::null_mut();
        self.children.push(copies);
        self.buffers.push(buffers);
        let mut node = vec![node];
        let copy = node.as_mut_ptr();
        self.nodes.push(node);
        Ok(copy)
    }

    /// Checks one buffer of an array with `rows` rows, those before its offset included.
    fn buffer(
        &self,
        node: &ArrowArray,
        buffers: &mut [*const c_void],
        index: usize,
        expected: Buffer,
        rows: usize,
        data_type: &DataType,
    ) -> Outcome {
        let wrong = |what: &str| fault(format!("buffer {index} of type {data_type} {what}"));
        let too_long = || wrong("would be longer than memory");
        let start = buffers[index];
        let needed = match expected {
            Buffer::Validity if node.null_count > 0 && start.is_null() => {
                return Err(wrong("is NULL, but the array has nulls"));
            }
            Buffer::Validity => return bytes(rows, 1).map(drop).ok_or_else(too_long),
            Buffer::Bits => bytes(rows.div_ceil(8), 1).ok_or_else(too_long)?,
            Buffer::Fixed(width) => bytes(rows, width).ok_or_else(too_long)?,
            Buffer::Offsets(_) if rows == 0 && start.is_null() => {
                // Legal of old; arrow-rs wants one offset all the same.
                buffers[index] = NO_OFFSETS.as_ptr().cast();
                return Ok(());
            }
            Buffer::Offsets(width) => bytes(rows, width)
                .and_then(|bytes| bytes.checked_add(width))
                .ok_or_else(too_long)?,
            Buffer::Bytes if rows == 0 => 0,
            Buffer::Bytes => {
                let large = matches!(data_type, DataType::LargeUtf8 | DataType::LargeBinary);
                last_offset(buffers[index - 1], rows, large).ok_or_else(|| {
                    wrong("ends at an offset that is negative or not aligned in memory")
                })?
            }
        };
        if needed > 0 && start.is_null() {
            return Err(wrong(&format!("is NULL, but should have {needed} bytes")));
        }
        Ok(())
    }
}

/// Bytes of so many items, if that can be.
fn bytes(items: usize, width: usize) -> Option<usize> {
    items.checked_mul(width).filter(|bytes| *bytes <= isize::MAX as usize / 8)
}

/// The pointers in an array of them.
fn pointers<P>(start: *mut P, count: i64) -> Option<Vec<P>> {
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_FIELDS)?;
    if count > 0 && start.is_null() {
        return None;
    }
    // SAFETY: as many pointers are there, as the structure says.
    let pointer = |index| unsafe { start.wrapping_add(index).read_unaligned() };
    Some((0..count).map(pointer).collect())
}

/// The end of the bytes of strings: the offset after the last row.
fn last_offset(offsets: *const c_void, rows: usize, large: bool) -> Option<usize> {
    // arrow-rs reads it where it is, aligned or not.
    if large {
        let offsets = offsets.cast::<i64>();
        if offsets.is_null() || !offsets.is_aligned() {
            return None;
        }
        // SAFETY: not NULL and aligned; an array of so many rows has one offset more.
        usize::try_from(unsafe { *offsets.wrapping_add(rows) }).ok()
    } else {
        let offsets = offsets.cast::<i32>();
        if offsets.is_null() || !offsets.is_aligned() {
            return None;
        }
        // SAFETY: as above.
        usize::try_from(unsafe { *offsets.wrapping_add(rows) }).ok()
    }
}

/// Checks the data buffers of views, and the buffer after them that tells their lengths.
fn check_views(buffers: &[*const c_void]) -> Result<(), String> {
    let Some((lengths, rest)) = buffers.split_last() else {
        return Err("no buffers".into());
    };
    let data = rest.get(2..).unwrap_or_default();
    let lengths = lengths.cast::<i64>();
    if !data.is_empty() && (lengths.is_null() || !lengths.is_aligned()) {
        return Err("the lengths of its data buffers are NULL or misaligned".into());
    }
    for (index, start) in data.iter().enumerate() {
        // SAFETY: not NULL and aligned, and there is a length for each data buffer.
        let length = unsafe { *lengths.wrapping_add(index) };
        if length < 0 || (length > 0 && start.is_null()) {
            return Err(format!("data buffer {index} of {length} bytes is at {start:?}"));
        }
    }
    Ok(())
}

/// The buffers that an array of this type has; views have more.
fn expected_buffers(data_type: &DataType) -> Result<Vec<Buffer>, ArrowError> {
    use Buffer::*;
    Ok(match data_type {
        DataType::Null | DataType::RunEndEncoded(_, _) => vec![],
        DataType::Boolean => vec![Validity, Bits],
        DataType::Utf8 | DataType::Binary => vec![Validity, Offsets(4), Bytes],
        DataType::LargeUtf8 | DataType::LargeBinary => vec![Validity, Offsets(8), Bytes],
        DataType::Utf8View | DataType::BinaryView => vec![Validity, Fixed(16)],
        DataType::List(_) | DataType::Map(_, _) => vec![Validity, Offsets(4)],
        DataType::LargeList(_) => vec![Validity, Offsets(8)],
        DataType::ListView(_) => vec![Validity, Fixed(4), Fixed(4)],
        DataType::LargeListView(_) => vec![Validity, Fixed(8), Fixed(8)],
        DataType::FixedSizeList(_, _) | DataType::Struct(_) => vec![Validity],
        DataType::Union(_, UnionMode::Sparse) => vec![Fixed(1)],
        DataType::Union(_, UnionMode::Dense) => vec![Fixed(1), Fixed(4)],
        DataType::Dictionary(keys, _) => return expected_buffers(keys),
        DataType::FixedSizeBinary(width) if *width >= 0 => {
            vec![Validity, Fixed(*width as usize)]
        }
        other => match other.primitive_width() {
            Some(width) => vec![Validity, Fixed(width)],
            None => {
                let what = format!("type {other} is not supported");
                return Err(ArrowError::CDataInterface(what));
            }
        },
    })
}

/// The types of the arrays below an array of this type.
fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child)
        | DataType::FixedSizeList(child, _)
        | DataType::Map(child, _) => vec![child.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        _ => vec![],
    }
}

/// An array that a stream gave, released when this is dropped.
pub struct OwnedArray(ArrowArray);

impl OwnedArray {
    fn empty() -> Self {
        // SAFETY: NULL pointers and zeros are an array that is released.
        Self(unsafe { std::mem::zeroed() })
    }

    pub fn as_ptr(&self) -> *const ArrowArray {
        &raw const self.0
    }
}

impl Drop for OwnedArray {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: not released yet, and moving the top structure of an array is allowed.
            unsafe { release(&raw mut self.0) };
        }
    }
}

/// A schema that a stream gave.
struct OwnedSchema(ArrowSchema);

impl Drop for OwnedSchema {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: as for arrays.
            unsafe { release(&raw mut self.0) };
        }
    }
}

/// Reads a stream to its end.
pub fn read_stream(stream: *mut ArrowArrayStream) -> Outcome<(SchemaRef, Vec<OwnedArray>)> {
    status::check_out(stream, "stream")?;
    // SAFETY: not NULL and aligned; the interface asks for a stream as Arrow's specification says. The reference
    // ends before a callback gets the pointer.
    let callbacks = unsafe { &*stream };
    if callbacks.release.is_none() {
        return Err(Failure::invalid("stream is released already"));
    }
    let (Some(get_schema), Some(get_next)) = (callbacks.get_schema, callbacks.get_next) else {
        return Err(Failure::invalid("stream has no get_schema or no get_next"));
    };
    // SAFETY: NULL pointers and zeros are a schema that is released.
    let mut found = OwnedSchema(unsafe { std::mem::zeroed() });
    // SAFETY: the stream is not released, and it is its own callback.
    let code = unsafe { get_schema(stream, &raw mut found.0) };
    check_code(stream, code, "get_schema")?;
    let schema = schema(&raw const found.0)?;
    let mut arrays = Vec::new();
    loop {
        let mut array = OwnedArray::empty();
        // SAFETY: as above.
        let code = unsafe { get_next(stream, &raw mut array.0) };
        check_code(stream, code, "get_next")?;
        if array.0.release.is_none() {
            return Ok((schema, arrays));
        }
        arrays.push(array);
    }
}

fn check_code(stream: *mut ArrowArrayStream, code: i32, call: &str) -> Outcome {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: a live stream, as in `read_stream`.
    let text = match unsafe { (*stream).get_last_error } {
        // SAFETY: its own callback, after a call that failed.
        Some(get_last_error) => unsafe { get_last_error(stream) },
        None => std::ptr::null(),
    };
    if text.is_null() {
        return Err(fault(format!("{call} of the stream failed with code {code}")));
    }
    // SAFETY: the stream's text, which is there until the next call on it.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    Err(fault(format!("{call} of the stream failed with code {code}: {text}")))
}
