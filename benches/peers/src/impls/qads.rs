//! qadataswap: typed values of 40 bytes, larger messages copied or in place, and record batches.

use arrow_array::RecordBatch;
use qadataswap::{OnSlowReader, Reader, ReaderOptions, WaitStrategy, Writer, WriterOptions};

use super::slots;
use crate::Result;
use crate::batches::{BatchReceiver, BatchSender};
use crate::channel::{Channel, Link, Receiver, Sender};
use crate::say;
use crate::spec::{Impl, Mode};

/// The longest wait for a message; the run is over long before.
const FOREVER_MS: u64 = u64::MAX;

/// A message of 40 bytes, as a program would have it.
type Small = [u64; 5];

/// Copied out to the reader's own memory.
pub struct Copied;
/// Written into a reserved slot, read in a leased one.
pub struct InPlace;

fn create(channel: &Channel) -> Result<Writer> {
    let options = WriterOptions::new(slots(channel.spec))
        .slot_capacity(channel.spec.capacity)
        .prefault(true)
        .on_slow_reader(OnSlowReader::Wait { limit_ms: 60_000 });
    Ok(options.create(&channel.name())?)
}

fn attach(channel: &Channel) -> Result<Reader> {
    let spec = channel.spec;
    let lossless = spec.implementation == Impl::QadataswapLossless;
    // A writer of a lossy ring waits for nobody: who offers it the core is without it for long.
    let all_wait = lossless || spec.mode == Mode::PingPong;
    let wait = match (spec.mode, spec.crowded) {
        (Mode::Wake, _) => WaitStrategy::Sleep,
        (_, true) if all_wait => WaitStrategy::Yield,
        (_, true) => WaitStrategy::default(),
        (_, false) => WaitStrategy::Spin,
    };
    // Whatever is compared with maps its memory so.
    let writable = spec.implementation != Impl::QadataswapReadOnly;
    let options = ReaderOptions::new().wait(wait).lossless(lossless).prefault(true);
    let options = options.writable_mapping(writable);
    Ok(options.attach(&channel.name())?)
}

/// Writes, and removes the ring at the end.
pub struct QadsSender {
    writer: Option<Writer>,
    in_place: bool,
}

impl QadsSender {
    pub fn new(channel: &Channel, in_place: bool) -> Result<Self> {
        Ok(Self { writer: Some(create(channel)?), in_place })
    }

    #[inline(always)]
    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("there until the end")
    }
}

impl Drop for QadsSender {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.writer.take().map(Writer::unlink) {
            say::problem(format_args!("a ring is left: {error}"));
        }
    }
}

impl Sender for QadsSender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        if self.in_place {
            let mut slot = self.writer().reserve(message.len())?;
            slot.write_at(0, message)?;
            slot.publish()?;
            return Ok(());
        }
        if let Ok(bytes) = <&[u8; size_of::<Small>()]>::try_from(message) {
            self.writer().write_value(bytes)?;
        } else {
            self.writer().write(message)?;
        }
        Ok(())
    }
}

impl BatchSender for QadsSender {
    #[inline(always)]
    fn send_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer().write_arrow(batch)?)
    }
}

/// Reads copies.
pub struct CopyingReceiver {
    reader: Reader,
    buffer: Vec<u8>,
}

impl Receiver for CopyingReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        const NONE: &str = "no message for a very long time";
        if self.buffer.len() == size_of::<Small>() {
            let value: Small = self.reader.read_value(FOREVER_MS)?.ok_or(NONE)?;
            return Ok(read(value.map(u64::to_ne_bytes).as_flattened()));
        }
        let length = self.reader.read_into(&mut self.buffer, FOREVER_MS)?.ok_or(NONE)?;
        Ok(read(&self.buffer[..length]))
    }

    fn lost(&self) -> u64 {
        self.reader.stats().lost
    }
}

impl BatchReceiver for CopyingReceiver {
    #[inline(always)]
    fn receive_batch<R>(&mut self, mut read: impl FnMut(&RecordBatch) -> R) -> Result<R> {
        let batch = self.reader.read_arrow(FOREVER_MS)?.ok_or("no batch for a very long time")?;
        Ok(read(&batch))
    }

    fn lost_batches(&self) -> u64 {
        self.lost()
    }
}

/// Reads in place.
pub struct LeasingReceiver(Reader);

impl Receiver for LeasingReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        let lease = self.0.lease(FOREVER_MS)?.ok_or("no message for a very long time")?;
        Ok(read(&lease))
    }

    fn lost(&self) -> u64 {
        self.0.stats().lost
    }
}

impl BatchReceiver for LeasingReceiver {
    #[inline(always)]
    fn receive_batch<R>(&mut self, mut read: impl FnMut(&RecordBatch) -> R) -> Result<R> {
        let batch =
            self.0.read_arrow_zero_copy(FOREVER_MS)?.ok_or("no batch for a very long time")?;
        Ok(read(&batch))
    }

    fn lost_batches(&self) -> u64 {
        self.0.stats().lost
    }
}

impl Link for Copied {
    type Sender = QadsSender;
    type Receiver = CopyingReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        QadsSender::new(channel, false)
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        Ok(CopyingReceiver { reader: attach(channel)?, buffer: vec![0; channel.spec.capacity] })
    }
}

impl Link for InPlace {
    type Sender = QadsSender;
    type Receiver = LeasingReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        QadsSender::new(channel, true)
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        attach(channel).map(LeasingReceiver)
    }
}
