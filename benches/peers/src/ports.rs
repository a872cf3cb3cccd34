//! The two ends of a channel as the modes use them: numbered messages, made and checked here.

use std::marker::PhantomData;

use crate::Result;
use crate::batches::{BatchReceiver, BatchSender, Batches, Decoded};
use crate::channel::{Channel, Link, Receiver, Sender};
use crate::payload::Payload;
use crate::spec::{Load, Mode, Spec};

/// A channel for one kind of load.
pub trait Ports {
    type Out: Out;
    type In: In;

    /// The writing end; made first.
    fn out(channel: &Channel) -> Result<Self::Out>;
    /// The reading end of that reader; made when all writing ends are.
    fn reading(channel: &Channel, reader: usize) -> Result<Self::In>;
}

/// Where messages are written.
pub trait Out {
    /// Writes message `number`, the whole of it.
    fn send(&mut self, number: u64) -> Result<()>;
}

/// Where messages are read.
pub trait In {
    /// Reads the next message, the whole of it, and checks that it is what was sent.
    fn receive(&mut self) -> Result<()>;

    /// Number of the message that was received last.
    fn number(&self) -> Result<u64>;

    /// Messages lost so far.
    fn lost(&self) -> u64;
}

/// Messages of bytes.
pub struct Bytes<L>(PhantomData<L>);

pub struct BytesOut<S> {
    sender: S,
    payload: Payload,
}

pub struct BytesIn<L: Link> {
    receiver: L::Receiver,
    payload: Payload,
    number: u64,
    /// Messages received, where they do not say their number.
    count: u64,
}

fn payload(spec: &Spec) -> Result<Payload> {
    match spec.load {
        Load::Bytes(size) => Ok(Payload::new(size)),
        Load::Rows(_) => Err("not a load of bytes".into()),
    }
}

impl<L: Link> Ports for Bytes<L> {
    type Out = BytesOut<L::Sender>;
    type In = BytesIn<L>;

    fn out(channel: &Channel) -> Result<Self::Out> {
        Ok(BytesOut { sender: L::sender(channel)?, payload: payload(channel.spec)? })
    }

    fn reading(channel: &Channel, reader: usize) -> Result<Self::In> {
        let receiver = L::receiver(channel, reader)?;
        Ok(BytesIn { receiver, payload: payload(channel.spec)?, number: 0, count: 0 })
    }
}

impl<S: Sender> Out for BytesOut<S> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        self.sender.send(self.payload.message(number))
    }
}

impl<L: Link> In for BytesIn<L> {
    #[inline(always)]
    fn receive(&mut self) -> Result<()> {
        let payload = &self.payload;
        if L::CARRIES {
            self.number = self.receiver.receive(|message| payload.check(message))??;
        } else {
            self.receiver.receive(|_| ())?;
            self.number = self.count + self.receiver.lost();
            self.count += 1;
        }
        Ok(())
    }

    #[inline(always)]
    fn number(&self) -> Result<u64> {
        Ok(self.number)
    }

    fn lost(&self) -> u64 {
        self.receiver.lost()
    }
}

/// Record batches by what carries record batches.
pub struct BatchesOf<L>(PhantomData<L>);
/// Record batches by what carries bytes, as arrow-ipc streams.
pub struct StreamsOf<L>(PhantomData<L>);

pub struct BatchesOut<S> {
    sender: S,
    batches: Batches,
}

pub struct BatchesIn<R> {
    receiver: R,
    batches: Batches,
    /// Batches received.
    count: u64,
    /// Which of those prepared the last one was.
    variant: usize,
    can_lose: bool,
}

impl<R> BatchesIn<R> {
    fn new(channel: &Channel, receiver: R) -> Result<Self> {
        let can_lose = channel.spec.mode != Mode::PingPong;
        Ok(Self { receiver, batches: batches(channel.spec)?, count: 0, variant: 0, can_lose })
    }
}

fn batches(spec: &Spec) -> Result<Batches> {
    match spec.load {
        Load::Rows(rows) => Ok(Batches::new(rows)),
        Load::Bytes(_) => Err("not a load of batches".into()),
    }
}

impl<L: Link<Sender: BatchSender, Receiver: BatchReceiver>> Ports for BatchesOf<L> {
    type Out = BatchesOut<L::Sender>;
    type In = BatchesIn<L::Receiver>;

    fn out(channel: &Channel) -> Result<Self::Out> {
        Ok(BatchesOut { sender: L::sender(channel)?, batches: batches(channel.spec)? })
    }

    fn reading(channel: &Channel, reader: usize) -> Result<Self::In> {
        BatchesIn::new(channel, L::receiver(channel, reader)?)
    }
}

impl<L: Link<Sender: BatchSender>> Ports for StreamsOf<L> {
    type Out = BatchesOut<L::Sender>;
    type In = BatchesIn<Decoded<L::Receiver>>;

    fn out(channel: &Channel) -> Result<Self::Out> {
        Ok(BatchesOut { sender: L::sender(channel)?, batches: batches(channel.spec)? })
    }

    fn reading(channel: &Channel, reader: usize) -> Result<Self::In> {
        BatchesIn::new(channel, Decoded(L::receiver(channel, reader)?))
    }
}

impl<S: BatchSender> Out for BatchesOut<S> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        self.sender.send_batch(self.batches.batch(number))
    }
}

impl<R: BatchReceiver> In for BatchesIn<R> {
    #[inline(always)]
    fn receive(&mut self) -> Result<()> {
        let (batches, count) = (&self.batches, self.count);
        self.variant = self.receiver.receive_batch(|batch| batches.check(batch, count))??;
        self.count += 1;
        Ok(())
    }

    #[inline(always)]
    fn number(&self) -> Result<u64> {
        // Asking costs a line from the writer's core, so that it is not done where nothing can be lost.
        let lost = if self.can_lose { self.receiver.lost_batches() } else { 0 };
        let number = self.count - 1 + lost;
        if self.batches.is(number, self.variant) {
            return Ok(number);
        }
        Err(format!("batch {number} is another").into())
    }

    fn lost(&self) -> u64 {
        self.receiver.lost_batches()
    }
}
