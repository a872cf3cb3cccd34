"""The exceptions: one class for each thing that can go wrong, all of them RuntimeErrors.

Unless a class says otherwise, nothing was published or consumed by the call that raised it. The text of an
exception says what happened, to what, and what can be done; its attributes say the same to programs.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AllSlotsLeasedError",
    "ArrowError",
    "BufferTooSmallError",
    "ClosedError",
    "CorruptMessageError",
    "DamagedError",
    "EvictedError",
    "ForkedError",
    "HandleClosedError",
    "HoldsUnavailableError",
    "InvalidNameError",
    "InvalidOptionError",
    "MemoryMapFailedError",
    "MessageTooLargeError",
    "NoSpaceError",
    "NotAlignedError",
    "NotFoundError",
    "OverrunError",
    "PendingMessageError",
    "PermissionDeniedError",
    "QADataSwapError",
    "ReadTimeoutError",
    "SystemCallError",
    "TooManyLeasesError",
    "VersionMismatchError",
    "WouldBlockError",
    "WriteError",
    "WriterAliveError",
]


class QADataSwapError(RuntimeError):
    """What all exceptions of this package derive from."""

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        # Kept in the instance's dictionary, so that they survive pickling, as exceptions do.
        self.__dict__.update(details)


class InvalidNameError(QADataSwapError, ValueError):
    """A ring's name is empty, too long, or has a character that no ring name may have."""


class InvalidOptionError(QADataSwapError, ValueError):
    """An option has a value that cannot be had."""

    option: str
    value: object


class MemoryMapFailedError(QADataSwapError):
    """The kernel would not map the ring's memory into this process."""


class WriteError(QADataSwapError):
    """The message could not be brought into a form to publish."""


class ReadTimeoutError(QADataSwapError):
    """The ring exists, but was not ready within the time limit of an attach.

    A read that finds no message within its limit is not an error: it gives None.
    """


class ArrowError(QADataSwapError):
    """A table is not valid or cannot be carried, or what a message holds cannot be decoded.

    When reading, the message has been consumed: the next read goes on after it.
    """


class NotFoundError(QADataSwapError):
    """There is no ring of this name."""

    name: str


class PermissionDeniedError(QADataSwapError):
    """The operating system denies access to the ring's memory."""

    name: str
    call: str


class NoSpaceError(QADataSwapError):
    """/dev/shm, or the memory limit of this container, is full."""

    name: str
    needed_bytes: int


class SystemCallError(QADataSwapError):
    """A system call failed in a way that has no class of its own."""

    name: str
    call: str
    errno: int


class WriterAliveError(QADataSwapError):
    """The ring has a live writer, and there can be only one."""

    name: str
    #: Process id of the writer; 0 if it has not written it yet.
    pid: int


class VersionMismatchError(QADataSwapError):
    """The ring was made by an incompatible version of qadataswap."""

    name: str
    found: int
    expected: int


class DamagedError(QADataSwapError):
    """The shared memory of this name holds no ring, or a damaged one."""

    name: str
    field: str
    found: int
    expected: int


class MessageTooLargeError(QADataSwapError):
    """The message is larger than a slot, and the ring may not grow."""

    needed_bytes: int
    available_bytes: int


class BufferTooSmallError(QADataSwapError):
    """The buffer is smaller than the message, which was not consumed."""

    needed_bytes: int
    available_bytes: int


class CorruptMessageError(QADataSwapError):
    """A slot describes a message that cannot be. It counts as lost; the next read goes on after it."""

    position: int
    field: str
    found: int


class OverrunError(QADataSwapError):
    """The writer lapped this reader, which asked to be told. The next read goes on with what is still there."""

    #: Messages lost by this overrun.
    lost: int


class WouldBlockError(QADataSwapError):
    """A lossless reader is a whole ring behind and the writer's patience is over; the write can be tried again."""

    name: str
    #: Process id of the slowest such reader.
    pid: int
    #: Positions it is behind.
    behind: int


class AllSlotsLeasedError(QADataSwapError):
    """Every slot is leased by readers."""

    name: str
    pids: list[int]


class EvictedError(QADataSwapError):
    """The writer gave this lossless reader up because it was too slow. Reader.rejoin makes it lossless again."""

    #: Messages lost so far by this eviction.
    lost: int


class HoldsUnavailableError(QADataSwapError):
    """The reader cannot hold messages (lease them, be lossless) on this ring."""

    name: str
    #: One of "not_registered", "no_write_access", "no_control_segment", "no_free_entry", "disabled",
    #: "system_call".
    reason: str


class TooManyLeasesError(QADataSwapError):
    """The reader has as many leases as it may, zero-copy tables included."""

    limit: int


class NotAlignedError(QADataSwapError):
    """The message cannot be had without copying."""


class ClosedError(QADataSwapError):
    """The ring has ended and every message in it has been consumed."""


class ForkedError(QADataSwapError):
    """The handle was inherited through fork; create a new one in the child process, or use spawn."""


class HandleClosedError(QADataSwapError, ValueError):
    """The handle was closed by its own process."""


class PendingMessageError(QADataSwapError):
    """A message that a cancelled asynchronous read had taken waits to be read in the form it was asked for."""
