//! Counters of the two handles.

/// What a [`Writer`](crate::Writer) has done.
///
/// ```
/// let name = format!("doc-stats-writer-{}", std::process::id());
/// let writer = qadataswap::create_writer(&name, 4)?;
/// writer.write(b"12345")?;
/// let stats = writer.stats();
/// assert_eq!((stats.published, stats.published_bytes, stats.position), (1, 5, 1));
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterStats {
    /// Messages published through this handle.
    pub published: u64,
    /// Payload bytes published through this handle.
    pub published_bytes: u64,
    /// Messages published since the ring was created, by all its writers.
    pub message_count: u64,
    /// Position of the next message (positions also count slots that were passed over).
    pub position: u64,
    /// Wake-up calls made for sleeping readers.
    pub wakes: u64,
    /// Moves to a segment with other slots.
    pub rollovers: u64,
    /// How many writers the ring has had, this one included.
    pub epoch: u64,
    /// Positions passed over because a reader had leased the slot.
    pub lease_skips: u64,
    /// Writes that waited for a lossless reader.
    pub stalls: u64,
    /// Times that a lossless reader was given up ([`OnSlowReader::Evict`](crate::OnSlowReader::Evict)).
    pub evictions: u64,
    /// Dead readers whose leases and gates were in the way and were taken away.
    pub reclaimed: u64,
}

/// What a [`Reader`](crate::Reader) has seen. After any read,
/// `consumed + lost` = messages published between the attach and the reader's position.
///
/// ```
/// let name = format!("doc-stats-reader-{}", std::process::id());
/// let writer = qadataswap::create_writer(&name, 4)?;
/// let reader = qadataswap::create_reader(&name)?;
/// for n in 0..100u32 {
///     writer.write(&n.to_le_bytes())?;
/// }
/// while reader.skip()? {}
/// let stats = reader.stats();
/// assert_eq!(stats.consumed + stats.lost, 100);
/// assert_eq!((stats.overruns, stats.lag), (1, 0));
/// writer.unlink()?;
/// # Ok::<(), qadataswap::QADataSwapError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderStats {
    /// Messages returned to the caller, or passed over with [`Reader::skip`](crate::Reader::skip).
    pub consumed: u64,
    /// Messages overwritten before they could be read, and damaged ones.
    pub lost: u64,
    /// Times the reader was lapped and lost messages by it.
    pub overruns: u64,
    /// Reads that ended without a message.
    pub timeouts: u64,
    /// Position of the next message to consume.
    pub position: u64,
    /// Message sequence of the next message to consume: how many were published before it since the ring
    /// began. (Positions also count slots that the writer passed over.)
    pub sequence: u64,
    /// Positions published and not yet consumed.
    pub lag: u64,
    /// Whether the reader has an entry in the control segment (is listed, and is woken from sleep).
    pub registered: bool,
    /// Leases that this reader made and that are still held, zero-copy batches included.
    pub leases: u64,
    /// Times that the writer gave this lossless reader up.
    pub evictions: u64,
}
