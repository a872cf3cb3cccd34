//! The buffers of every Arrow type, and the walk that checks a batch's metadata against its schema.

use std::collections::HashMap;

use arrow_buffer::Buffer;
use arrow_data::BufferSpec;
use arrow_ipc::{FieldNode, MetadataVersion};
use arrow_schema::{ArrowError, DataType, Field, Schema, UnionMode};
use flatbuffers::VectorIter;

use super::{fault, in_field};

/// A message's body, as the reader or as the writer has it.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    Whole(&'a Buffer),
    /// The same, to be read where it is: arrow-rs panics on what is not aligned there.
    InPlace(&'a Buffer),
    /// As `InPlace`, and nobody is going to look at the contents.
    Trusted(&'a Buffer),
    /// The length, and the non-empty buffers with where they start.
    Parts(u64, &'a [(usize, &'a Buffer)]),
}

impl<'a> Body<'a> {
    fn len(&self) -> u64 {
        match self {
            Body::Whole(bytes) | Body::InPlace(bytes) | Body::Trusted(bytes) => bytes.len() as u64,
            Body::Parts(len, _) => *len,
        }
    }

    /// The bytes from `start` to the end of at least the buffer that starts there.
    fn from(&self, start: usize) -> &'a [u8] {
        match self {
            Body::Whole(bytes) | Body::InPlace(bytes) | Body::Trusted(bytes) => {
                bytes.get(start..).unwrap_or_default()
            }
            Body::Parts(_, parts) => match parts.binary_search_by_key(&start, |part| part.0) {
                Ok(index) => parts[index].1.as_slice(),
                Err(_) => &[],
            },
        }
    }
}

/// What a stream may still cost, beyond what is proportional to its length anyway.
pub(super) struct Budget {
    /// Rows whose number the metadata alone says, of null arrays, empty structs, runs and the like; other
    /// rows have at least a bit each. Bounds the validity bitmaps that readers make of them.
    rows: u64,
    /// Bytes that dictionaries which are replaced or extended may be copied to.
    copies: u64,
    /// Bytes looked at again: strings that several views share, dictionaries that many batches use.
    work: u64,
}

impl Budget {
    pub(super) fn new(stream_len: u64) -> Self {
        Budget {
            rows: stream_len.saturating_mul(64).saturating_add(1 << 26),
            copies: stream_len.saturating_mul(16).saturating_add(1 << 24),
            work: stream_len.saturating_mul(1024).saturating_add(1 << 26),
        }
    }

    /// Pays for `uses` copies of a dictionary.
    pub(super) fn spend_copies(&mut self, dictionary: Cost, uses: u64) -> Result<(), ArrowError> {
        let bytes = dictionary.bytes.saturating_mul(uses);
        spend(&mut self.copies, bytes, "dictionary copies")
    }
}

fn spend(left: &mut u64, amount: u64, what: &str) -> Result<(), ArrowError> {
    *left = left.checked_sub(amount).ok_or_else(|| {
        fault(format!("the stream asks for far more {what} than its length accounts for"))
    })?;
    Ok(())
}

/// What a dictionary costs those that use it.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    /// Bytes of its values, with those of the dictionaries inside.
    bytes: u64,
    /// What arrow-rs looks at again for each array that uses it, in bytes.
    recheck: u64,
}

/// What arrow-rs spends at least to look at an array again, in bytes.
const RECHECK_ARRAY: u64 = 64;

impl Cost {
    /// The cost of a dictionary without values, of a type that is made of so many arrays.
    pub(super) fn of_empty(arrays: u64) -> Self {
        Cost { bytes: 0, recheck: arrays.saturating_mul(RECHECK_ARRAY) }
    }
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            bytes: self.bytes.saturating_add(other.bytes),
            recheck: self.recheck.saturating_add(other.recheck),
        }
    }
}

