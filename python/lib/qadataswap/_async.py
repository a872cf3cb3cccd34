"""Reading in a worker thread for asyncio, so that a cancelled task loses no message."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Optional

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


def _executor_of(reader: Reader) -> ThreadPoolExecutor:
    # A thread of the reader's own: readers that wait for long must not use up the loop's default threads.
    if reader._executor is None:
        reader._executor = ThreadPoolExecutor(1, thread_name_prefix=f"qadataswap-{reader.name}")
    return reader._executor


async def read(reader: Reader, form: str, timeout_ms: Optional[int]) -> Any:
    """Reads the next message in `form` (see Reader._begin)."""
    ticket = reader._begin(form, timeout_ms)
    work = _executor_of(reader).submit(ticket.run)
    ahead, reader._last_work = reader._last_work, work
    worker = asyncio.wrap_future(work)
    try:
        if timeout_ms is not None and ahead is not None and not ahead.done():
            # The thread may be waiting for another task's message, and for longer than this one wants to.
            await asyncio.wait((worker,), timeout=timeout_ms / 1000 + _TURN_S)
            if work.cancel():
                return None
        await worker
    except BaseException:
        # Cancelled, or the loop has ended. The ticket knows whether a message had been taken.
        ticket.cancel()
        raise
    return ticket.result()
