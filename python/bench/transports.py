"""What it takes to hand a table from one process to another: qadataswap beside other ways, in one run.

    make bench-python

One process writes a table and waits until the other has read it and summed one column of it; the other then says
so through a pipe, which is the same for every way ("acknowledgement alone" is what that takes without a table).
Times are of that whole round trip.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import struct
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import qadataswap

LARGE_BYTES = 64 << 20


def small(rows: int) -> pa.Table:
    return pa.table({f"column_{n}": pa.array(np.arange(rows, dtype="f8") + n) for n in range(8)})


def large() -> pa.Table:
    return small(LARGE_BYTES // 64)


def use(table: Any) -> None:
    """Makes sure that the table is there: one of eight columns is read."""
    pc.sum(table.column(7))


class Nothing:
    """No table at all: the acknowledgement alone."""

    name = "acknowledgement alone"

    def __init__(self, capacity: int) -> None:
        self.go = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def writer(self) -> Callable[[pa.Table], None]:
        return lambda table: self.go[1].send_bytes(b"x")

    def reader(self) -> Iterator[Any]:
        while True:
            self.go[0].recv_bytes()
            yield None


class Ring:
    """qadataswap."""

    def __init__(self, capacity: int, zero_copy: bool = False) -> None:
        self.ring = f"bench-python-{os.getpid()}-{zero_copy}"
        self.capacity = capacity
        self.zero_copy = zero_copy

    def writer(self) -> Callable[[pa.Table], None]:
        self.owner = qadataswap.create_writer(self.ring, 4, slot_capacity=self.capacity)
        return self.owner.write_arrow

    def reader(self) -> Iterator[Any]:
        with qadataswap.create_reader(self.ring) as reader:
            while True:
                yield reader.read_arrow(None, zero_copy=self.zero_copy)

    def end(self) -> None:
        self.owner.unlink()


class Copied(Ring):
    name = "qadataswap, copied"


class InPlace(Ring):
    name = "qadataswap, zero-copy"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, zero_copy=True)


class IpcInSharedMemory:
    """pyarrow IPC over multiprocessing.shared_memory, read in place; a pipe says when."""

    name = "pyarrow IPC, SharedMemory"

    def __init__(self, capacity: int) -> None:
        self.go = multiprocessing.get_context("spawn").Pipe(duplex=False)
        self.memory = f"bench-python-{os.getpid()}"
        self.capacity = capacity

    def writer(self) -> Callable[[pa.Table], None]:
        self.owner = SharedMemory(self.memory, create=True, size=self.capacity)
        assert self.owner.buf is not None
        buffer = pa.py_buffer(self.owner.buf)

        def write(table: pa.Table) -> None:
            sink = pa.FixedSizeBufferWriter(buffer)
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            self.go[1].send_bytes(struct.pack("<Q", sink.tell()))

        return write

    def reader(self) -> Iterator[Any]:
        memory = SharedMemory(self.memory)
        assert memory.buf is not None
        whole = pa.py_buffer(memory.buf)
        while True:
            (length,) = struct.unpack("<Q", self.go[0].recv_bytes())
            yield pa.ipc.open_stream(whole.slice(0, length)).read_all()

    def end(self) -> None:
        self.owner.unlink()


class PickleInPipe:
    """multiprocessing.Pipe, which pickles."""

    name = "pickle, pipe"

    def __init__(self, capacity: int) -> None:
        self.pipe = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def writer(self) -> Callable[[pa.Table], None]:
        return self.pipe[1].send

    def reader(self) -> Iterator[Any]:
        while True:
            yield self.pipe[0].recv()


class IpcInSocket:
    """pyarrow IPC streams over a Unix socket."""

    name = "pyarrow IPC, Unix socket"

    def __init__(self, capacity: int) -> None:
        self.address = f"\0bench-python-{os.getpid()}"

    def writer(self) -> Callable[[pa.Table], None]:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.address)
        listener.listen(1)
        sinks: list[Any] = []

        def write(table: pa.Table) -> None:
            if not sinks:
                sinks.append(listener.accept()[0].makefile("wb", buffering=1 << 16))
            with pa.ipc.new_stream(sinks[0], table.schema) as stream:
                stream.write_table(table)
            sinks[0].flush()

        return write

    def reader(self) -> Iterator[Any]:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.address)
        source = pa.PythonFile(client.makefile("rb", buffering=1 << 16), mode="r")
        while True:
            yield pa.ipc.open_stream(source).read_all()


WAYS: list[Any] = [Nothing, Copied, InPlace, IpcInSharedMemory, PickleInPipe, IpcInSocket]


def read_all(way: Any, acknowledge: Any) -> None:
    """What the reading process does until it is ended."""
    tables = way.reader()
    acknowledge.send_bytes(b"ready")
    for table in tables:
        if table is not None:
            use(table)
        acknowledge.send_bytes(b"x")


def measure(kind: Any, table: pa.Table, rounds: int) -> list[float]:
    """Seconds of each round trip."""
    context = multiprocessing.get_context("spawn")
    acknowledged, acknowledge = context.Pipe(duplex=False)
    way = kind(table.nbytes * 2 + (1 << 16))
    write = way.writer()
    end = way.__dict__.pop("owner", None)
    process = context.Process(target=read_all, args=(way, acknowledge), daemon=True)
    process.start()
    acknowledged.recv_bytes()
    times = []
    for number in range(rounds + rounds // 10 + 2):
        start = time.perf_counter()
        write(table)
        acknowledged.recv_bytes()
        times.append(time.perf_counter() - start)
    process.kill()
    process.join()
    if end is not None:
        end.unlink()
    # The first ones warm up.
    return times[rounds // 10 + 2 :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--once", action="store_true", help="see that it runs; the figures mean nothing")
    once = parser.parse_args().once
    sizes = [("8 columns x 1 row", small(1), 2_000), ("8 columns x 100 rows", small(100), 2_000), ("64 MiB", large(), 30)]
    print(f"round trips, median (and the fastest tenth's end), {os.cpu_count()} processors, Python {sys.version.split()[0]}")
    print(f"{'':28}" + "".join(f"{name:>26}" for name, _, _ in sizes))
    for kind in WAYS:
        cells = []
        for _, table, rounds in sizes:
            times = sorted(measure(kind, table, 2 if once else rounds))
            median, fast = statistics.median(times), times[len(times) // 10]
            cells.append(f"{median * 1e6:>13,.0f} us ({fast * 1e6:,.0f})")
        print(f"{kind.name:28}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
