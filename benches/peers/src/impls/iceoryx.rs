//! iceoryx2's publish-subscribe: loaned, filled, sent; received and read in place.
//!
//! Everything it makes has the run's own prefix and root folder. Nothing is lost: subscribers have as much room as
//! the rings here, and the publisher waits for them.

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
use crate::channel::{Channel, Link, Receiver, Sender, poll};

/// A message of 40 bytes has a type of its own; what is larger is a slice.
type Small = [u64; 5];

/// Read in place.
pub struct Iceoryx2;

pub struct IceoryxSender {
    publisher: Outgoing,
    _node: Node<ipc::Service>,
}

enum Outgoing {
    Small(Publisher<ipc::Service, Small, ()>),
    Slice(Publisher<ipc::Service, [u8], ()>),
}

pub struct IceoryxReceiver {
    subscriber: Incoming,
    crowded: bool,
    _node: Node<ipc::Service>,
}

enum Incoming {
    Small(Subscriber<ipc::Service, Small, ()>),
    Slice(Subscriber<ipc::Service, [u8], ()>),
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
    ($node:expr, $channel:expr, $payload:ty) => {{
        let spec = $channel.spec;
        $node
            .service_builder(&ServiceName::new(&$channel.name())?)
            .publish_subscribe::<$payload>()
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
        let publisher = if channel.spec.capacity == size_of::<Small>() {
            let service = service!(node, channel, Small);
            let builder = service
                .publisher_builder()
                .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
            Outgoing::Small(builder.create()?)
        } else {
            let service = service!(node, channel, [u8]);
            let builder = service
                .publisher_builder()
                .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
                .initial_max_slice_len(channel.spec.capacity);
            Outgoing::Slice(builder.create()?)
        };
        Ok(IceoryxSender { publisher, _node: node })
    }

    fn receiver(channel: &Channel, _reader: usize) -> Result<Self::Receiver> {
        let node = node(channel)?;
        let subscriber = if channel.spec.capacity == size_of::<Small>() {
            Incoming::Small(service!(node, channel, Small).subscriber_builder().create()?)
        } else {
            Incoming::Slice(service!(node, channel, [u8]).subscriber_builder().create()?)
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
        }
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
        }
    }
}
