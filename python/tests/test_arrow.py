"""Tables: whatever exports the Arrow PyCapsule interface goes in, and what comes out exports it again."""

import gc
import weakref

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import qadataswap


def both_ways(pair, table):
    """Writes the table twice, reads it copied and in place."""
    writer, reader = pair
    writer.write_arrow(table)
    writer.write_arrow(table)
    copied = reader.read_arrow(0)
    in_place = reader.read_arrow(0, zero_copy=True)
    return copied, in_place


def assert_same(found, expected):
    found.validate(full=True)
    assert found.schema.equals(expected.schema, check_metadata=True), (found.schema, expected.schema)
    assert found.equals(expected, check_metadata=True)


TABLE = pa.table(
    {
        "n": pa.array([1, None, 3], pa.int32()),
        "s": pa.array(["a", None, "a string of more than twelve bytes"]),
        "v": pa.array(["b", "also more than twelve bytes", None], pa.string_view()),
        "t": pa.array([1, 2, None], pa.timestamp("ns", "Europe/Zurich")),
        "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        "l": pa.array([[1, 2], None, []], pa.list_(pa.int64())),
        "st": pa.array([{"x": 1.5}, {"x": None}, None], pa.struct([("x", pa.float64())])),
    }
)


@pytest.mark.parametrize(
    "source",
    [
        TABLE,
        TABLE.replace_schema_metadata({"key": "value", "clé": "välue"}),
        TABLE.slice(1),
        TABLE.slice(3),
        TABLE.schema.empty_table(),
        pa.concat_tables([TABLE, TABLE.slice(1), TABLE.slice(0, 0)]),
        pa.table({}),
        pa.table([[1], [2]], names=["same", "same"]),
        pa.table({"": [1, 2]}),
        TABLE.select(["v"]).slice(1, 1),
    ],
    ids=range(10),
)
def test_pyarrow_tables(pair, source):
    for found in both_ways(pair, source):
        assert_same(found, source)


def test_chunks_stay_as_they_are(pair):
    table = pa.concat_tables([TABLE, TABLE.slice(1)])
    for found in both_ways(pair, table):
        assert found["n"].num_chunks == 2
    writer, reader = pair
    writer.write_arrow(table)
    batches = reader.read_batches(0)
    assert (batches.num_batches, batches.num_rows, len(batches)) == (2, 5, 5)
    assert [len(batch) for batch in batches] == [3, 2]
    for index, batch in enumerate(batches):
        assert pa.record_batch(batch).equals(table.to_batches()[index])
        assert pa.record_batch(batches.batch(index)).equals(table.to_batches()[index])
    assert len(batches.batch(-1)) == 2 and len(batches.batch(-2)) == 3
    for index in (2, -3):
        with pytest.raises(IndexError):
            batches.batch(index)


def test_record_batches_and_readers(pair):
    batch = TABLE.to_batches()[0]
    for found in both_ways(pair, batch):
        assert_same(found, TABLE)
    writer, reader = pair
    writer.write_arrow(pa.RecordBatchReader.from_batches(batch.schema, [batch, batch.slice(1)]))
    assert_same(reader.read_arrow(0), pa.concat_tables([TABLE, TABLE.slice(1)]))
    writer.write_arrow(batch.slice(1, 1))
    assert_same(reader.read_arrow(0), TABLE.slice(1, 1))


class OnlyArray:
    """Exports an array and no stream, as single batches of some libraries do."""

    def __init__(self, array):
        self.array = array

    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__(requested_schema)


def test_what_exports_arrays_only(pair):
    writer, reader = pair
    writer.write_arrow(OnlyArray(TABLE.to_batches()[0].slice(1)))
    assert_same(reader.read_arrow(0), TABLE.slice(1))


def test_arrays_that_are_no_tables_become_one_column(pair):
    writer, reader = pair
    writer.write_arrow(pa.array([1, None, 3]))
    assert reader.read_arrow(0).column(0).to_pylist() == [1, None, 3]
    writer.write_arrow(pl.Series("price", [1.5, None]))
    assert reader.read_arrow(0).to_pydict() == {"price": [1.5, None]}
    writer.write_arrow(pa.chunked_array([[1], [2, 3]]))
    assert reader.read_batches(0).num_batches == 2


