//! Reads a batch of flat columns by its template.
//!
//! The metadata must be the template's in every word but those that differ from batch to batch. Those are read
//! here, every range is checked, and the contents are validated, as strictly as `check` and arrow-ipc do.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, GenericByteArray, OffsetSizeTrait,
    PrimitiveArray, RecordBatch, downcast_primitive,
};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer,
};
use arrow_data::UnsafeFlag;
use arrow_schema::{ArrowError, DataType, Field, FieldRef};

use super::strings::check_contents;
use super::template::{END_OF_STREAM, Kind, Template};
use crate::codec::{fault, in_field};

impl Template {
    /// The batch that `metadata` is and what follows it: `rest`, the body, which the arrays slice, and the end of the
    /// stream.
    ///
    /// # Errors
    /// If they are not a valid batch of this template. They may be valid otherwise.
    pub fn read(
        &self,
        metadata: &[u64],
        rest: &Buffer,
        trusted: &UnsafeFlag,
    ) -> Result<RecordBatch, ArrowError> {
        let (rows, mut buffers) = self.begin(metadata, rest)?;
        let mut columns = Vec::with_capacity(self.kinds.len());
        for (field, kind, nulls) in self.columns(metadata) {
            let column = nulls.in_column(field, rows).and_then(|nulls| {
                column(field.data_type(), kind, rows, nulls, &mut buffers, trusted)
            });
            columns.push(column.map_err(|error| in_field(field.name(), error))?);
        }
        // SAFETY: there is a column for each field, made of its type, with so many rows, and without nulls where
        // there must be none.
        Ok(unsafe { RecordBatch::new_unchecked(self.schema.clone(), columns, rows) })
    }

    /// Checks what concerns a whole batch. Returns the number of rows, of which there is one at least, and the buffers.
    fn begin<'a>(
        &self,
        metadata: &'a [u64],
        rest: &'a Buffer,
    ) -> Result<(usize, Buffers<'a>), ArrowError> {
        let body_len = require_end(rest)?;
        let rows = self.check(metadata, body_len)?;
        Ok((rows, self.buffers(metadata, rest, body_len)))
    }

    /// Checks metadata but for nodes and buffers. Returns the number of rows, of which there is one at least.
    pub(super) fn check(&self, metadata: &[u64], body_len: usize) -> Result<usize, ArrowError> {
        if !self.fits(metadata) || metadata[self.places.body_length] != body_len as u64 {
            return Err(fault("not the metadata of its schema"));
        }
        usize::try_from(metadata[self.places.rows])
            .ok()
            // Without any, offsets may be missing.
            .filter(|rows| *rows != 0)
            .ok_or_else(|| fault("a batch without rows, or with more than there can be"))
    }

    /// The buffers in the body at the start of `memory`, none of which has been looked at yet.
    pub(super) fn buffers<'a>(
        &self,
        metadata: &'a [u64],
        memory: &'a Buffer,
        body_len: usize,
    ) -> Buffers<'a> {
        let listed = metadata[self.places.buffers..].as_chunks().0;
        Buffers { listed, memory, body_len, unclaimed: body_len }
    }

    /// The columns of a batch, with what its metadata says of them.
    pub(super) fn columns<'a>(
        &'a self,
        metadata: &'a [u64],
    ) -> impl Iterator<Item = (&'a FieldRef, Kind, Node)> {
        let nodes = metadata[self.places.nodes..].as_chunks().0;
        let columns = self.schema.fields().iter().zip(&self.kinds).zip(nodes);
        columns
            .map(|((field, kind), [len, nulls])| (field, *kind, Node { len: *len, nulls: *nulls }))
    }
}

/// The length of the body in `rest`, after which there must be the end of the stream.
pub(super) fn require_end(rest: &[u8]) -> Result<usize, ArrowError> {
    match rest.split_last_chunk() {
        Some((body, end)) if u64::from_le_bytes(*end) == END_OF_STREAM => Ok(body.len()),
        _ => Err(fault("no end")),
    }
}

/// What the metadata says of a column.
pub(super) struct Node {
    len: u64,
    nulls: u64,
}

impl Node {
    /// The number of nulls, if that can be.
    #[inline(always)]
    pub(super) fn in_column(self, field: &Field, rows: usize) -> Result<usize, ArrowError> {
        let Self { len, nulls } = self;
        if len != rows as u64 || nulls > len {
            return Err(fault(format!("{len} rows with {nulls} nulls in a batch of {rows}")));
        }
        if nulls != 0 && !field.is_nullable() {
            return Err(fault("the field is not nullable, but has nulls"));
        }
        Ok(nulls as usize)
    }
}

/// The buffers of a body, in order.
pub(super) struct Buffers<'a> {
    listed: &'a [[u64; 2]],
    /// The body, and more.
    memory: &'a Buffer,
    body_len: usize,
    /// Bytes of the body that are in no buffer yet: buffers do not overlap.
    unclaimed: usize,
}

