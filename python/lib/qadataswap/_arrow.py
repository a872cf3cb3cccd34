"""What needs pyarrow: turning batches into a pyarrow.Table."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

    from ._native import Batches


def require_pyarrow() -> ModuleType:
    """pyarrow, or an ImportError that says what to do without."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            "a pyarrow.Table needs pyarrow: pip install 'qadataswap[pyarrow]'. Without it, read_batches gives "
            "what polars.DataFrame, duckdb.from_arrow and others take directly; no message was consumed"
        ) from error
    return pyarrow


def to_table(batches: Batches) -> pyarrow.Table:
    """A table that shares the memory of the batches."""
    require_pyarrow()
    import pyarrow

    return pyarrow.RecordBatchReader.from_stream(batches).read_all()