def test_rows_that_are_null_as_a_whole_are_refused(pair):
    writer, _ = pair
    rows = pa.array([{"x": 1}, None])
    with pytest.raises(qadataswap.ArrowError, match="1 of its rows are null"):
        writer.write_arrow(rows)
    assert writer.stats.published == 0


def test_polars_frames(pair):
    writer, reader = pair
    frame = pl.DataFrame(
        {
            "i": [1, None, 3],
            "s": ["short", None, "long enough for a view into a buffer"],
            "c": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "e": pl.Series(["x", "y", None], dtype=pl.Enum(["x", "y"])),
            "l": [[1], [], None],
            "st": [{"a": 1, "b": "z"}, {"a": None, "b": None}, {"a": 3, "b": "y"}],
            "t": pl.Series([0, 1, None], dtype=pl.Datetime("us", "UTC")),
            "d": pl.Series(["1.25", None, "-3.50"]).cast(pl.Decimal(10, 2)),
            "b": [True, None, False],
            "bin": [b"1", None, b"longer than twelve bytes, too"],
        }
    )
    for source in (frame, frame.slice(1, 1), frame.clear(), pl.concat([frame, frame], rechunk=False)):
        writer.write_arrow(source)
        writer.write_arrow(source)
        batches = reader.read_batches(0)
        assert pa.schema(batches.schema).field("s").type == pa.string_view()
        assert pl.DataFrame(batches).equals(source)
        assert pl.DataFrame(batches).schema == source.schema
        in_place = reader.read_batches(0, zero_copy=True)
        assert pl.DataFrame(in_place).equals(source)
        assert in_place.to_polars().equals(source)
        # From some version on, polars makes a struct series of what is not of pyarrow.
        found = pl.from_arrow(in_place)
        assert (found.struct.unnest() if isinstance(found, pl.Series) else found).equals(source)
        del in_place, found
        gc.collect()
        assert reader.stats.leases == 0


def test_a_slice_of_strings_does_not_carry_all_of_them(pair):
    writer, reader = pair
    frame = pl.DataFrame({"s": [f"a string that is kept in a buffer, number {n}" for n in range(10_000)]})
    writer.write_arrow(frame)
    whole = writer.stats.published_bytes
    writer.write_arrow(frame.slice(5_000, 3))
    assert writer.stats.published_bytes - whole < whole / 100
    assert pl.DataFrame(reader.read_batches(0)).equals(frame)
    assert pl.DataFrame(reader.read_batches(0)).equals(frame.slice(5_000, 3))


def test_pandas_frames(pair):
    writer, reader = pair
    frame = pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [1.5, None, np.nan],
            "s": ["x", None, "y"],
            "t": pd.to_datetime(["2020-01-01", None, "2021-05-05"], utc=True),
            "c": pd.Categorical(["a", "b", "a"]),
        },
        index=pd.Index([10, 20, 30], name="key"),
    )
    writer.write_arrow(frame)
    writer.write_arrow(frame)
    pd.testing.assert_frame_equal(reader.read_arrow(0).to_pandas(), frame)
    if not hasattr(pd.DataFrame, "from_arrow"):
        # Before pandas 3.
        return
    other = pd.DataFrame.from_arrow(reader.read_batches(0, zero_copy=True))
    assert other["i"].tolist() == [1, 2, 3]
    del other
    gc.collect()
    assert reader.stats.leases == 0


