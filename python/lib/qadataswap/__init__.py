"""Apache Arrow between processes on one machine, at the speed of shared memory.

One process publishes tables or bytes into a ring; any number of processes read them, each seeing every message.
No daemon, no broker, no locks.

In the producing process::

    writer = qadataswap.create_writer("market_data", 10)    # a ring of ten slots
    writer.write_arrow(table)       # pyarrow, polars, pandas, DuckDB, anything with the Arrow PyCapsule interface

In any number of consuming processes::

    reader = qadataswap.create_reader("market_data")
    table = reader.read_arrow(5000)                         # up to 5 seconds; None if nothing came
    for table in reader:                                    # until the writer ends the ring
        ...

What is read is byte for byte what was published; a reader that is too slow loses messages and knows exactly how
many (reader.stats.lost), unless it is lossless (create_reader(name, lossless=True)).
"""

from . import _errors
from ._errors import *  # noqa: F403
from ._native import Batch, Batches, Lease, Schema, __version__, unlink

# Not in __all__: `from qadataswap import *` must not take Python's own away.
from ._native import list as list
from ._reader import Reader, create_reader
from ._stats import ReaderStats, WriterStats
from ._writer import Writer, create_writer

__all__ = [
    "Batch",
    "Batches",
    "Lease",
    "Reader",
    "ReaderStats",
    "Schema",
    "Writer",
    "WriterStats",
    "__version__",
    "create_reader",
    "create_writer",
    "unlink",
]
__all__ += _errors.__all__