/// Checks a batch against its schema; returns what its values cost if it is a dictionary.
pub(super) fn check_batch(
    batch: &arrow_ipc::RecordBatch<'_>,
    schema: &Schema,
    version: MetadataVersion,
    body: Body<'_>,
    dictionaries: &HashMap<i64, Cost>,
    budget: &mut Budget,
) -> Result<Cost, ArrowError> {
    if batch.compression().is_some() {
        return Err(fault("compressed record batches are not supported"));
    }
    let rows = batch.length();
    let rows = u64::try_from(rows).map_err(|_| fault(format!("a batch has {rows} rows")))?;
    if schema.fields().is_empty() {
        spend(&mut budget.rows, rows, "rows")?;
    }
    let missing = || fault("a record batch lists no field nodes or no buffers");
    let mut walk = Walk {
        nodes: batch.nodes().ok_or_else(missing)?.iter(),
        buffers: batch.buffers().ok_or_else(missing)?.iter(),
        variadic: batch.variadicBufferCounts().map(|counts| counts.iter()),
        body,
        unclaimed: body.len(),
        old_unions: version == MetadataVersion::V4,
        dictionaries,
        budget,
        cost: Cost { bytes: body.len(), recheck: 0 },
    };
    for field in schema.fields() {
        walk.array(field, Rows::Exactly(rows)).map_err(|error| in_field(field.name(), error))?;
    }
    walk.finish()
}

/// How many rows an array must have.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    Any,
    AtLeast(u64),
    Exactly(u64),
}

/// What one buffer of an array of `len` rows must hold.
#[derive(Clone, Copy)]
enum Holds {
    Nothing,
    /// A bit per row, if there are nulls.
    Validity,
    /// A bit per row.
    Bits,
    /// So many bytes per row.
    Fixed(u64),
    /// One more than there are rows, so many bytes each; may be missing if there are no rows.
    Offsets(u64),
    /// What the offsets refer to, whose length arrow-rs checks.
    Bytes,
    Views,
    /// Four bytes per row, which arrow-rs does not copy if misaligned.
    UnionOffsets,
}

/// The buffers of each type, in order. Views are followed by as many as the batch says.
fn buffers(data_type: &DataType, old_unions: bool) -> Result<[Holds; 3], ArrowError> {
    use Holds::*;
    Ok(match data_type {
        DataType::Null | DataType::RunEndEncoded(_, _) => [Nothing, Nothing, Nothing],
        DataType::Boolean => [Validity, Bits, Nothing],
        DataType::Utf8 | DataType::Binary => [Validity, Offsets(4), Bytes],
        DataType::LargeUtf8 | DataType::LargeBinary => [Validity, Offsets(8), Bytes],
        DataType::Utf8View | DataType::BinaryView => [Validity, Views, Nothing],
        DataType::List(_) | DataType::Map(_, _) => [Validity, Offsets(4), Nothing],
        DataType::LargeList(_) => [Validity, Offsets(8), Nothing],
        DataType::ListView(_) => [Validity, Fixed(4), Fixed(4)],
        DataType::LargeListView(_) => [Validity, Fixed(8), Fixed(8)],
        DataType::FixedSizeList(_, _) | DataType::Struct(_) => [Validity, Nothing, Nothing],
        // Until version 5 unions had a validity bitmap.
        DataType::Union(_, UnionMode::Sparse) if old_unions => [Validity, Fixed(1), Nothing],
        DataType::Union(_, UnionMode::Sparse) => [Fixed(1), Nothing, Nothing],
        DataType::Union(_, UnionMode::Dense) if old_unions => [Validity, Fixed(1), UnionOffsets],
        DataType::Union(_, UnionMode::Dense) => [Fixed(1), UnionOffsets, Nothing],
        DataType::Dictionary(keys, _) => return buffers(keys, old_unions),
        DataType::FixedSizeBinary(width) => [Validity, Fixed((*width).max(0) as u64), Nothing],
        other => match other.primitive_width() {
            Some(width) => [Validity, Fixed(width as u64), Nothing],
            None => return Err(fault(format!("type {other} is not supported"))),
        },
    })
}

/// What the buffers of a type that hold numbers must be aligned to, those of validity excepted.
fn value_alignment(data_type: &DataType) -> usize {
    let specs = arrow_data::layout(data_type).buffers;
    let alignments = specs.iter().map(|spec| match spec {
        BufferSpec::FixedWidth { alignment, .. } => *alignment,
        BufferSpec::VariableWidth | BufferSpec::BitMap | BufferSpec::AlwaysNull => 1,
    });
    // Union type ids need none, and their offsets four: the largest would refuse ids.
    match data_type {
        DataType::Union(_, _) => 1,
        _ => alignments.max().unwrap_or(1),
    }
}