impl Buffers<'_> {
    /// Passes over buffers of a batch whose buffers have all been looked at before.
    pub(super) fn pass(&mut self, count: usize) {
        self.listed = self.listed.get(count..).unwrap_or_default();
    }

    /// Where the next buffer is.
    #[inline(always)]
    fn next(&mut self) -> Result<Range<usize>, ArrowError> {
        let ([start, size], others) =
            self.listed.split_first().ok_or_else(|| fault("too few buffers"))?;
        self.listed = others;
        let (start, size) = (*start, *size);
        let len = self.body_len as u64;
        if start > len || size > len - start {
            return Err(fault(format!(
                "a buffer of {size} bytes at {start} is outside the body of {len}"
            )));
        }
        let (start, size) = (start as usize, size as usize);
        self.unclaimed = self
            .unclaimed
            .checked_sub(size)
            .ok_or_else(|| fault("the buffers of a batch overlap"))?;
        Ok(start..start + size)
    }

    /// The first `needed` bytes of the next buffer, which holds whole units (of a power of two bytes).
    #[inline(always)]
    fn take(&mut self, needed: usize, unit: usize) -> Result<Buffer, ArrowError> {
        let range = self.next()?;
        if needed > range.len() || range.len() & (unit - 1) != 0 {
            return Err(fault(format!("a buffer has {} bytes instead of {needed}", range.len())));
        }
        Ok(self.memory.slice_with_length(range.start, needed))
    }

    /// The next buffer as values, of which there are `count`.
    #[inline(always)]
    fn values<T: ArrowNativeType>(
        &mut self,
        count: usize,
        unit: usize,
    ) -> Result<ScalarBuffer<T>, ArrowError> {
        let needed = count.checked_mul(size_of::<T>()).ok_or_else(|| fault("too many rows"))?;
        let buffer = self.take(needed, unit)?;
        if buffer.as_ptr().align_offset(align_of::<T>()) != 0 {
            return Err(fault(format!("a buffer is not aligned to {} bytes", align_of::<T>())));
        }
        Ok(ScalarBuffer::new(buffer, 0, count))
    }
}

/// The array of a column.
pub(super) fn column(
    data_type: &DataType,
    kind: Kind,
    rows: usize,
    null_count: usize,
    buffers: &mut Buffers<'_>,
    trusted: &UnsafeFlag,
) -> Result<ArrayRef, ArrowError> {
    let bits = rows.div_ceil(8);
    let nulls = if null_count == 0 {
        buffers.next()?;
        None
    } else {
        let valid = BooleanBuffer::new(buffers.take(bits, 1)?, 0, rows);
        require_nulls(&valid, null_count)?;
        // SAFETY: so many have just been counted.
        Some(unsafe { NullBuffer::new_unchecked(valid, null_count) })
    };
    match kind {
        Kind::Bits => {
            let values = BooleanBuffer::new(buffers.take(bits, 1)?, 0, rows);
            Ok(Arc::new(BooleanArray::new(values, nulls)))
        }
        Kind::Fixed(width) => {
            macro_rules! primitive {
                ($t:ty) => {{
                    type Native = <$t as arrow_array::ArrowPrimitiveType>::Native;
                    let values = buffers.values::<Native>(rows, width)?;
                    let array = PrimitiveArray::<$t>::try_new(values, nulls)?;
                    // Most types are what their values are; a time with a zone, a decimal are more.
                    if *data_type == <$t as arrow_array::ArrowPrimitiveType>::DATA_TYPE {
                        Arc::new(array) as ArrayRef
                    } else {
                        Arc::new(array.with_data_type(data_type.clone()))
                    }
                }};
            }
            Ok(downcast_primitive! {
                data_type => (primitive),
                DataType::FixedSizeBinary(size) => {
                    let unit = if width.is_power_of_two() { width } else { 1 };
                    let needed = rows.checked_mul(width).ok_or_else(|| fault("too many rows"))?;
                    let values = buffers.take(needed, unit)?;
                    Arc::new(FixedSizeBinaryArray::try_new(*size, values, nulls)?)
                },
                _ => return Err(fault("not a flat type")),
            })
        }
        Kind::Offsets32 if *data_type == DataType::Utf8 => {
            bytes::<Utf8Type>(rows, nulls, buffers, trusted)
        }
        Kind::Offsets32 => bytes::<BinaryType>(rows, nulls, buffers, trusted),
        Kind::Offsets64 if *data_type == DataType::LargeUtf8 => {
            bytes::<LargeUtf8Type>(rows, nulls, buffers, trusted)
        }
        Kind::Offsets64 => bytes::<LargeBinaryType>(rows, nulls, buffers, trusted),
    }
}

/// A column of strings or bytes.
fn bytes<T: ByteArrayType>(
    rows: usize,
    nulls: Option<NullBuffer>,
    buffers: &mut Buffers<'_>,
    trusted: &UnsafeFlag,
) -> Result<ArrayRef, ArrowError>
where
    T::Offset: OffsetSizeTrait,
{
    let count = rows.checked_add(1).ok_or_else(|| fault("too many rows"))?;
    let offsets = buffers.values::<T::Offset>(count, size_of::<T::Offset>())?;
    let range = buffers.next()?;
    let values = buffers.memory.slice_with_length(range.start, range.len());
    if trusted.get() {
        // SAFETY: the caller of the unsafe function that trusts the contents has vouched for them.
        let offsets = unsafe { OffsetBuffer::new_unchecked(offsets) };
        // SAFETY: likewise.
        return Ok(Arc::new(unsafe {
            GenericByteArray::<T>::new_unchecked(offsets, values, nulls)
        }));
    }
    check_contents::<T>(&offsets, &values)?;
    // SAFETY: there is at least one, and they are neither negative nor do they go backwards.
    let offsets = unsafe { OffsetBuffer::new_unchecked(offsets) };
    // SAFETY: the contents have just been checked, and nulls have been made for as many rows as there are offsets
    // after the first.
    Ok(Arc::new(unsafe { GenericByteArray::<T>::new_unchecked(offsets, values, nulls) }))
}

/// Whether a validity bitmap has so many nulls.
pub(super) fn require_nulls(valid: &BooleanBuffer, expected: usize) -> Result<(), ArrowError> {
    let found = valid.len() - valid.count_set_bits();
    if found == expected {
        Ok(())
    } else {
        Err(fault(format!("{found} nulls instead of {expected}")))
    }
}
