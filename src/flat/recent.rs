//! The batch that was read last, whose memory and arrays are used again when nobody else refers to them any more.
//!
//! To make the arrays of a small batch takes several times as long as to copy and check what is in them. Where a
//! batch has its buffers in the same places as the one before, its arrays would be the same but for the contents of
//! the memory that they refer to. So if all that was given out has been dropped, the next message is copied to that
//! same memory, its contents are checked like any, and the same arrays are given out again.

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;

use arrow_array::types::{BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{Array, ArrayRef, GenericByteArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_data::UnsafeFlag;
use arrow_schema::{ArrowError, DataType};

use super::downcast;
use super::read::{column, require_end, require_nulls};
use super::strings::check_contents;
use super::template::{Kind, Template};
use crate::codec::{fault, in_field};
use crate::sync;

/// A batch, its memory and its arrays.
pub(super) struct Recent {
    /// What follows the metadata of its message: the body and the end of the stream.
    rest: Buffer,
    /// What this batch has in common with the last one that was read.
    metadata: Vec<u64>,
    rows: usize,
    columns: Vec<Column>,
    /// Arrays that are about to be given out.
    next: Vec<ArrayRef>,
    /// How many refer to the memory; all of them are `rest` and the arrays in `columns`.
    references: usize,
    /// Whether nobody else can refer to the memory: a message was, or may be, put there that was not given out.
    is_exclusive: bool,
}

#[derive(Default)]
struct Column {
    /// An array without nulls, and one with some and how many, both over the same memory.
    arrays: [Option<(ArrayRef, usize)>; 2],
    /// Which of them was given out last. The other has not been since it was last known that nobody has it.
    given: usize,
}

/// Tells nothing of the contents: the memory may hold a copy that was spoilt, of which the arrays are no valid ones.
impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").field("bytes", &self.rest.len()).finish_non_exhaustive()
    }
}

impl Recent {
    /// A message of which nothing is known yet, in memory that this process has allocated for it and to which nobody
    /// else refers.
    pub(super) fn new(rest: Buffer) -> Self {
        let is_exclusive = rest.strong_count() == 1;
        Self {
            rest,
            metadata: Vec::new(),
            rows: 0,
            columns: Vec::new(),
            next: Vec::new(),
            references: 0,
            is_exclusive,
        }
    }

    /// What was copied last.
    pub(super) fn rest(&self) -> &Buffer {
        &self.rest
    }

    /// The memory, for another message of so many bytes; `None` if it has not as many, or if somebody still refers to
    /// it. What was given out before is gone then.
    pub(super) fn room(&mut self, length: usize) -> Option<&mut [MaybeUninit<u8>]> {
        if self.rest.len() != length || !self.make_exclusive() {
            return None;
        }
        let start = self.rest.as_ptr().cast_mut().cast::<MaybeUninit<u8>>();
        // SAFETY: the memory was allocated by this process for a copy, through whose pointer it is stored to. All
        // buffers that refer to it are in `self`, which is borrowed: nobody reads it meanwhile.
        Some(unsafe { std::slice::from_raw_parts_mut(start, length) })
    }

    /// Whether nobody else refers to the memory, from now until a batch is given out.
    fn make_exclusive(&mut self) -> bool {
        let is_dropped = |column: &mut Column| {
            let given = column.arrays[column.given].as_mut();
            given.is_some_and(|(array, _)| Arc::get_mut(array).is_some())
        };
        // Arrays that were not given out last are as they were when this was found before, and nobody can get at them.
        self.is_exclusive = self.is_exclusive
            || self.columns.iter_mut().all(is_dropped)
                && self.rest.strong_count() == self.references;
        // Whoever gave up a reference to the memory has read what it wanted before (`get_mut` does so for arrays).
        sync::acquire();
        self.is_exclusive
    }

    /// Makes the arrays of the batch whose metadata this is and whose body is in the memory, for
    /// [`give`](Self::give). After an error nothing of this is of any use.
    ///
    /// # Errors
    /// As those of [`Template::read`].
    pub(super) fn read(&mut self, template: &Template, metadata: &[u64]) -> Result<(), ArrowError> {
        if !self.is_exclusive {
            return Err(fault("no message was copied"));
        }
        let body_len = require_end(&self.rest)?;
        if !template.are_alike(metadata, &self.metadata) {
            self.rows = template.check(metadata, body_len)?;
            self.metadata.clear();
            self.metadata.extend_from_slice(metadata);
            self.columns.clear();
            self.columns.resize_with(template.kinds.len(), Column::default);
        }
        // If they are alike, places and lengths of all buffers have been checked before.
        let mut buffers = template.buffers(metadata, &self.rest, body_len);
        self.next = Vec::with_capacity(self.columns.len());
        for ((field, kind, nulls), known) in template.columns(metadata).zip(&mut self.columns) {
            let named = |error| in_field(field.name(), error);
            let nulls = nulls.in_column(field, self.rows).map_err(named)?;
            known.given = usize::from(nulls != 0);
            let array = match &mut known.arrays[known.given] {
                Some((array, known)) if *known == nulls => {
                    buffers.pass(kind.buffers());
                    check_again(array, kind, nulls).map_err(named)?;
                    array
                }
                array => {
                    let (data_type, trusted) = (field.data_type(), UnsafeFlag::new());
                    let made = column(data_type, kind, self.rows, nulls, &mut buffers, &trusted);
                    &array.insert((made.map_err(named)?, nulls)).0
                }
            };
            self.next.push(array.clone());
        }
        // None of them has been given out yet.
        self.references = self.rest.strong_count();
        self.is_exclusive = false;
        Ok(())
    }

    /// The batch that was just [read](Self::read) by this template.
    ///
    /// # Panics
    /// If none was.
    #[inline(always)]
    pub(super) fn give(&mut self, template: &Template) -> RecordBatch {
        let columns = std::mem::take(&mut self.next);
        assert_eq!(columns.len(), template.kinds.len(), "a batch that was read");
        // SAFETY: as in `Template::read`: the arrays have been made for this schema and these metadata.
        unsafe { RecordBatch::new_unchecked(template.schema.clone(), columns, self.rows) }
    }
}

/// Whether an array with so many nulls is valid whose memory has other contents now.
#[inline(always)]
fn check_again(array: &ArrayRef, kind: Kind, nulls: usize) -> Result<(), ArrowError> {
    if nulls != 0
        && let Some(found) = array.nulls()
    {
        require_nulls(found.inner(), nulls)?;
    }
    match kind {
        Kind::Fixed(_) | Kind::Bits => Ok(()),
        Kind::Offsets32 if *array.data_type() == DataType::Utf8 => check_bytes::<Utf8Type>(array),
        Kind::Offsets32 => check_bytes::<BinaryType>(array),
        Kind::Offsets64 if *array.data_type() == DataType::LargeUtf8 => {
            check_bytes::<LargeUtf8Type>(array)
        }
        Kind::Offsets64 => check_bytes::<LargeBinaryType>(array),
    }
}

fn check_bytes<T: ByteArrayType>(array: &ArrayRef) -> Result<(), ArrowError> {
    let array = downcast::<GenericByteArray<T>>(array);
    check_contents::<T>(array.value_offsets(), array.values())
}
