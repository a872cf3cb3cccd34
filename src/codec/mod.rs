//! Arrow record batches to and from the bytes of one message.
//!
//! A message holds one complete Arrow IPC *stream*: schema, dictionary batches, record batches, end
//! marker. Nothing outside the message is needed to read it, and any Arrow implementation can.
//!
//! `encode` produces the stream as pieces to be copied, `decode` turns bytes back into batches,
//! `check` decides whether bytes are safe to decode, with the help of `types` (schemas) and `walk`
//! (batches). The bytes come from another process, so `decode` hands nothing to arrow-ipc that `check` has not passed; `encode` runs the same checks on its own
//! output, so that what cannot be read back is refused where it is written.

mod check;
mod decode;
mod encode;
mod types;
mod walk;

pub use check::next_frame;
pub use decode::{DecodedStream, Reading, decode_stream, without_panic};
pub use encode::{encode_stream, require_nullable};

use arrow_schema::ArrowError;

/// An error about the stream or what should become one.
pub fn fault(what: impl std::fmt::Display) -> ArrowError {
    ArrowError::IpcError(what.to_string())
}

/// Says in which field an error is.
pub fn in_field(name: &str, error: ArrowError) -> ArrowError {
    match error {
        ArrowError::IpcError(what) => fault(format!("field {name:?}: {what}")),
        error => fault(format!("field {name:?}: {error}")),
    }
}