def test_duckdb_relations(pair):
    writer, reader = pair

    def query(database):
        database.execute("create table quotes as select range as n, 'instrument ' || range as s from range(5000)")
        writer.write_arrow(database.sql("select * from quotes order by n"))
        batches = reader.read_batches(0, zero_copy=True)
        assert (batches.num_rows, batches.column_names) == (5000, ["n", "s"])
        back = database.from_arrow(batches)
        assert back.aggregate("sum(n), max(s)").fetchall() == [(5000 * 4999 // 2, "instrument 999")]
        # By the name of the variable, for which DuckDB has the frame keep its variables until it returns.
        assert database.sql("select count(*) from batches where n < 10").fetchall() == [(10,)]

    with duckdb.connect() as database:
        query(database)
    gc.collect()
    assert reader.stats.leases == 0


def test_invalid_tables_are_refused(pair):
    """Validated in full: what pyarrow was told without looking is looked at."""
    writer, reader = pair
    not_text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xff")]
    )
    backwards = pa.Array.from_buffers(
        pa.list_(pa.int8()), 2, [None, pa.py_buffer(np.array([0, 3, 1], "i4"))], children=[pa.array([1, 2, 3], pa.int8())]
    )
    no_such_key = pa.DictionaryArray.from_arrays(pa.array([7], pa.int8()), ["a"], safe=False)
    nulls_forbidden = pa.table([pa.array([1, None])], schema=pa.schema([pa.field("n", pa.int64(), nullable=False)]))
    for bad in (
        pa.table({"s": not_text}),
        pa.table({"l": backwards}),
        pa.table({"d": no_such_key}),
        pa.table({"st": pa.StructArray.from_arrays([not_text], ["s"])}),
        nulls_forbidden,
    ):
        with pytest.raises(qadataswap.ArrowError):
            writer.write_arrow(bad)
    assert writer.stats.published == 0
    assert reader.read_arrow(0) is None


def test_a_producer_that_fails(pair):
    writer, _ = pair

    def batches():
        yield TABLE.to_batches()[0]
        raise ValueError("the source has run dry")

    with pytest.raises(qadataswap.ArrowError, match="the source has run dry"):
        writer.write_arrow(pa.RecordBatchReader.from_batches(TABLE.schema, batches()))
    used = pa.RecordBatchReader.from_batches(TABLE.schema, [])
    writer.write_arrow(used)

    class Wrong:
        def __arrow_c_stream__(self, requested_schema=None):
            return object()

    with pytest.raises(TypeError, match="arrow_array_stream"):
        writer.write_arrow(Wrong())

    class Other:
        def __arrow_c_stream__(self, requested_schema=None):
            return TABLE.schema.__arrow_c_schema__()

    with pytest.raises(ValueError):
        writer.write_arrow(Other())
    assert writer.stats.published == 1


def test_capsules_are_good_for_one_use(pair, capfd):
    writer, _ = pair
    stream, array = TABLE.__arrow_c_stream__(), TABLE.to_batches()[0].__arrow_c_array__()

    class Used:
        def __init__(self, method, capsule):
            setattr(self, method, lambda requested_schema=None: capsule)

    for used in (Used("__arrow_c_stream__", stream), Used("__arrow_c_array__", array)):
        writer.write_arrow(used)
        with pytest.raises(qadataswap.ArrowError, match="released"):
            writer.write_arrow(used)
    assert writer.stats.published == 2
    assert capfd.readouterr().err == ""


def test_streams_from_elsewhere(pair):
    writer, reader = pair
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema) as stream:
        stream.write_table(TABLE)
    writer.write_ipc(sink.getvalue())
    assert_same(reader.read_arrow(0), TABLE)
    writer.write_ipc(b"no stream")
    with pytest.raises(qadataswap.ArrowError):
        reader.read_batches(0)
    # Aligned to 8, which some types in place need more than.
    decimals = pa.table({"n": pa.array([1], pa.int8()), "d": pa.array([1, None, 3][:1], pa.decimal128(20, 2))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, decimals.schema) as stream:
        stream.write_table(decimals)
    writer.write_ipc(sink.getvalue())
    try:
        found = reader.read_arrow(0, zero_copy=True)
    except qadataswap.NotAlignedError:
        found = reader.read_arrow(0)
    assert_same(found, decimals)


def test_zero_copy_tables_stay_and_release(pair):
    writer, reader = pair
    writer.write_arrow(TABLE)
    table = reader.read_arrow(0, zero_copy=True)
    assert reader.stats.leases == 1
    buffer = table["n"].chunk(0).buffers()[1]
    assert not buffer.is_mutable and memoryview(buffer).readonly
    part = table["s"].chunk(0).slice(2)
    del table, buffer
    gc.collect()
    for _ in range(50):
        writer.write_arrow(TABLE.slice(1))
    reader.close()
    assert part.to_pylist() == ["a string of more than twelve bytes"]
    assert writer.stats.lease_skips > 0


def test_numpy_arrays_in_place_are_read_only_and_keep_the_lease(pair):
    writer, reader = pair
    writer.write_arrow(pa.table({"n": np.arange(1000.0)}))
    numbers = reader.read_arrow(0, zero_copy=True)["n"].chunk(0).to_numpy(zero_copy_only=True)
    gc.collect()
    assert not numbers.flags.writeable
    with pytest.raises(ValueError):
        numbers[0] = 1
    # They really lie in the ring.
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if f"qads_{reader.name}" in line and " r--s " in line]
    assert any(int(start, 16) <= numbers.ctypes.data < int(end, 16) for start, end in ranges)
    for _ in range(50):
        writer.write(bytes(9000))
    assert numbers.sum() == 999 * 500
    assert reader.stats.leases == 1
    del numbers
    gc.collect()
    assert reader.stats.leases == 0


