"""The counters of readers and writers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WriterStats:
    """What a writer has done."""

    #: Messages published through this handle.
    published: int
    #: Payload bytes published through this handle.
    published_bytes: int
    #: Messages published since the ring was created, by all its writers.
    message_count: int
    #: Position of the next message (positions also count slots that were passed over).
    position: int
    #: Wake-up calls made for sleeping readers.
    wakes: int
    #: Moves to a segment with other slots.
    rollovers: int
    #: How many writers the ring has had, this one included.
    epoch: int
    #: Positions passed over because a reader had leased the slot.
    lease_skips: int
    #: Writes that waited for a lossless reader.
    stalls: int
    #: Times that a lossless reader was given up (on_slow_reader="evict").
    evictions: int
    #: Dead readers whose leases and gates were in the way and were taken away.
    reclaimed: int


@dataclass(frozen=True)
class ReaderStats:
    """What a reader has seen. After any read, consumed + lost = messages published since the attach."""

    #: Messages returned to the caller, or passed over with skip.
    consumed: int
    #: Messages overwritten before they could be read, and damaged ones.
    lost: int
    #: Times the reader was lapped and lost messages by it.
    overruns: int
    #: Reads that ended without a message.
    timeouts: int
    #: Position of the next message to consume.
    position: int
    #: How many messages were published before the next one since the ring began.
    sequence: int
    #: Positions published and not yet consumed.
    lag: int
    #: Whether the reader is listed, and woken from sleep.
    registered: bool
    #: Leases that are still held, zero-copy tables included.
    leases: int
    #: Times that the writer gave this lossless reader up.
    evictions: int