/// The arrays below an array of `len` rows, in order. Those of dictionaries come on their own.
pub(super) fn children(data_type: &DataType, len: u64) -> Vec<(&Field, Rows)> {
    match data_type {
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child)
        | DataType::Map(child, _) => vec![(child, Rows::Any)],
        DataType::FixedSizeList(child, size) => {
            let size = (*size).max(0) as u64;
            vec![(child, Rows::AtLeast(len.saturating_mul(size)))]
        }
        DataType::Struct(fields) => {
            fields.iter().map(|child| (child.as_ref(), Rows::Exactly(len))).collect()
        }
        DataType::Union(fields, mode) => {
            let rows = match mode {
                UnionMode::Sparse => Rows::Exactly(len),
                UnionMode::Dense => Rows::Any,
            };
            let fields = fields.iter();
            fields.map(|(_, child)| (child.as_ref(), rows)).collect()
        }
        DataType::RunEndEncoded(ends, values) => vec![(ends, Rows::Any), (values, Rows::Any)],
        _ => Vec::new(),
    }
}

/// Whether only the metadata says how many rows an array of this type has.
fn is_unbacked(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::RunEndEncoded(_, _) => true,
        DataType::Struct(fields) => fields.is_empty(),
        DataType::FixedSizeBinary(size) | DataType::FixedSizeList(_, size) => *size == 0,
        _ => false,
    }
}

/// A walk over one batch's lists of nodes and buffers, along the schema.
struct Walk<'a, 'b> {
    nodes: VectorIter<'a, FieldNode>,
    buffers: VectorIter<'a, arrow_ipc::Buffer>,
    variadic: Option<VectorIter<'a, i64>>,
    body: Body<'b>,
    /// Bytes of the body that no buffer has claimed. Buffers must not share bytes: copying the misaligned
    /// ones could otherwise take any amount of memory.
    unclaimed: u64,
    old_unions: bool,
    dictionaries: &'b HashMap<i64, Cost>,
    budget: &'b mut Budget,
    cost: Cost,
}

impl Walk<'_, '_> {
    fn array(&mut self, field: &Field, rows: Rows) -> Result<(), ArrowError> {
        let data_type = field.data_type();
        let node = self
            .nodes
            .next()
            .ok_or_else(|| fault("the batch has fewer field nodes than the schema"))?;
        let (len, nulls) = (node.length(), node.null_count());
        let (Ok(len), Ok(nulls)) = (u64::try_from(len), u64::try_from(nulls)) else {
            return Err(fault(format!("{len} rows with {nulls} nulls")));
        };
        if nulls > len {
            return Err(fault(format!("{len} rows with {nulls} nulls")));
        }
        match rows {
            Rows::Exactly(rows) if len != rows => {
                return Err(fault(format!("{len} rows instead of {rows}")));
            }
            Rows::AtLeast(rows) if len < rows => {
                return Err(fault(format!("{len} rows where {rows} are needed")));
            }
            _ => {}
        }
        if is_unbacked(data_type) {
            spend(&mut self.budget.rows, len, "rows")?;
        }
        if self.old_unions && nulls > 0 && matches!(data_type, DataType::Union(_, _)) {
            return Err(fault(
                "a union with nulls of its own, from before Arrow 1.0, is not supported",
            ));
        }
        self.cost = self.cost + Cost::of_empty(1);

        let alignment = value_alignment(data_type);
        for holds in buffers(data_type, self.old_unions)? {
            self.buffer(holds, len, nulls, alignment)?;
        }
        if matches!(data_type, DataType::Utf8View | DataType::BinaryView) {
            let count = self.variadic.as_mut().and_then(Iterator::next);
            let count = count.ok_or_else(|| fault("a view has no variadic buffer count"))?;
            let count = usize::try_from(count)
                .ok()
                .filter(|count| *count <= self.buffers.len())
                .ok_or_else(|| fault(format!("a view claims {count} data buffers")))?;
            for _ in 0..count {
                self.buffer(Holds::Bytes, len, nulls, 1)?;
            }
        }
        if matches!(data_type, DataType::ListView(_) | DataType::LargeListView(_)) {
            self.cost.recheck = self.cost.recheck.saturating_add(len.saturating_mul(8));
        }
        if matches!(data_type, DataType::Dictionary(_, _)) {
            #[expect(deprecated, reason = "there is no other way to learn the identifier")]
            let id = field.dict_id().unwrap_or_default();
            let values = self.dictionaries.get(&id).copied().unwrap_or_default();
            self.cost = self.cost + values;
            spend(&mut self.budget.work, values.recheck, "work on dictionaries")?;
        }
        for (child, rows) in children(data_type, len) {
            self.array(child, rows)?;
        }
        Ok(())
    }

