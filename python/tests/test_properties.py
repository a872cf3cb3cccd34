"""Tables that pyarrow's own hypothesis strategies make, and what is cut out of them, come back equal."""

import os
import sys

import hypothesis
import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.tests.strategies as arrow_strategies
import pytest
from hypothesis import HealthCheck, given, settings

import qadataswap

if sys.version_info < (3, 11):
    # They ask pytz for zones that it does not have.
    pytest.skip("pyarrow's strategies do not work with the newest pytz for this Python", allow_module_level=True)

hypothesis.settings.register_profile(
    "here",
    max_examples=int(os.environ.get("QADATASWAP_EXAMPLES", 60)),
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


def write(writer, table):
    """Writes the table, with all its columns nullable.

    The strategies also make fields that are declared to have no nulls and have some, which is refused. Where
    such a field is nested, the draw is rejected.
    """
    fields = [field.with_nullable(True) for field in table.schema]
    table = pa.Table.from_arrays(table.columns, schema=pa.schema(fields, table.schema.metadata))
    try:
        writer.write_arrow(table)
    except qadataswap.ArrowError as error:
        assert "non-nullable" in str(error) and "None" in repr(table.to_pylist())
        hypothesis.reject()
    return table


def assert_same(found, expected):
    found.validate(full=True)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.num_rows == expected.num_rows
    if not found.equals(expected, check_metadata=True):
        # pyarrow holds NaN for unequal to itself.
        assert "nan" in repr(expected.to_pylist())
        assert repr(found.to_pylist()) == repr(expected.to_pylist())


def check(pair, table):
    writer, reader = pair
    table = write(writer, table)
    writer.write_arrow(table)
    for zero_copy in (False, True):
        assert_same(reader.read_arrow(0, zero_copy=zero_copy), table)
    # And what pyarrow itself makes of what is in the slot.
    writer.write_arrow(table)
    assert_same(pa.ipc.open_stream(reader.read(0)).read_all(), table)


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
    check(module_pair, pa.table(columns, names=names))
