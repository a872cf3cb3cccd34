"""The reader."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterator, Literal, Optional, Type

from . import _async, _native
from ._arrow import require_pyarrow
from ._errors import ClosedError
from ._stats import ReaderStats

if TYPE_CHECKING:
    import pyarrow

    from ._native import Batches, Lease

Start = Literal["oldest", "newest", "next"]
WaitStrategy = Literal["spin_then_sleep", "spin", "yield", "sleep"]
OnOverrun = Literal["resume", "error"]


class Reader(_native.Reader):
    """A reader of a ring; made by create_reader. Every reader sees every message.

    All reads take a time limit in milliseconds: 0 does not wait, None waits for ever. They give None if no
    message came in time. While they wait other threads run, and Ctrl-C interrupts them. Threads may share a
    reader: each message goes to one of them.

    Iterating gives pyarrow tables until the ring ends; so does `async for`. As a context manager it detaches
    from the ring when the block is left. len(reader) is the number of messages that are published and not yet
    consumed.
    """

    _worker: Optional[_async.Worker] = None

    def read_arrow(
        self, timeout_ms: Optional[int] = None, *, zero_copy: bool = False
    ) -> Optional[pyarrow.Table]:
        """Reads the next message as a pyarrow.Table; None if there is none within timeout_ms milliseconds
        (None: waits for ever). Needs pyarrow (pip install 'qadataswap[pyarrow]').

        zero_copy: the table's buffers lie in shared memory, read-only, and the message stays leased (the writer
        passes over its slot) until the last Python object that refers to them is gone.

        Raises as read_batches.
        """
        require_pyarrow()
        batches = self.read_batches(timeout_ms, zero_copy=zero_copy)
        return None if batches is None else batches.to_pyarrow()

    async def read_arrow_async(
        self, timeout_ms: Optional[int] = None, *, zero_copy: bool = False
    ) -> Optional[pyarrow.Table]:
        """read_arrow for asyncio: the event loop runs on while this waits and copies.

        When the task is cancelled, no message is lost: one that had been taken already is what the next read
        gives.
        """
        require_pyarrow()
        batches = await self.read_batches_async(timeout_ms, zero_copy=zero_copy)
        return None if batches is None else batches.to_pyarrow()

    async def read_batches_async(
        self, timeout_ms: Optional[int] = None, *, zero_copy: bool = False
    ) -> Optional[Batches]:
        """read_batches for asyncio; see read_arrow_async."""
        form = "batches in place" if zero_copy else "batches"
        batches: Optional[Batches] = await _async.read(self, form, timeout_ms)
        return batches

    async def read_async(self, timeout_ms: Optional[int] = None) -> Optional[bytes]:
        """read for asyncio; see read_arrow_async."""
        message: Optional[bytes] = await _async.read(self, "bytes", timeout_ms)
        return message

    async def lease_async(self, timeout_ms: Optional[int] = None) -> Optional[Lease]:
        """lease for asyncio; see read_arrow_async."""
        lease: Optional[Lease] = await _async.read(self, "lease", timeout_ms)
        return lease

    def messages(self) -> Iterator[bytes]:
        """The messages as bytes, until the ring ends."""
        try:
            while True:
                message = self.read(None)
                if message is not None:
                    yield message
        except ClosedError:
            return

    def batches(self, *, zero_copy: bool = False) -> Iterator[Batches]:
        """The messages as their record batches, until the ring ends. Does not need pyarrow."""
        try:
            while True:
                batches = self.read_batches(None, zero_copy=zero_copy)
                if batches is not None:
                    yield batches
        except ClosedError:
            return

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> pyarrow.Table:
        while True:
            try:
                table = self.read_arrow(None)
            except ClosedError:
                raise StopIteration from None
            if table is not None:
                return table

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> pyarrow.Table:
        while True:
            try:
                table = await self.read_arrow_async(None)
            except ClosedError:
                raise StopAsyncIteration from None
            if table is not None:
                return table

    def close(self) -> None:
        """Detaches from the ring. Leases and zero-copy tables stay valid. Does nothing if done before."""
        super().close()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    @property
    def stats(self) -> ReaderStats:
        """Counters, exact at the time of the call."""
        return ReaderStats(*self._stats())

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        exception_type: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self.close()

    def __len__(self) -> int:
        return self.stats.lag

    def __bool__(self) -> bool:
        return not self.closed

    def __repr__(self) -> str:
        if self.closed:
            return f"<qadataswap.Reader {self.name!r} closed>"
        stats = self.stats
        return (
            f"<qadataswap.Reader {self.name!r} position={stats.position} lag={stats.lag} "
            f"consumed={stats.consumed} lost={stats.lost}>"
        )


def create_reader(
    name: str,
    *,
    start: Start = "oldest",
    wait: WaitStrategy = "spin_then_sleep",
    spin_us: int = 50,
    on_overrun: OnOverrun = "resume",
    attach_timeout_ms: Optional[int] = 5_000,
    register: bool = True,
    lossless: bool = False,
    max_leases: int = 4,
    prefault: bool = False,
    lock_memory: bool = False,
    huge_pages: bool = False,
    writable_mapping: bool = False,
) -> Reader:
    """Attaches a reader to the ring `name`.

    start: which message comes first: the "oldest" still in the ring, the "newest" in it, or the "next" one to be
        published.
    wait: how reads wait: "spin_then_sleep" polls for spin_us microseconds and then sleeps; "spin" takes a whole
        core for the lowest latency; "yield" polls too, but offers the core to others after each look, for processes
        that share cores; "sleep" takes none.
    on_overrun: what happens when the writer laps this reader: "resume" goes on and counts the loss (stats.lost);
        "error" raises OverrunError first.
    attach_timeout_ms: how long to wait for the ring to be there, in milliseconds; None: for ever.
    register: whether to be listed and woken from sleep, where that is allowed.
    lossless: the writer overwrites nothing that this reader has not consumed; it waits for it, or does what its
        on_slow_reader says.
    max_leases: leases and zero-copy tables at a time, 0 to 8.
    prefault: fault in the pages that have memory when attaching.
    lock_memory: keep mapped pages in memory (mind ulimit -l).
    huge_pages: ask for transparent huge pages.
    writable_mapping: map the ring writable, although nothing is stored to it: messages come sooner on some processors,
        but a stray store of this process can then spoil the ring. It takes the right to write to it.

    Raises InvalidNameError, InvalidOptionError, NotFoundError if there is no such ring in time,
    ReadTimeoutError if there is one that does not get ready, PermissionDeniedError, VersionMismatchError,
    DamagedError; for a lossless reader also HoldsUnavailableError.

    >>> from qadataswap import create_writer
    >>> import os
    >>> name = f"doc-create-reader-{os.getpid()}"
    >>> writer = create_writer(name, 10)
    >>> reader = create_reader(name)
    >>> reader.read(timeout_ms=0) is None
    True
    >>> writer.write(b"hello")
    >>> reader.read(timeout_ms=1000)
    b'hello'
    >>> writer.unlink()
    """
    return Reader(
        name,
        start=start,
        wait=wait,
        spin_us=spin_us,
        on_overrun=on_overrun,
        attach_timeout_ms=attach_timeout_ms,
        register=register,
        lossless=lossless,
        max_leases=max_leases,
        prefault=prefault,
        lock_memory=lock_memory,
        huge_pages=huge_pages,
        writable_mapping=writable_mapping,
    )
