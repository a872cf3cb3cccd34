//! A Unix socket (a stream) for each reader.

use super::stream::{StreamReceiver, StreamSender};
use crate::Result;
use crate::channel::{Channel, Link};

/// Unix sockets.
pub struct Socket;

impl Link for Socket {
    type Sender = StreamSender;
    type Receiver = StreamReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        let ends = channel.writing_ends()?;
        for end in &ends {
            // The system gives what its limit allows.
            rustix::net::sockopt::set_socket_send_buffer_size(end, 4 << 20)?;
        }
        Ok(StreamSender::new(ends))
    }

    fn receiver(channel: &Channel, reader: usize) -> Result<Self::Receiver> {
        StreamReceiver::new(channel, channel.reading_end(reader)?)
    }
}
