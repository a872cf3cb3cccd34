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

mod read;
mod recent;
mod template;
mod templates;
mod write;

pub use templates::{Read, Written};
pub use write::{Pieces, There};
