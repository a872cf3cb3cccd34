//! Small Arrow batches fast: streams of one schema differ in few places, and only those are written and read.
//!
//! ```text
//! slot:  head | note | schema message | metadata of the batch message | body | end of stream
//!                      the same each      the same but for rows,         what is
//!                      time               nulls and buffer places        new
//! ```
//!
//! *Writing.* From the second batch of a schema on the writer keeps a [`template`] of its streams. If the slot
//! holds a stream of that template from an earlier lap, the schema message stays as it is, and of the metadata
//! only words that change are stored: lines that nobody stores to need not come from the other core again. The
//! slot is a complete stream all the time, and `Reader::read` gives its bytes as ever. Buffers keep the places and the
//! room that they had in the batch before, strings are listed with all of their room, and a validity bitmap stays once
//! there was one: so the metadata of batches that are much alike differ in the number of nulls alone.
//!
//! *Reading.* The [note](crate::ring::Note) says which template it is. A reader decodes the first stream of a
//! template whole, with every check there is, and keeps the template too. From then on it copies what follows the
//! schema message, compares the metadata with that of the template but for the places that differ, and builds the
//! arrays itself, or gives out those of the batch before again if nobody has them any more ([`recent`]). Nothing is
//! trusted but the note: a writer that lies with it gets its bytes read with another of
//! its own schemas.
//!
//! All else (nested and dictionary-encoded columns, views, several batches, none, no rows) goes through
//! `codec` alone.

use std::any::{Any, TypeId};

use arrow_array::Array;

mod read;
mod recent;
mod strings;
mod template;
mod templates;
mod write;

pub use templates::{Read, Written};
pub use write::{Pieces, There};

/// The array as what it is.
///
/// # Panics
/// If it is something else; callers have its data type.
#[inline(always)]
fn downcast<T: Any>(array: &dyn Array) -> &T {
    let array = array.as_any();
    // `downcast_ref` asks for equality, for which the compiler stores one of these to memory by words and loads it as a
    // whole: a stall of 4 ns for each column. An order is found word by word.
    assert!(array.type_id().cmp(&TypeId::of::<T>()).is_eq(), "an array of another type");
    // SAFETY: it is a `T`: that is what the equality of the two means (as in `downcast_ref`).
    unsafe { &*std::ptr::from_ref(array).cast::<T>() }
}
