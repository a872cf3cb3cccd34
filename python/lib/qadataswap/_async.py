"""Reading in a worker thread for asyncio, so that a cancelled task loses no message."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Optional, Set, Tuple

from . import _native

if TYPE_CHECKING:
    from ._reader import Reader

# Before it joins the workers of executors, the interpreter calls what is registered here; registered after
# concurrent.futures' own, so called before it. A worker that waits for a message would be joined for ever.
_register_atexit = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    _register_atexit(_native._cancel_all)


# How long, in seconds, a read whose time is up waits for its turn: enough for those before it that find a message.
_TURN_S = 0.02


class Worker:
    """The thread in which a reader waits: its own, so that readers that wait for long do not use up the loop's."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"qadataswap-{name}")
        #: Reads that have not ended, the one that waits included.
        self._reads: Set[Future[None]] = set()

    def begin(self, ticket: _native.Ticket) -> Tuple[Future[None], bool]:
        """Puts a read last, and tells whether there are others before it."""
        is_behind = bool(self._reads)
        read = self._executor.submit(ticket.run)
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)
        return read, is_behind

    def end(self) -> None:
        # The thread sees for itself that the reader is closed.
        self._executor.shutdown(wait=False)


def _worker_of(reader: Reader) -> Worker:
    if reader._worker is None:
        reader._worker = Worker(reader.name)
    return reader._worker


async def read(reader: Reader, form: str, timeout_ms: Optional[int]) -> Any:
    """Reads the next message in `form` (see Reader._begin)."""
    ticket = reader._begin(form, timeout_ms)
    running, is_behind = _worker_of(reader).begin(ticket)
    ended = asyncio.wrap_future(running)
    try:
        if timeout_ms is not None and is_behind:
            # The thread may be waiting for another task's message, and for longer than this one wants to.
            await asyncio.wait((ended,), timeout=timeout_ms / 1000 + _TURN_S)
            if running.cancel():
                return None
        await ended
    except BaseException:
        # Cancelled, or the loop has ended. The ticket knows whether a message had been taken.
        ticket.cancel()
        raise
    return ticket.result()
