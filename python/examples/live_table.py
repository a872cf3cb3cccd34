"""Follows a ring and shows what it says now: a script in cells, for notebooks and for a terminal.

    python live_table.py RING [REFRESHES]

Takes the newest table at each refresh and lets the others pass: a screen need not keep up.
"""

# %% The ring to follow; in a notebook, set the name here.
from __future__ import annotations

import sys

import polars as pl

import qadataswap

ring = sys.argv[1] if len(sys.argv) > 1 else "market_data"
refreshes = int(sys.argv[2]) if len(sys.argv) > 2 else None


# %% What is shown. Any consumer of the Arrow PyCapsule interface would do; a plot takes the same frame.
def newest(reader: qadataswap.Reader, timeout_ms: int) -> pl.DataFrame | None:
    """The newest table of the ring; None if no new one came."""
    found = reader.read_batches(timeout_ms)
    while found is not None:
        if len(reader) == 0:
            return pl.DataFrame(found)
        # There are newer ones.
        found = reader.read_batches(0) or found
    return None


def show(frame: pl.DataFrame, reader: qadataswap.Reader) -> None:
    in_terminal = sys.stdout.isatty()
    # On a terminal, over the last one.
    print("\033[H\033[J" if in_terminal else "", end="")
    print(frame.tail(10))
    stats = reader.stats
    print(f"table {stats.sequence} of {reader.name}: {len(frame)} rows, {stats.lost} tables lost")


# %% Until the ring ends, or for so many refreshes.
with qadataswap.create_reader(ring, start="newest", attach_timeout_ms=None) as reader:
    shown = 0
    try:
        while refreshes is None or shown < refreshes:
            frame = newest(reader, timeout_ms=200)
            if frame is not None:
                show(frame, reader)
                shown += 1
    except qadataswap.ClosedError:
        print(f"{ring} has ended after {shown} refreshes")
    except KeyboardInterrupt:
        pass
