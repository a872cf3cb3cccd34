"""Not run, but checked by mypy: what users write has the types they expect."""

from __future__ import annotations

from typing import Optional

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

import qadataswap


def writing(frame: pl.DataFrame, other: pd.DataFrame, table: pa.Table) -> None:
    with qadataswap.create_writer("name", 10, slot_capacity=1 << 20, on_slow_reader="evict", slow_reader_ms=None) as writer:
        writer.write_arrow(frame)
        writer.write_arrow(table)
        writer.write(b"bytes")
        writer.write(bytearray(3))
        writer.write(memoryview(b"x"))
        writer.write(np.zeros(3))
        published: int = writer.stats.published
        print(published, len(writer))
    writer.write_arrow(3)  # type: ignore[arg-type]
    writer.write("text")  # type: ignore[arg-type]
    qadataswap.create_writer("name", 10, on_slow_reader="hope")  # type: ignore[arg-type]


def reading(reader: qadataswap.Reader) -> None:
    message: Optional[bytes] = reader.read(5)
    length: Optional[int] = reader.read_into(bytearray(10))
    lease = reader.lease(None)
    if lease is not None:
        with lease:
            print(bytes(lease), memoryview(lease), lease.position)
    batches = reader.read_batches(0, zero_copy=True)
    if batches is not None:
        print(pl.DataFrame(batches), batches.num_rows, [batch.num_rows for batch in batches])
    for batches in reader.batches(zero_copy=True):
        print(batches.column_names)
    try:
        print(message, length)
    except qadataswap.EvictedError as error:
        lost: int = error.lost
        print(lost)
    reader.read(1.5)  # type: ignore[arg-type]
    print(reader.stats.lsot)  # type: ignore[attr-defined]


async def asynchronously(reader: qadataswap.Reader) -> Optional[bytes]:
    async for table in reader:
        print(table.num_rows)
    return await reader.read_async(100)


names: list[str] = qadataswap.list()
