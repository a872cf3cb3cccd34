//! iceoryx2's publish-subscribe: loaned, filled, sent; received and read in place.
//!
//! Everything it makes has the run's own prefix and root folder. Nothing is lost: subscribers have as much room as
//! the rings here, and the publisher waits for them.

use arrow_array::RecordBatch;
use iceoryx2::config::Config;
use iceoryx2::node::{Node, NodeBuilder};
use iceoryx2::port::backpressure_strategy::BackpressureStrategy;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    Alignment, FileName, Path, SemanticString, ServiceName, SignalHandlingMode, ipc,
};

use super::slots;
use crate::Result;
use crate::batches::{BatchSender, encode_into};
use crate::channel::{Channel, Link, Receiver, Sender, poll};
use crate::spec::Load;

/// A message of 40 bytes has a type of its own; what is larger is a slice.
type Small = [u64; 5];
const SMALL: usize = size_of::<Small>();
/// How long a stream is that was encoded in a slice for the longest: in the user's header, which is beside iceoryx2's own.
type Length = u64;

/// Read in place.
pub struct Iceoryx2;

pub struct IceoryxSender {
    publisher: Outgoing,
    capacity: usize,
    _node: Node<ipc::Service>,
}

enum Outgoing {
    Small(Publisher<ipc::Service, Small, ()>),
    Slice(Publisher<ipc::Service, [u8], ()>),
    Stream(Publisher<ipc::Service, [u8], Length>),
}

pub struct IceoryxReceiver {
    subscriber: Incoming,
    crowded: bool,
    _node: Node<ipc::Service>,
}

enum Incoming {
    Small(Subscriber<ipc::Service, Small, ()>),
    Slice(Subscriber<ipc::Service, [u8], ()>),
    Stream(Subscriber<ipc::Service, [u8], Length>),
}

/// What the names of its shared memory begin with.
pub fn prefix(run: &str) -> String {
    format!("{run}-iox-")
}

fn node(channel: &Channel) -> Result<Node<ipc::Service>> {
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(channel.spec.scratch.as_bytes())?);
    config.global.prefix = FileName::new(prefix(&channel.spec.prefix).as_bytes())?;
    let node = NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<ipc::Service>()?;
    Ok(node)
}

/// The service of one channel for a type of payload, with the same qualities at both ends.
macro_rules! service {
    ($node:expr, $channel:expr, $payload:ty, $header:ty) => {{
        let spec = $channel.spec;
        $node
            .service_builder(&ServiceName::new(&$channel.name())?)
            .publish_subscribe::<$payload>()
            .user_header::<$header>()
            .payload_alignment(Alignment::new(64).expect("a power of two"))
            .max_publishers(1)
            .max_subscribers(spec.readers.max(1))
            .max_nodes(spec.readers + 2)
            .history_size(0)
            .subscriber_max_buffer_size(slots(spec))
            .subscriber_max_borrowed_samples(1)
            .enable_safe_overflow(false)
            .open_or_create()?
    }};
}

impl Link for Iceoryx2 {
    type Sender = IceoryxSender;
    type Receiver = IceoryxReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        let node = node(channel)?;
        let capacity = channel.spec.capacity;
        let waits = BackpressureStrategy::RetryUntilDelivered;
        let publisher = match channel.spec.load {
            Load::Bytes(SMALL) => {
                let service = service!(node, channel, Small, ());
                let builder = service.publisher_builder().backpressure_strategy(waits);
                Outgoing::Small(builder.create()?)
            }
            Load::Bytes(_) => {
                let service = service!(node, channel, [u8], ());
                let builder = service.publisher_builder().backpressure_strategy(waits);
                Outgoing::Slice(builder.initial_max_slice_len(capacity).create()?)
            }
            Load::Rows(_) => {
                let service = service!(node, channel, [u8], Length);
                let builder = service.publisher_builder().backpressure_strategy(waits);
                Outgoing::Stream(builder.initial_max_slice_len(capacity).create()?)
            }
        };
        Ok(IceoryxSender { publisher, capacity, _node: node })
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        let node = node(channel)?;
        let subscriber = match channel.spec.load {
            Load::Bytes(SMALL) => {
                Incoming::Small(service!(node, channel, Small, ()).subscriber_builder().create()?)
            }
            Load::Bytes(_) => {
                Incoming::Slice(service!(node, channel, [u8], ()).subscriber_builder().create()?)
            }
            Load::Rows(_) => {
                let service = service!(node, channel, [u8], Length);
                Incoming::Stream(service.subscriber_builder().create()?)
            }
        };
        Ok(IceoryxReceiver { subscriber, crowded: channel.spec.crowded, _node: node })
    }
}

impl Sender for IceoryxSender {
    #[inline(always)]
    fn send(&mut self, message: &[u8]) -> Result<()> {
        match &self.publisher {
            Outgoing::Small(publisher) => {
                let mut value: Small = [0; 5];
                for (word, bytes) in value.iter_mut().zip(message.as_chunks().0) {
                    *word = u64::from_ne_bytes(*bytes);
                }
                publisher.loan_uninit()?.write_payload(value).send()?;
            }
            Outgoing::Slice(publisher) => {
                publisher.loan_slice_uninit(message.len())?.write_from_slice(message).send()?;
            }
            Outgoing::Stream(_) => return Err("bytes do not go where batches do".into()),
        }
        Ok(())
    }
}

impl BatchSender for IceoryxSender {
    /// Encoded where the reader finds it: into a loan for the longest stream, because its length is known only then.
    fn send_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let Outgoing::Stream(publisher) = &self.publisher else {
            return Err("batches do not go where bytes do".into());
        };
        let mut sample = publisher.loan_slice_uninit(self.capacity)?;
        let room = sample.payload_mut();
        // SAFETY: the loan is this publisher's until it is sent. Its bytes are of shared memory, zeroed when it was made
        // or left by earlier messages, never undefined.
        let room = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), room.len()) };
        *sample.user_header_mut() = encode_into(batch, room)? as Length;
        // SAFETY: as above.
        let sample = unsafe { sample.assume_init() };
        sample.send()?;
        Ok(())
    }
}

impl Receiver for IceoryxReceiver {
    #[inline(always)]
    fn receive<R>(&mut self, mut read: impl FnMut(&[u8]) -> R) -> Result<R> {
        match &self.subscriber {
            Incoming::Small(subscriber) => {
                let sample = poll(self.crowded, || Ok(subscriber.receive()?))?;
                Ok(read(sample.map(u64::to_ne_bytes).as_flattened()))
            }
            Incoming::Slice(subscriber) => {
                let sample = poll(self.crowded, || Ok(subscriber.receive()?))?;
                Ok(read(&sample))
            }
            Incoming::Stream(subscriber) => {
                let sample = poll(self.crowded, || Ok(subscriber.receive()?))?;
                let length = usize::try_from(*sample.user_header())?;
                Ok(read(sample.get(..length).ok_or("a stream longer than its slice")?))
            }
        }
    }
}
