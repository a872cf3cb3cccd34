"""The writer."""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Optional, Type

from . import _native
from ._stats import WriterStats

OnSlowReader = Literal["wait", "refuse", "evict"]


class Writer(_native.Writer):
    """The one writer of a ring; made by create_writer.

    Threads may share it: their writes take turns. As a context manager it ends the ring (close) when the block
    is left, however that happens. A writer that is garbage collected, or whose process dies, leaves the ring as
    it is: readers go on waiting, and another writer may continue it.

    len(writer) is the number of messages in the ring: what a reader that attaches now would find.
    """

    @property
    def stats(self) -> WriterStats:
        """Counters, exact at the time of the call."""
        return WriterStats(*self._stats())

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        exception_type: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return min(self.stats.message_count, self.slot_count)

    def __bool__(self) -> bool:
        return not self.closed

    def __repr__(self) -> str:
        if self.closed:
            return f"<qadataswap.Writer {self.name!r} closed>"
        stats = self.stats
        return (
            f"<qadataswap.Writer {self.name!r} slots={self.slot_count} slot_capacity={self.slot_capacity} "
            f"published={stats.published} position={stats.position}>"
        )


def create_writer(
    name: str,
    buffer_count: int,
    *,
    slot_capacity: Optional[int] = None,
    rollover: bool = True,
    mode: int = 0o600,
    control_mode: Optional[int] = None,
    on_slow_reader: OnSlowReader = "wait",
    slow_reader_ms: Optional[int] = 5_000,
    holds: bool = True,
    prefault: bool = False,
    lock_memory: bool = False,
    huge_pages: bool = False,
) -> Writer:
    """Creates the ring `name` with `buffer_count` slots, or takes it over if its writer is gone.

    name: 1 to 245 bytes without "/" and control characters, not beginning with ".".
    buffer_count: slots, 1 to 16,777,216: how many messages a reader may be behind before it loses some.
    slot_capacity: largest message in bytes. Default: 16 MiB, less if there are more than 1,024 slots. It is
        address space; memory is taken only for what messages use.
    rollover: whether a larger message makes the ring move to larger slots, or is refused.
    mode: file mode of the shared memory. 0o644 lets other users read.
    control_mode: file mode of the control segment; default: as mode. Who may write to it can be woken from
        sleep, lease messages and be lossless.
    on_slow_reader: what happens when a lossless reader is a whole ring behind: "wait" for slow_reader_ms, then
        raise WouldBlockError; "refuse" at once; "evict" it after slow_reader_ms.
    slow_reader_ms: milliseconds; None: for ever.
    holds: whether readers may lease messages and be lossless.
    prefault: take all memory when the ring is made.
    lock_memory: keep the ring's pages in memory (mind ulimit -l).
    huge_pages: ask for transparent huge pages.

    Raises InvalidNameError, InvalidOptionError, WriterAliveError if the ring has a live writer, NoSpaceError,
    VersionMismatchError, DamagedError.

    >>> import os
    >>> name = f"doc-create-writer-{os.getpid()}"
    >>> writer = create_writer(name, 10)
    >>> writer.write(b"hello")
    >>> len(writer)
    1
    >>> writer.unlink()
    """
    return Writer(
        name,
        buffer_count,
        slot_capacity=slot_capacity,
        rollover=rollover,
        mode=mode,
        control_mode=control_mode,
        on_slow_reader=on_slow_reader,
        slow_reader_ms=slow_reader_ms,
        holds=holds,
        prefault=prefault,
        lock_memory=lock_memory,
        huge_pages=huge_pages,
    )
