"""Feeds a ring into DuckDB, without a copy in between, and queries it while it grows.

    python duckdb_feed.py RING [DATABASE]
"""

from __future__ import annotations

import sys

import duckdb

import qadataswap


def feed(ring: str, database: duckdb.DuckDBPyConnection, table: str = "feed") -> int:
    """Appends every table of the ring until it ends; returns the number of rows."""
    rows = 0
    # Lossless: the writer waits for this reader rather than overwrite what is not in the database yet.
    with qadataswap.create_reader(ring, lossless=True, attach_timeout_ms=None) as reader:
        for batches in reader.batches(zero_copy=True):
            # DuckDB reads the ring's memory; leaving the block gives the slot back.
            with batches:
                database.from_arrow(batches).create_view("incoming", replace=True)
                if rows == 0:
                    database.execute(f"create table if not exists {table} as select * from incoming limit 0")
                database.execute(f"insert into {table} select * from incoming")
                database.execute("drop view incoming")
                rows += len(batches)
    return rows


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with duckdb.connect(sys.argv[2] if len(sys.argv) > 2 else ":memory:") as database:
        print(feed(sys.argv[1], database), "rows")
        print(database.sql("summarize feed"))
