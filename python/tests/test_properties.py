"""Tables that pyarrow's own hypothesis strategies make, and what is cut out of them, come back equal."""

import os

import hypothesis
import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.tests.strategies as arrow_strategies
import pytest
from hypothesis import HealthCheck, given, settings

import qadataswap

hypothesis.settings.register_profile(
    "here",
    max_examples=int(os.environ.get("QADATASWAP_EXAMPLES", 100)),
    deadline=None,
    # Generating tables is what takes long.
    suppress_health_check=list(HealthCheck),
)
hypothesis.settings.load_profile("here")


@pytest.fixture(scope="module")
def module_pair():
    name = f"test-python-properties-{os.getpid()}"
    writer = qadataswap.create_writer(name, 4)
    yield writer, qadataswap.create_reader(name)
    writer.unlink()


def drawn(strategy):
    """The strategy, with draws that pyarrow's strategies skip turned into rejected ones."""

    @st.composite
    def draw_it(draw):
        try:
            return draw(strategy)
        except pytest.skip.Exception:
            hypothesis.reject()

    return draw_it()


def without_nan(table):
    """pyarrow holds NaN for unequal to itself, as IEEE does; bytes tell more than values."""
    return [
        [None if buffer is None else buffer.to_pybytes() for buffer in chunk.buffers()]
        for column in table.columns
        for chunk in column.chunks
    ]


def check(pair, table):
    writer, reader = pair
    writer.write_arrow(table)
    writer.write_arrow(table)
    for zero_copy in (False, True):
        found = reader.read_arrow(0, zero_copy=zero_copy)
        found.validate(full=True)
        assert found.schema.equals(table.schema, check_metadata=True)
        assert found.num_rows == table.num_rows
        if not found.equals(table, check_metadata=True):
            # Only where there are NaNs.
            assert found.to_pylist().__repr__() == table.to_pylist().__repr__()


@given(drawn(arrow_strategies.all_tables))
def test_tables(module_pair, table):
    check(module_pair, table)


@given(drawn(arrow_strategies.all_record_batches), st.data())
def test_slices_of_batches(module_pair, batch, data):
    offset = data.draw(st.integers(0, batch.num_rows))
    length = data.draw(st.integers(0, batch.num_rows - offset))
    check(module_pair, pa.Table.from_batches([batch.slice(offset, length)]))


@given(drawn(arrow_strategies.all_chunked_arrays))
def test_columns_in_chunks(module_pair, column):
    check(module_pair, pa.table({"column": column}))


@given(st.lists(st.binary(max_size=5_000), max_size=6))
def test_messages(module_pair, messages):
    writer, reader = module_pair
    for message in messages:
        writer.write(message)
        assert reader.read(0) == message


@settings(max_examples=50)
@given(drawn(arrow_strategies.all_record_batches))
def test_types_that_have_no_strategy(module_pair, batch):
    """Views, unions and run ends around what there are strategies for."""
    columns, names = [], []
    for number, column in enumerate(batch.columns):
        if pa.types.is_dictionary(column.type) or isinstance(column.type, pa.BaseExtensionType):
            continue
        rows = len(column)
        columns.append(pa.UnionArray.from_sparse(pa.array([0] * rows, pa.int8()), [column]))
        columns.append(
            pa.RunEndEncodedArray.from_arrays(pa.array(range(1, rows + 1), pa.int32()), column)
            if rows and not pa.types.is_nested(column.type)
            else column
        )
        names += [f"union {number}", f"runs {number}"]
        if pa.types.is_string(column.type):
            columns.append(column.cast(pa.string_view()))
            names.append(f"views {number}")
    hypothesis.assume(columns)
    writer, reader = module_pair
    table = pa.table(columns, names=names)
    writer.write_arrow(table)
    found = reader.read_arrow(0)
    found.validate(full=True)
    assert found.schema.equals(table.schema, check_metadata=True)
    assert repr(found.to_pylist()) == repr(table.to_pylist())
