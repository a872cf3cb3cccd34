//! The library itself, on shared memory, as a [`Backend`].

use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use qadataswap::arrow_array::{Int64Array, RecordBatch, StringArray};
use qadataswap::arrow_schema::SchemaRef;
use qadataswap::{
    Batches, Lease, OnSlowReader, QADataSwapError, Reader, ReaderOptions, Result, Writer,
    WriterOptions, create_reader, create_writer,
};

use super::{
    Backend, CAPACITY, Config, How, Message, ReaderCounts, Refusal, Seen, VALUE_BYTES, Way,
    WriterCounts,
};
use crate::support::RingName;

/// So many batches that depend on `sequence`, and the bytes that the library makes of them.
pub fn arrow_message(sequence: u64, count: usize) -> Message {
    struct Scratch(Writer, Reader, #[expect(dead_code, reason = "removes the ring")] RingName);
    thread_local! {
        static SCRATCH: Scratch = {
            let name = RingName::new("model-arrow");
            let writer = create_writer(name.name(), 1).unwrap();
            let reader = create_reader(name.name()).unwrap();
            Scratch(writer, reader, name)
        };
    }
    let batches: Vec<_> = (0..count as u64).map(|n| batch(sequence * 31 + n)).collect();
    let bytes = SCRATCH.with(|Scratch(writer, reader, _)| {
        writer.write_batches(&schema(), &batches).unwrap();
        reader.read(0).unwrap().expect("just published")
    });
    Message { bytes, batches: Some(batches) }
}

/// One of batches that all take as many bytes: room that strings once had is kept for those that come after, so that
/// the length of others would depend on what was written before.
fn batch(number: u64) -> RecordBatch {
    let numbers: Int64Array = (0..20).map(|row| Some((number + row) as i64)).collect();
    let words: StringArray = (0..20).map(|row| Some(format!("{number:12} {row}"))).collect();
    let columns = [("n", Arc::new(numbers) as _, true), ("s", Arc::new(words) as _, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn schema() -> SchemaRef {
    batch(0).schema()
}

pub struct Shm {
    config: Config,
    /// `None` after a takeover that was refused, or the end.
    writer: Option<Writer>,
    name: RingName,
}

/// What is held.
pub enum Held {
    Bytes(Lease),
    Batches(Vec<RecordBatch>),
}

fn refusal(error: QADataSwapError) -> Refusal {
    match error {
        QADataSwapError::WouldBlock { behind, pid, .. } => {
            assert_eq!(pid, std::process::id());
            Refusal::WouldBlock { behind }
        }
        QADataSwapError::AllSlotsLeased { pids, .. } => {
            assert_eq!(pids, [std::process::id()]);
            Refusal::AllSlotsLeased
        }
        QADataSwapError::MessageTooLarge { needed_bytes, available_bytes } => {
            Refusal::TooLarge { needed_bytes, available_bytes }
        }
        error => panic!("{error:?}"),
    }
}

impl Shm {
    fn writer_mut(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("there is one")
    }
}

impl Backend for Shm {
    type Reader = Reader;
    type Held = Held;

    fn new(config: Config) -> Self {
        Self { config, writer: None, name: RingName::new("model") }
    }

    fn take_over(&mut self, slots: u64) -> std::result::Result<(), Refusal> {
        self.writer = None;
        let options = WriterOptions::new(slots as usize).slot_capacity(CAPACITY);
        let options = options.on_slow_reader(self.config.on_slow_reader);
        let options = options.rollover(self.config.rollover);
        self.writer = Some(options.create(self.name.name()).map_err(refusal)?);
        Ok(())
    }

    fn close(&mut self) {
        self.writer.take().expect("there is one").close().unwrap();
    }

    fn unlink(&mut self) {
        match self.writer.take() {
            Some(writer) => writer.unlink().unwrap(),
            None => qadataswap::unlink(self.name.name()).unwrap(),
        }
    }

    fn set_on_slow_reader(&mut self, on_slow_reader: OnSlowReader) {
        self.config.on_slow_reader = on_slow_reader;
        if let Some(writer) = &self.writer {
            writer.set_on_slow_reader(on_slow_reader);
        }
    }

    fn write(&mut self, message: &Message) -> std::result::Result<(), Refusal> {
        let writer = self.writer_mut();
        match message.batches.as_deref() {
            None => writer.write(&message.bytes),
            Some([batch]) => writer.write_arrow(batch),
            Some(batches) => writer.write_batches(&schema(), batches),
        }
        .map_err(refusal)
    }

    fn reserve(
        &mut self,
        len: usize,
        message: Option<&Message>,
    ) -> std::result::Result<(), Refusal> {
        let mut slot = self.writer_mut().reserve(len).map_err(refusal)?;
        if let Some(message) = message {
            let half = message.bytes.len() / 2;
            slot.write_all(&message.bytes[..half]).unwrap();
            slot.write_at(half, &message.bytes[half..]).unwrap();
            slot.publish().unwrap();
        }
        Ok(())
    }

    fn writer(&self) -> Option<WriterCounts> {
        let writer = self.writer.as_ref()?;
        let stats = writer.stats();
        assert_eq!((stats.wakes, stats.reclaimed), (0, 0), "nobody sleeps or dies");
        Some(WriterCounts {
            slots: writer.slot_count() as u64,
            capacity: writer.slot_capacity(),
            position: stats.position,
            sequence: stats.message_count,
            published: stats.published,
            published_bytes: stats.published_bytes,
            rollovers: stats.rollovers,
            epoch: stats.epoch,
            lease_skips: stats.lease_skips,
            stalls: stats.stalls,
            evictions: stats.evictions,
        })
    }

    fn attach(&self, how: &How) -> Reader {
        let options = ReaderOptions::new().attach_timeout_ms(0).start(how.start);
        let options = options.on_overrun(how.on_overrun).lossless(how.lossless);
        // A lossless reader cannot do without.
        let options = options.register(how.register || how.lossless);
        options.max_leases(how.max_leases).attach(self.name.name()).unwrap()
    }

    fn read(&self, reader: &mut Reader, way: Way, expected: &Seen) -> (Seen, Option<Held>) {
        let message = match expected {
            Seen::Message(message) => Some(message),
            _ => None,
        };
        match read(reader, way, message) {
            Ok(Some((seen, held))) => (seen, held),
            Ok(None) => (Seen::Nothing, None),
            Err(error) => (seen(error), None),
        }
    }

    fn rejoin(&self, reader: &mut Reader) -> u64 {
        reader.rejoin().unwrap()
    }

    fn reader(&self, reader: &Reader) -> ReaderCounts {
        let stats = reader.stats();
        ReaderCounts {
            position: stats.position,
            sequence: stats.sequence,
            consumed: stats.consumed,
            lost: stats.lost,
            overruns: stats.overruns,
            evictions: stats.evictions,
            timeouts: stats.timeouts,
            leases: stats.leases,
            lag: stats.lag,
        }
    }

    fn is_unchanged(held: &Held, message: &Message) -> bool {
        match held {
            Held::Bytes(lease) => **lease == *message.bytes,
            Held::Batches(batches) => Some(batches) == message.batches.as_ref(),
        }
    }
}

/// What an error of a read says.
fn seen(error: QADataSwapError) -> Seen {
    match error {
        QADataSwapError::Closed => Seen::Closed,
        QADataSwapError::Overrun { lost } => Seen::Overrun(lost),
        QADataSwapError::Evicted { lost } => Seen::Evicted(lost),
        QADataSwapError::BufferTooSmall { needed_bytes, .. } => Seen::BufferTooSmall(needed_bytes),
        QADataSwapError::SizeMismatch { found_bytes, .. } => Seen::SizeMismatch(found_bytes),
        QADataSwapError::ArrowError(_) => Seen::NotArrow,
        QADataSwapError::NotOneBatch { found } => Seen::NotOneBatch(found),
        QADataSwapError::TooManyLeases { .. } => Seen::TooManyLeases,
        QADataSwapError::HoldsUnavailable { .. } => Seen::NotRegistered,
        error => panic!("{error:?}"),
    }
}

/// Reads in some way. What was decoded counts as `expected` if it is equal to it.
fn read(
    reader: &Reader,
    way: Way,
    expected: Option<&Rc<Message>>,
) -> Result<Option<(Seen, Option<Held>)>> {
    let bytes = |bytes: &[u8]| {
        Seen::Message(Rc::new(Message {
            bytes: bytes.to_vec(),
            batches: expected.and_then(|message| message.batches.clone()),
        }))
    };
    let decoded = |batches: &[RecordBatch]| {
        Seen::Message(Rc::new(Message {
            bytes: expected.map(|message| message.bytes.clone()).unwrap_or_default(),
            batches: Some(batches.to_vec()),
        }))
    };
    // One batch made of those there were.
    let joined = |found: RecordBatch| match expected.map(|message| (message, &message.batches)) {
        Some((message, Some(batches))) if batches.len() != 1 => {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            assert_eq!((found.schema(), found.num_rows()), (schema(), rows));
            for (index, batch) in batches.iter().enumerate() {
                assert_eq!(found.slice(index * batch.num_rows(), batch.num_rows()), *batch);
            }
            Seen::Message(message.clone())
        }
        _ => decoded(&[found]),
    };
    let hold = |batches: Vec<RecordBatch>| {
        // Nothing of an empty one is held.
        (!batches.is_empty() && batches[0].num_rows() > 0).then_some(Held::Batches(batches))
    };
    let checked = |Batches { schema: found, batches }| {
        assert_eq!(found, schema());
        batches
    };
    Ok(match way {
        Way::Read => reader.read(0)?.map(|found| (bytes(&found), None)),
        Way::ReadTo => {
            let mut out = vec![1; 3];
            let read = reader.read_to(&mut out, 0)?;
            assert!(read || out.is_empty());
            read.then(|| (bytes(&out), None))
        }
        Way::ReadInto(size) => {
            let mut buffer = vec![0; size];
            reader.read_into(&mut buffer, 0)?.map(|len| (bytes(&buffer[..len]), None))
        }
        Way::ReadExact(size) => {
            let mut buffer = vec![0; size];
            reader.read_exact(&mut buffer, 0)?.then(|| (bytes(&buffer), None))
        }
        Way::Wait => reader.wait(0)?.then_some((Seen::There, None)),
        Way::ReadArrowUnchecked if expected.is_some_and(|message| message.batches.is_some()) => {
            // SAFETY: the message is one that this program has encoded, and nobody else stores to the ring.
            let found = unsafe { reader.read_arrow_zero_copy_unchecked(0) }?;
            found.map(|found| (joined(found.clone()), hold(vec![found])))
        }
        Way::ReadValue => {
            reader.read_value::<[u8; VALUE_BYTES]>(0)?.map(|found| (bytes(&found), None))
        }
        Way::Skip => reader.skip()?.then_some((Seen::Skipped, None)),
        Way::Lease => reader.lease(0)?.map(|lease| (bytes(&lease), Some(Held::Bytes(lease)))),
        Way::ReadArrow => reader.read_arrow(0)?.map(|found| (joined(found), None)),
        Way::ReadBatches => {
            reader.read_batches(0)?.map(checked).map(|found| (decoded(&found), None))
        }
        Way::ReadArrowZeroCopy | Way::ReadArrowUnchecked => {
            reader.read_arrow_zero_copy(0)?.map(|found| (joined(found.clone()), hold(vec![found])))
        }
        Way::ReadBatchesZeroCopy => reader
            .read_batches_zero_copy(0)?
            .map(checked)
            .map(|found| (decoded(&found), hold(found))),
    })
}
