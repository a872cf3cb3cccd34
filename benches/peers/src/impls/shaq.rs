//! shaq's broadcast queue: reserved, filled, published; reserved and read in place.
//!
//! Its cells have a type, so that there is one for each size class: a length and so many bytes, aligned to cache
//! lines. Nothing is lost: the producer waits for the slowest consumer.

use std::mem::MaybeUninit;
use std::time::Duration;

use arrow_array::RecordBatch;
use shaq::broadcast::{Broadcast, BroadcastConfig, Consumer, Producer, ProducerId};

use super::slots;
use crate::Result;
use crate::batches::{BatchSender, encode_into};
use crate::channel::{Channel, Link, Receiver, Sender, poll};

/// Read in place.
pub struct Shaq;

pub struct ShaqSender {
    producer: Box<dyn Write>,
    crowded: bool,
}

pub struct ShaqReceiver {
    consumer: Box<dyn Read>,
    sleeps: bool,
    crowded: bool,
}

/// A message of up to `N` bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Cell<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

/// A producer of cells of some size.
trait Write {
    fn write(&mut self, message: &[u8], crowded: bool) -> Result<()>;
    /// Encodes a batch where consumers find it.
    fn encode(&mut self, batch: &RecordBatch, crowded: bool) -> Result<()>;
}

/// A consumer of cells of some size.
trait Read {
    /// Hands the next message to `read`, waiting for it asleep if told so; `false` if there is none.
    fn try_read(&mut self, sleeps: bool, read: &mut dyn FnMut(&[u8])) -> bool;
}

impl<const N: usize> Write for Producer<Cell<N>> {
    #[inline(always)]
    fn write(&mut self, message: &[u8], crowded: bool) -> Result<()> {
        if message.len() > N {
            return Err("the message exceeds the cell".into());
        }
        publish(self, crowded, |bytes| {
            bytes[..message.len()].copy_from_slice(message);
            Ok(message.len())
        })
    }

    fn encode(&mut self, batch: &RecordBatch, crowded: bool) -> Result<()> {
        publish(self, crowded, |bytes| encode_into(batch, bytes))
    }
}

/// Waits for a cell, has `fill` write a message to it and say how long that is, and publishes it.
#[inline(always)]
fn publish<const N: usize>(
    producer: &mut Producer<Cell<N>>,
    crowded: bool,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize>,
) -> Result<()> {
    poll(crowded, || {
        // SAFETY: a cell is nothing but bytes, of zeroed or earlier shared memory where they are not written now, which
        // are never undefined.
        let Some(mut guard) = (unsafe { producer.try_reserve_write() }) else { return Ok(None) };
        let cell: *mut Cell<N> = MaybeUninit::as_mut_ptr(guard.as_mut());
        // SAFETY: likewise, and the cell is this producer's until it is published, which is when the guard is dropped.
        let cell = unsafe { &mut *cell };
        cell.length = fill(&mut cell.bytes)?;
        Ok(Some(()))
    })
}

impl<const N: usize> Read for Consumer<Cell<N>> {
    #[inline(always)]
    fn try_read(&mut self, sleeps: bool, read: &mut dyn FnMut(&[u8])) -> bool {
        let guard = match sleeps {
            true => self.reserve_read_timeout(Duration::from_secs(1)).ok(),
            false => self.try_reserve_read(),
        };
        let Some(guard) = guard else { return false };
        let cell = guard.as_ref();
        read(&cell.bytes[..cell.length.min(N)]);
        true
    }
}

/// Does something with the size class of a capacity as `N`.
macro_rules! with_class {
    ($capacity:expr, $then:ident, $($argument:expr),*) => {
        match $capacity {
            ..=40 => $then::<40>($($argument),*),
            ..=1024 => $then::<1024>($($argument),*),
            ..=8192 => $then::<8192>($($argument),*),
            ..=65_536 => $then::<65_536>($($argument),*),
            ..=1_048_576 => $then::<1_048_576>($($argument),*),
            ..=80_000_000 => $then::<80_000_000>($($argument),*),
            other => Err(format!("no cells of {other} bytes").into()),
        }
    };
}

fn produce<const N: usize>(channel: &Channel) -> Result<Box<dyn Write>> {
    let config = BroadcastConfig {
        capacity: slots(channel.spec),
        producer_slots: 1,
        consumer_slots: channel.spec.readers.max(1),
    };
    // SAFETY: the file is this channel's, empty until now, and never resized; all use cells of this type, which any
    // bytes are valid for.
    let queue = unsafe { Broadcast::<Cell<N>>::create(&channel.memory()?, config) }?;
    Ok(Box::new(queue.producer(ProducerId::new(1))?))
}

fn consume<const N: usize>(channel: &Channel) -> Result<Box<dyn Read>> {
    // SAFETY: as above; it has been created.
    let queue = unsafe { Broadcast::<Cell<N>>::join(&channel.memory()?) }?;
    Ok(Box::new(queue.consumer()?))
}

impl Link for Shaq {
    type Sender = ShaqSender;
    type Receiver = ShaqReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        let producer = with_class!(channel.spec.capacity, produce, channel)?;
        Ok(ShaqSender { producer, crowded: channel.spec.crowded })
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        Ok(ShaqReceiver {
            consumer: with_class!(channel.spec.capacity, consume, channel)?,
            sleeps: channel.spec.crowded,
            crowded: channel.spec.crowded,
        })
    }
}

impl Sender for ShaqSender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.producer.write(message, self.crowded)
    }
}

impl BatchSender for ShaqSender {
    fn send_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.producer.encode(batch, self.crowded)
    }
}

impl Receiver for ShaqReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        let (consumer, sleeps) = (&mut self.consumer, self.sleeps);
        poll(self.crowded, || {
            let mut result = None;
            consumer.try_read(sleeps, &mut |bytes| result = Some(read(bytes)));
            Ok(result)
        })
    }
}
