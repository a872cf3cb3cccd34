"""Other implementations of the Arrow C interface against libqadataswap.so, loaded with ctypes: pyarrow, DuckDB, polars.

    python peers.py LIBRARY

Each gives streams of its own making, and takes those that are read, copied and in place.
"""

import ctypes
import gc
import os
import sys

import duckdb
import polars as pl
import pyarrow as pa

library = ctypes.CDLL(sys.argv[1])
library.qads_last_error.restype = ctypes.c_char_p
POINTER, U64, U32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
library.qads_writer_create.argtypes = [ctypes.c_char_p, POINTER, POINTER]
library.qads_reader_attach.argtypes = [ctypes.c_char_p, POINTER, POINTER]
library.qads_write_arrow.argtypes = [POINTER, POINTER, POINTER]
library.qads_write_arrow_stream.argtypes = [POINTER, POINTER]
library.qads_read_arrow.argtypes = [POINTER, POINTER, POINTER, U64, U32]
library.qads_read_arrow_stream.argtypes = [POINTER, POINTER, U64, U32]
library.qads_reader_get_stats.argtypes = [POINTER, POINTER]
for function in ("qads_writer_unlink", "qads_writer_destroy", "qads_reader_destroy"):
    getattr(library, function).argtypes = [POINTER]
ZERO_COPY = 1
DONE, ARROW, CLOSED = 0, -9, -4

capsules = ctypes.pythonapi
capsules.PyCapsule_GetPointer.restype = POINTER
capsules.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
capsules.PyCapsule_New.restype = ctypes.py_object
capsules.PyCapsule_New.argtypes = [POINTER, ctypes.c_char_p, POINTER]
STREAM = b"arrow_array_stream"


def check(code, expected=DONE):
    assert code == expected, (code, library.qads_last_error().decode())


def create(function, name):
    handle = ctypes.c_void_p()
    check(function(name, None, ctypes.byref(handle)))
    return handle


class Structure:
    """Memory for one of the structures, empty. Its release callback stands at `place`, counted in pointers."""

    def __init__(self, place):
        # The private data comes last.
        self.words = (POINTER * (place + 2))()
        self.place = place
        self.address = ctypes.addressof(self.words)

    @property
    def released(self):
        return self.words[self.place] is None

    def release(self):
        ctypes.CFUNCTYPE(None, POINTER)(self.words[self.place])(self.address)
        assert self.released


def a_schema():
    return Structure(7)


def an_array():
    return Structure(8)


class Stream(Structure):
    """A stream that was read, for whoever takes the PyCapsule interface."""

    def __init__(self):
        super().__init__(3)

    def __arrow_c_stream__(self, requested_schema=None):
        return capsules.PyCapsule_New(self.address, STREAM, None)


class ReaderStats(ctypes.Structure):
    # As in the header, up to what is looked at.
    _fields_ = [("struct_size", ctypes.c_size_t)] + [
        (name, U64) for name in "consumed lost overruns timeouts position sequence lag leases".split()
    ]


def leases(reader):
    gc.collect()
    stats = ReaderStats(ctypes.sizeof(ReaderStats))
    check(library.qads_reader_get_stats(reader, ctypes.byref(stats)))
    return stats.leases


TABLE = pa.table(
    {
        "n": pa.array([1, None, 3], pa.int64()),
        "s": ["a", None, "a string of more than twelve bytes"],
        "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        "l": pa.array([[1.5], None, []], pa.list_(pa.float64())),
    }
)


def arrays(writer, reader):
    """pyarrow's own export and import of single batches."""
    for flags in (0, ZERO_COPY):
        for batch in (TABLE.to_batches()[0], TABLE.to_batches()[0].slice(1)):
            array, schema = an_array(), a_schema()
            batch._export_to_c(array.address, schema.address)
            check(library.qads_write_arrow(writer, array.address, schema.address))
            # Still the caller's, and good for a second message.
            check(library.qads_write_arrow(writer, array.address, schema.address))
            array.release()
            schema.release()
            for _ in range(2):
                array, schema = an_array(), a_schema()
                check(library.qads_read_arrow(reader, array.address, schema.address, 1000, flags))
                found = pa.RecordBatch._import_from_c(array.address, schema.address)
                found.validate(full=True)
                assert found.equals(batch) and leases(reader) == flags
                del found
                assert leases(reader) == 0


def takes(stream):
    """The table in a stream, by way of each peer."""
    return {
        "pyarrow": lambda: pa.RecordBatchReader._import_from_c(stream.address).read_all(),
        "DuckDB": lambda: duckdb.from_arrow(stream).to_arrow_table(),
        "polars": lambda: pl.DataFrame(stream).to_arrow(),
    }


def gives():
    """The same rows as streams of each peer's own making."""
    database = duckdb.connect()
    frame = pl.from_arrow(TABLE.select(["n", "s", "l"]))
    return {
        "pyarrow": TABLE,
        "DuckDB": database.from_arrow(TABLE.select(["n", "s", "l"])).select("n, s, l"),
        "polars": frame,
    }


def streams(writer, reader):
    for giver, table in gives().items():
        for taker in takes(None):
            for flags in (0, ZERO_COPY):
                capsule = table.__arrow_c_stream__()
                check(library.qads_write_arrow_stream(writer, capsules.PyCapsule_GetPointer(capsule, STREAM)))
                # Its owner releases it.
                del capsule
                stream = Stream()
                check(library.qads_read_arrow_stream(reader, stream.address, 1000, flags))
                found = takes(stream)[taker]()
                assert found.select(["n", "s", "l"]).to_pydict() == TABLE.select(["n", "s", "l"]).to_pydict(), (giver, taker)
                del found
                if not stream.released:
                    stream.release()
                assert leases(reader) == 0, (giver, taker)


def a_stream_that_fails(writer, reader):
    def batches():
        yield TABLE.to_batches()[0]
        raise ValueError("the source has run dry")

    stream = Stream()
    pa.RecordBatchReader.from_batches(TABLE.schema, batches())._export_to_c(stream.address)
    check(library.qads_write_arrow_stream(writer, stream.address), ARROW)
    assert b"the source has run dry" in library.qads_last_error()
    stream.release()


def main():
    name = f"test-peers-{os.getpid()}".encode()
    writer = create(library.qads_writer_create, name)
    reader = create(library.qads_reader_attach, name)
    try:
        for test in (arrays, streams, a_stream_that_fails):
            test(writer, reader)
            print(test.__name__)
    finally:
        check(library.qads_writer_unlink(writer))
    check(library.qads_read_arrow_stream(reader, Stream().address, 0, 0), CLOSED)
    library.qads_writer_destroy(writer)
    library.qads_reader_destroy(reader)


if __name__ == "__main__":
    main()
