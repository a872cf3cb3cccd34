//! A pipe for each reader.

use super::stream::{StreamReceiver, StreamSender};
use crate::Result;
use crate::channel::{Channel, Link};

/// The largest that anybody may have, by default.
const PIPE_BYTES: usize = 1 << 20;

/// Pipes.
pub struct Pipe;

impl Link for Pipe {
    type Sender = StreamSender;
    type Receiver = StreamReceiver;

    fn sender(channel: &Channel) -> Result<Self::Sender> {
        let ends = channel.writing_ends()?;
        for end in &ends {
            // One that is not allowed keeps the size it has.
            let _ = rustix::pipe::fcntl_setpipe_size(end, PIPE_BYTES);
        }
        Ok(StreamSender::new(ends))
    }

    fn receiver(channel: &Channel, reader: usize) -> Result<Self::Receiver> {
        StreamReceiver::new(channel, channel.reading_end(reader)?)
    }
}
