"""Other threads run while memory is copied: what is copied is there only after one of them has provided it."""

import ctypes
import fcntl
import mmap
import os
import platform
import struct
import threading

import numpy as np
import pyarrow as pa
import pytest

SIZE = 64 << 10

# linux/userfaultfd.h
USERFAULTFD = {"x86_64": 323, "aarch64": 282}
USER_MODE_ONLY, API, MISSING = 1, 0xAA, 1
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04


@pytest.fixture
def late():
    """Memory whose first use waits until another thread of Python, which is told of it, gives it zeros."""
    number = USERFAULTFD.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    faults = libc.syscall(number, os.O_CLOEXEC | USER_MODE_ONLY) if number else -1
    if faults < 0:
        pytest.skip(f"userfaultfd is not to be had: {os.strerror(ctypes.get_errno())}")
    memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(faults, UFFDIO_API, bytearray(struct.pack("QQQ", API, 0, 0)))
    fcntl.ioctl(faults, UFFDIO_REGISTER, bytearray(struct.pack("QQQQ", start, SIZE, MISSING, 0)))
    used = threading.Event()

    def provide():
        # The thread that uses the memory would wait for ever if it kept the interpreter.
        os.read(faults, 32)
        used.set()
        fcntl.ioctl(faults, UFFDIO_ZEROPAGE, bytearray(struct.pack("QQQQ", start, SIZE, 0, 0)))

    thread = threading.Thread(target=provide)
    thread.start()
    yield memory, start
    thread.join()
    os.close(faults)
    # Not before the copy.
    assert used.is_set()


def test_while_bytes_are_published(pair, late):
    writer, reader = pair
    memory, _ = late
    writer.write(memory)
    assert reader.read(0) == bytes(SIZE)


def test_while_a_message_is_read_into_a_buffer(pair, late):
    writer, reader = pair
    memory, _ = late
    message = bytes(range(256)) * (SIZE // 256)
    writer.write(message)
    assert reader.read_into(memory, 0) == SIZE
    assert memory[:] == message


def test_while_a_table_is_published(pair, late):
    writer, reader = pair
    memory, start = late
    numbers = pa.Array.from_buffers(pa.float64(), SIZE // 8, [None, pa.foreign_buffer(start, SIZE, memory)])
    writer.write_arrow(pa.table({"n": numbers}))
    assert np.array_equal(reader.read_arrow(0)["n"].to_numpy(), np.zeros(SIZE // 8))
