//! Decides whether the bytes of a stream are safe to hand to arrow-ipc.
//!
//! arrow-ipc 60.1 validates what arrays contain, but trusts much of the metadata that describes them:
//! it panics on buffers outside the body, on unions that are too short or misaligned and on some types,
//! and it does not see big-endian data. This file walks the framing, and every record and dictionary
//! batch along its schema, and refuses all of that first.
//!
//! It also refuses streams that cost far more than their size, see `Budget`.
//! Contents (offsets, UTF-8, keys, run ends) are left to arrow-ipc's validation.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_ipc::{
    DictionaryBatch, Endianness, Message, MessageHeader, MetadataVersion,
    convert::try_fb_to_schema, root_as_message_with_opts,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use flatbuffers::{InvalidFlatbuffer, VerifierOptions};

use super::fault;
use super::types::{MAX_DEPTH, check_types, check_union_ids};
use super::walk::{Body, Budget, Cost, check_batch, children};

/// What begins every message but those from before Arrow 0.15.
const CONTINUATION_MARKER: [u8; 4] = [0xff; 4];

/// One message of the stream: its verified metadata, and where its body is.
pub struct Frame<'a> {
    pub message: Message<'a>,
    pub body: Range<usize>,
}

/// Takes the message at `position` and moves `position` past it; `None` at the end of the stream.
///
/// A stream may end without an end marker, but not inside a message and not before the end of `stream`.
pub fn next_frame<'a>(
    stream: &'a [u8],
    position: &mut usize,
) -> Result<Option<Frame<'a>>, ArrowError> {
    let cut = |what: &str| fault(format!("the stream ends inside {what}"));
    let mut rest = &stream[*position..];
    if rest.is_empty() {
        return Ok(None);
    }
    // Streams from before Arrow 0.15 have no marker.
    if let Some(after) = rest.strip_prefix(&CONTINUATION_MARKER) {
        rest = after;
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| cut("a message length"))?;
    let length = i32::from_le_bytes(*length);
    if length == 0 {
        return match rest.len() {
            0 => Ok(None),
            extra => Err(fault(format!("{extra} bytes follow the end of the stream"))),
        };
    }
    let length = usize::try_from(length)
        .map_err(|_| fault(format!("a message claims {length} bytes of metadata")))?;
    let (metadata, rest) =
        rest.split_at_checked(length).ok_or_else(|| cut("a message's metadata"))?;
    let message = verify_message(metadata)?;
    let body_len = body_len(&message, rest.len())?;
    let start = stream.len() - rest.len();
    *position = start + body_len;
    Ok(Some(Frame { message, body: start..start + body_len }))
}

/// Verifies that `metadata` is a well-formed message.
pub(super) fn verify_message(metadata: &[u8]) -> Result<Message<'_>, ArrowError> {
    // Parts of a flatbuffer may be shared, so that few bytes describe a huge schema. Arrow writers share
    // nothing but vtables and need over 16 bytes for each table.
    let options = VerifierOptions {
        max_depth: MAX_DEPTH,
        max_tables: (metadata.len() / 16 + 64).min(1_000_000),
        max_apparent_size: metadata.len().saturating_mul(8).saturating_add(1 << 10),
        ..VerifierOptions::default()
    };
    root_as_message_with_opts(&options, metadata).map_err(|error| match error {
        InvalidFlatbuffer::DepthLimitReached => {
            fault("the schema is nested deeper than Arrow readers accept (about 60 levels)")
        }
        error => fault(format!(
            "malformed message metadata: {}",
            error.to_string().lines().next().unwrap_or_default()
        )),
    })
}

/// The length of the body that follows `message`, of which `available` bytes are there.
pub(super) fn body_len(message: &Message<'_>, available: usize) -> Result<usize, ArrowError> {
    let claimed = message.bodyLength();
    match usize::try_from(claimed) {
        Ok(len) if len <= available => Ok(len),
        _ => Err(fault(format!(
            "a message claims a body of {claimed} bytes, the stream has {available} more"
        ))),
    }
}

