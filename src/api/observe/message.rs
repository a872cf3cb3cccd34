//! The newest message of a ring, copied without becoming a reader.

use super::Observer;
use crate::Start;
use crate::api::{attach, check_fork};
use crate::error::Result;
use crate::layout::DataSegment;
use crate::ring::consume::Look;
use crate::ring::{self, Descriptor, Position, words};

/// What a message is.
///
/// ```
/// use qadataswap::observe::MessageKind;
///
/// # let name = format!("doc-message-kind-{}", std::process::id());
/// let writer = qadataswap::create_writer(&name, 4)?;
/// let reader = qadataswap::create_reader(&name)?;
/// assert_eq!(reader.next_kind(0)?, None); // nothing yet
/// writer.write(b"abc")?;
/// assert_eq!(reader.next_kind(0)?, Some(MessageKind::Bytes));
/// # writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageKind {
    /// Bytes of the writer's own making.
    Bytes,
    /// One Arrow IPC stream.
    Arrow,
}

impl From<ring::MessageKind> for MessageKind {
    fn from(kind: ring::MessageKind) -> Self {
        match kind {
            ring::MessageKind::Bytes => Self::Bytes,
            ring::MessageKind::ArrowStream | ring::MessageKind::NotedStream => Self::Arrow,
        }
    }
}

/// A message, copied whole.
///
/// ```
/// use qadataswap::observe::{MessageKind, Observer};
///
/// # let name = format!("doc-observe-message-{}", std::process::id());
/// let writer = qadataswap::create_writer(&name, 4)?;
/// let observer = Observer::open(&name)?;
/// assert!(observer.newest()?.is_none());
/// writer.write(b"one")?;
/// writer.write(b"two")?;
/// let message = observer.newest()?.expect("just published");
/// assert_eq!((message.kind, message.sequence), (MessageKind::Bytes, 1));
/// assert_eq!(message.bytes, b"two");
/// # writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Its position.
    pub position: u64,
    /// Its sequence, from 0.
    pub sequence: u64,
    /// What it is.
    pub kind: MessageKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Message {
    /// The record batches of an Arrow message.
    ///
    /// # Errors
    /// [`ArrowError`](crate::QADataSwapError::ArrowError) if the bytes are not a sound Arrow IPC stream.
    #[cfg(feature = "arrow")]
    pub fn batches(&self) -> Result<crate::Batches> {
        use crate::codec::{Reading, decode_stream};
        let stream = arrow_buffer::Buffer::from_slice_ref(&self.bytes);
        let decoded = decode_stream(stream, Reading::Copy)?;
        Ok(crate::Batches { schema: decoded.schema, batches: decoded.batches })
    }
}

impl Observer {
    /// A copy of the newest message in the ring; `None` if there is none, or its writer overwrites it faster
    /// than it can be copied.
    ///
    /// # Errors
    /// [`Damaged`](crate::QADataSwapError::Damaged) if the slots contradict the header;
    /// [`CorruptMessage`](crate::QADataSwapError::CorruptMessage).
    pub fn newest(&self) -> Result<Option<Message>> {
        /// Tries before the writer is said to be too fast.
        const TRIES: u32 = 100;
        check_fork(self.made_in)?;
        let Some(data) = self.data() else { return Ok(None) };
        for _ in 0..TRIES {
            match self.newest_of(data)? {
                Copied::Whole(message) => return Ok(Some(message)),
                Copied::Nothing => return Ok(None),
                Copied::Torn => {}
            }
        }
        Ok(None)
    }

    fn newest_of(&self, data: &DataSegment) -> Result<Copied> {
        let mut cursor = attach::cursor(&self.name, data, Start::Newest, Position::new(0))?;
        let found = match cursor.look(data) {
            Look::Message(found) => found,
            Look::Nothing => return Ok(Copied::Nothing),
            Look::Lapped => return Ok(Copied::Torn),
        };
        let position = found.position().get();
        let message = match found.message() {
            Ok(message) => message,
            Err((field, value)) if found.is_intact() => {
                return Err(crate::QADataSwapError::CorruptMessage {
                    position,
                    field,
                    found: value,
                });
            }
            Err(_) => return Ok(Copied::Torn),
        };
        // A length that is not the message's must not make a large allocation.
        if !found.is_intact() {
            return Ok(Copied::Torn);
        }
        let mut bytes = Vec::with_capacity(message.length);
        words::load(message.words, &mut bytes.spare_capacity_mut()[..message.length]);
        // SAFETY: as many bytes were just reserved and initialised.
        unsafe { bytes.set_len(message.length) };
        if !found.is_intact() {
            return Ok(Copied::Torn);
        }
        let kind = match Descriptor::from_word(found.kind_word()) {
            Some(descriptor) => descriptor.kind.into(),
            None => return Ok(Copied::Torn),
        };
        Ok(Copied::Whole(Message { position, sequence: cursor.sequence(), kind, bytes }))
    }
}

/// What came of a try to copy a message.
enum Copied {
    Whole(Message),
    Nothing,
    /// It was overwritten meanwhile.
    Torn,
}