    fn buffer(
        &mut self,
        holds: Holds,
        len: u64,
        nulls: u64,
        alignment: usize,
    ) -> Result<(), ArrowError> {
        // arrow-rs panics on a buffer that ends inside an integer.
        let (needed, unit) = match holds {
            Holds::Nothing => return Ok(()),
            Holds::Validity if nulls == 0 => (0, 1),
            Holds::Validity | Holds::Bits => (len.div_ceil(8), 1),
            Holds::Fixed(width) if width.is_power_of_two() => (len.saturating_mul(width), width),
            Holds::Fixed(width) => (len.saturating_mul(width), 1),
            Holds::Views => (len.saturating_mul(16), 16),
            Holds::UnionOffsets => (len.saturating_mul(4), 4),
            Holds::Offsets(width) if len == 0 => (0, width),
            Holds::Offsets(width) => (len.saturating_add(1).saturating_mul(width), width),
            Holds::Bytes => (0, 1),
        };
        let buffer = self
            .buffers
            .next()
            .ok_or_else(|| fault("the batch has fewer buffers than the schema"))?;
        let (start, size) = (buffer.offset(), buffer.length());
        let body = self.body.len();
        let (Ok(start), Ok(size)) = (u64::try_from(start), u64::try_from(size)) else {
            return Err(fault(format!("a buffer of {size} bytes at {start}")));
        };
        if start.checked_add(size).is_none_or(|end| end > body) {
            return Err(fault(format!(
                "a buffer of {size} bytes at {start} is outside the body of {body} bytes"
            )));
        }
        if size % unit != 0 {
            return Err(fault(format!(
                "a buffer of {size} bytes does not hold whole values of {unit} bytes"
            )));
        }
        if size < needed {
            return Err(fault(format!(
                "a buffer of {size} bytes is too small for {len} rows, which need {needed}"
            )));
        }
        self.unclaimed = self
            .unclaimed
            .checked_sub(size)
            .ok_or_else(|| fault("the buffers of a batch overlap"))?;
        let bytes = self.body.from(start as usize);
        let alignment = match holds {
            Holds::Fixed(_) | Holds::Offsets(_) | Holds::Views | Holds::UnionOffsets => alignment,
            Holds::Nothing | Holds::Validity | Holds::Bits | Holds::Bytes => 1,
        };
        if let Body::InPlace(_) | Body::Trusted(_) = self.body
            && size != 0
            && bytes.as_ptr().align_offset(alignment) != 0
        {
            return Err(fault(format!("a buffer is not aligned to {alignment} bytes")));
        }
        match (holds, self.body) {
            (Holds::Views, Body::Trusted(_)) => Ok(()),
            (Holds::Views, _) => {
                let views = bytes.chunks_exact(16).take(len as usize);
                let lengths = views.map(|v| u32::from_le_bytes([v[0], v[1], v[2], v[3]]).into());
                let total = lengths.filter(|length: &u64| *length > 12).sum();
                spend(&mut self.budget.work, total, "string bytes")
            }
            (Holds::UnionOffsets, Body::Whole(_) | Body::InPlace(_) | Body::Trusted(_))
                if bytes.as_ptr().align_offset(4) != 0 =>
            {
                Err(fault("the offsets of a dense union are not aligned"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that nothing is left over.
    fn finish(mut self) -> Result<Cost, ArrowError> {
        let variadic = self.variadic.as_mut().and_then(Iterator::next);
        if self.nodes.next().is_some() || self.buffers.next().is_some() || variadic.is_some() {
            return Err(fault("a record batch lists more nodes or buffers than the schema has"));
        }
        Ok(self.cost)
    }
}