/// What a checked message is.
pub(super) enum Step<'a> {
    Schema(SchemaRef),
    /// A dictionary, and a schema whose one column has the type of its values.
    Dictionary(DictionaryBatch<'a>, SchemaRef),
    Batch(arrow_ipc::RecordBatch<'a>, SchemaRef),
}

struct Dictionary {
    schema: SchemaRef,
    /// Fields that use it.
    uses: u64,
    /// Whether its values have come.
    sent: bool,
}

/// Checks the messages of one stream, in order.
pub(super) struct Checker {
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, Dictionary>,
    /// What arrays that use each dictionary cost.
    costs: HashMap<i64, Cost>,
    budget: Budget,
}

impl Checker {
    pub(super) fn new(stream_len: usize) -> Self {
        Checker {
            schema: None,
            dictionaries: HashMap::new(),
            costs: HashMap::new(),
            budget: Budget::new(stream_len as u64),
        }
    }

    /// The dictionaries of the schema: identifier and type of the values.
    pub(super) fn dictionary_types(&self) -> impl Iterator<Item = (i64, &DataType)> {
        let types = self.dictionaries.iter();
        types.map(|(id, dictionary)| (*id, dictionary.schema.field(0).data_type()))
    }

    /// Checks one message against those before it.
    pub(super) fn message<'a>(
        &mut self,
        message: &Message<'a>,
        body: Body<'_>,
    ) -> Result<Step<'a>, ArrowError> {
        let version = message.version();
        if version != MetadataVersion::V4 && version != MetadataVersion::V5 {
            return Err(fault(format!(
                "metadata version {version:?} is not supported, only V4 and V5"
            )));
        }
        let kind = message.header_type();
        let schema = match (kind, &self.schema) {
            (MessageHeader::Schema, None) => return self.schema(message),
            (MessageHeader::Schema, Some(_)) => return Err(fault("the stream has two schemas")),
            (_, None) => return Err(fault("the stream does not start with a schema")),
            (_, Some(schema)) => schema.clone(),
        };
        if let Some(batch) = message.header_as_record_batch() {
            check_batch(&batch, &schema, version, body, &self.costs, &mut self.budget)?;
            Ok(Step::Batch(batch, schema))
        } else if let Some(batch) = message.header_as_dictionary_batch() {
            let values = self.dictionary(&batch, version, body)?;
            Ok(Step::Dictionary(batch, values))
        } else {
            Err(fault(format!("a message of type {kind:?} has no place in a stream")))
        }
    }

    fn schema<'a>(&mut self, message: &Message<'a>) -> Result<Step<'a>, ArrowError> {
        let schema =
            message.header_as_schema().ok_or_else(|| fault("a schema message has no schema"))?;
        match schema.endianness() {
            Endianness::Little => {}
            Endianness::Big => return Err(fault("big-endian streams are not supported")),
            other => return Err(fault(format!("unknown endianness {other:?}"))),
        }
        for field in schema.fields().into_iter().flatten() {
            check_union_ids(&field)?;
        }
        let schema = Arc::new(try_fb_to_schema(schema)?);
        check_types(&schema)?;
        for field in schema.fields() {
            self.find_dictionaries(field)?;
        }
        self.schema = Some(schema.clone());
        Ok(Step::Schema(schema))
    }

    /// Registers the dictionaries of a field and of those below; returns how many arrays it has.
    fn find_dictionaries(&mut self, field: &Field) -> Result<u64, ArrowError> {
        let DataType::Dictionary(_, values) = field.data_type() else {
            let mut below = children(field.data_type(), 0).into_iter();
            return below.try_fold(1, |n, (child, _)| Ok(n + self.find_dictionaries(child)?));
        };
        #[expect(deprecated, reason = "there is no other way to learn the identifier")]
        let id = field.dict_id().unwrap_or_default();
        let values = Field::new("", values.as_ref().clone(), true);
        let arrays = self.find_dictionaries(&values)?;
        let entry = self.dictionaries.entry(id).or_insert_with(|| Dictionary {
            schema: Arc::new(Schema::new(vec![values.clone()])),
            uses: 0,
            sent: false,
        });
        entry.uses += 1;
        if entry.schema.field(0) != &values {
            return Err(fault(format!("dictionary {id} is used with two types")));
        }
        self.costs.insert(id, Cost::of_empty(arrays));
        Ok(arrays + 1)
    }

    fn dictionary(
        &mut self,
        batch: &DictionaryBatch<'_>,
        version: MetadataVersion,
        body: Body<'_>,
    ) -> Result<SchemaRef, ArrowError> {
        let id = batch.id();
        let known = self
            .dictionaries
            .get(&id)
            .ok_or_else(|| fault(format!("the schema has no dictionary {id}")))?;
        if batch.isDelta() && !known.sent {
            return Err(fault(format!("dictionary {id} is extended before it is sent")));
        }
        let data = batch.data().ok_or_else(|| fault("a dictionary batch has no data"))?;
        let schema = known.schema.clone();
        let mut cost = check_batch(&data, &schema, version, body, &self.costs, &mut self.budget)?;
        let before = self.costs.entry(id).or_default();
        if known.sent {
            // Joining the batches copies every version once for every field.
            self.budget.spend_copies(*before + cost, known.uses)?;
        }
        if batch.isDelta() {
            cost = *before + cost;
        }
        *before = cost;
        self.dictionaries.entry(id).and_modify(|d| d.sent = true);
        Ok(schema)
    }
}
