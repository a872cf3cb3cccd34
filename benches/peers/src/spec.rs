//! What is measured, and what each worker process is told about it.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A way to get messages from one process to another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Impl {
    /// A cache line each way that only counts: the floor.
    Raw,
    /// A cache line each way that carries 40 bytes and a stamp.
    Stamped,
    /// The same protocol as qadataswap, copied by memcpy (not sound).
    Memcpy,
    /// qadataswap, copied out.
    Qadataswap,
    /// qadataswap, copied out through a read-only mapping, as it is if nothing is asked for.
    QadataswapReadOnly,
    /// qadataswap, written and read in place.
    QadataswapInPlace,
    /// qadataswap with a lossless reader.
    QadataswapLossless,
    /// iceoryx2, read in place.
    Iceoryx2,
    /// shaq's broadcast queue, read in place.
    Shaq,
    /// A Unix socket.
    Socket,
    /// A pipe.
    Pipe,
    /// Two futex words.
    Futex,
}

impl Impl {
    /// As in tables and results.
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// So many bytes.
    Bytes(usize),
    /// A batch of eight columns with so many rows.
    Rows(usize),
}

/// What is done with the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// There and back, the next after the last.
    PingPong,
    /// Sent when due, whatever became of those before.
    OpenLoop,
    /// As fast as possible.
    Throughput,
    /// What a publish costs.
    Publish,
    /// There and back between processes that sleep.
    Wake,
    /// Each side of a large batch alone, beside memcpy.
    Sides,
    /// How often memory is allocated.
    Allocations,
}

impl Mode {
    /// As in tables and results.
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }
}

/// What one worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub implementation: Impl,
    pub load: Load,
    pub mode: Mode,
    /// Which of the workers this is: 0 begins.
    pub role: usize,
    /// How many readers there are (in modes with one writer).
    pub readers: usize,
    /// Messages before measuring, and measured ones.
    pub warm_up: usize,
    pub count: usize,
    /// Nanoseconds after which there are no more messages, however few there were.
    pub budget_ns: u64,
    /// Nanoseconds between two messages sent when due.
    pub interval_ns: u64,
    /// The core to stay on.
    pub core: usize,
    /// Whether there are more processes than cores, so that whoever waits has to let others run.
    pub crowded: bool,
    /// Begins the name of everything that is made for this run.
    pub prefix: String,
    /// Where files may be made.
    pub scratch: String,
    /// Descriptors inherited for each channel.
    pub channels: Vec<ChannelFds>,
    /// Handles to be attached (idle readers).
    pub handles: usize,
    /// Descriptor of the page that all share.
    pub board: i32,
    pub ns_per_tick: f64,
    /// Largest message in bytes.
    pub capacity: usize,
    pub parent: u32,
}

impl Spec {
    /// Messages of a run.
    pub fn total(&self) -> u64 {
        (self.warm_up + self.count) as u64
    }
}

/// Descriptors of one channel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ChannelFds {
    /// Shared memory.
    pub memory: Option<i32>,
    /// For each reader: where the writer writes, where that reader reads.
    pub ends: Vec<(i32, i32)>,
}

/// What a worker found out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Latencies in nanoseconds and how often each was seen.
    pub latencies: Vec<(u64, u64)>,
    /// Messages, and the nanoseconds they took.
    pub messages: u64,
    pub elapsed_ns: f64,
    /// Messages that a lossy reader lost.
    pub lost: u64,
    /// Figures of their own name.
    pub named: Vec<(String, f64)>,
}