def test_the_end_of_what_is_held_can_be_watched(pair):
    writer, reader = pair
    writer.write_arrow(TABLE)
    writer.write(b"message")
    batches = reader.read_batches(0, zero_copy=True)
    held = [batches, batches.batch(0), batches.schema, reader.lease(0)]
    ended = []
    for number, each in enumerate(held):
        weakref.finalize(each, ended.append, number)
    del each, batches
    for number in range(4):
        assert ended == list(range(number))
        held.pop(0)
    assert reader.stats.leases == 0


def test_batches_can_be_released(pair):
    writer, reader = pair
    writer.write_arrow(TABLE)
    with reader.read_batches(0, zero_copy=True) as batches:
        assert batches.zero_copy and batches.num_columns == 7
        assert "in shared memory" in repr(batches)
    assert reader.stats.leases == 0
    assert "released" in repr(batches)
    with pytest.raises(ValueError, match="released"):
        pa.table(batches)


def test_schemas_are_exported_too(pair):
    writer, reader = pair
    source = TABLE.replace_schema_metadata({"a": "b"})
    writer.write_arrow(source)
    batches = reader.read_batches(0)
    assert pa.schema(batches).equals(source.schema, check_metadata=True)
    assert pa.schema(batches.schema).equals(source.schema, check_metadata=True)
    assert pa.schema(batches.batch(0)).equals(source.schema, check_metadata=True)
    assert batches.schema.names == TABLE.column_names
    # A request that can be ignored, and one that cannot be met.
    same = batches.__arrow_c_stream__(pa.schema([(n, pa.null()) for n in TABLE.column_names]).__arrow_c_schema__())
    assert "arrow_array_stream" in repr(same)
    with pytest.raises(ValueError, match="2 columns"):
        batches.__arrow_c_stream__(pa.schema([("x", pa.int8()), ("y", pa.int8())]).__arrow_c_schema__())


def test_capsules_that_nobody_takes_release_what_they_hold(pair):
    writer, reader = pair
    writer.write_arrow(TABLE)
    batches = reader.read_batches(0, zero_copy=True)
    capsules = [batches.__arrow_c_stream__(), batches.batch(0).__arrow_c_array__(), batches.__arrow_c_schema__()]
    del batches
    assert reader.stats.leases == 1
    del capsules
    assert reader.stats.leases == 0


def test_without_pyarrow(ring, child):
    """What needs pyarrow says so and consumes nothing; everything else works without."""
    process = child(
        """
        import sys
        sys.modules["pyarrow"] = None
        import polars
        import qadataswap

        writer = qadataswap.create_writer(sys.argv[1], 4)
        reader = qadataswap.create_reader(sys.argv[1])
        frame = polars.DataFrame({"n": [1, 2], "s": ["x", "a string of more than twelve bytes"]})
        writer.write_arrow(frame)
        for read in (reader.read_arrow, lambda timeout: next(reader)):
            try:
                read(0)
            except ImportError as error:
                print("pip install 'qadataswap[pyarrow]'" in str(error), reader.stats.consumed)
        assert polars.DataFrame(reader.read_batches(0)).equals(frame)
        writer.unlink()
        """,
        ring,
    )
    assert process.end_well().split("\n")[:2] == ["True 0", "True 0"]


def test_importing_takes_nothing_along(child):
    process = child(
        """
        import sys
        import qadataswap
        print(sorted({"pyarrow", "numpy", "polars", "pandas", "duckdb"} & set(sys.modules)))
        """
    )
    assert process.end_well() == "[]\n"
