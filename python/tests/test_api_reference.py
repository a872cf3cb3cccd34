"""The snippets of the API reference, across processes and languages, as they are written."""

import re

import polars as pl
import pyarrow as pa
import pytest

import qadataswap
from conftest import ROOT


def test_producer_and_consumer(ring, child):
    producer = child(
        """
        import sys
        import polars as pl
        import qadataswap

        data_stream = [pl.DataFrame({"n": [n, n + 1], "s": ["a", "a long string, kept in a view"]}) for n in range(5)]
        input()
        writer = qadataswap.create_writer(sys.argv[1], 10)
        for polars_df in data_stream:
            arrow_table = polars_df.to_arrow()
            writer.write_arrow(arrow_table)
        print("written")
        input()
        """,
        ring,
    )
    consumer = child(
        """
        import sys
        import polars as pl
        import qadataswap

        reader = qadataswap.create_reader(sys.argv[1])
        while True:
            table = reader.read_arrow(5000)
            if table:
                df = pl.from_arrow(table)
                print(df["n"].to_list(), df["s"].to_list(), flush=True)
        """,
        ring,
    )
    # The consumer waits for a ring that is not there yet.
    producer.say("go")
    assert producer.hear() == "written"
    for n in range(5):
        assert consumer.hear() == f"[{n}, {n + 1}] ['a', 'a long string, kept in a view']"
    producer.say("end")
    producer.end_well()
    # The writer is gone without having ended the ring: the consumer still waits.
    assert consumer.process.poll() is None


def test_polars_writes_a_table_that_comes_back(ring):
    writer = qadataswap.create_writer(ring, 5)
    df = pl.DataFrame({"price": [1.0, 2.0], "volume": [100, 200]})
    writer.write_arrow(df.to_arrow())

    reader = qadataswap.create_reader(ring)
    table = reader.read_arrow(3000)
    assert isinstance(table, pa.Table)
    assert pl.from_arrow(table).equals(df)
    assert reader.read_arrow(1) is None
    writer.unlink()


def test_the_documented_parameters_by_name(ring):
    writer = qadataswap.create_writer(name=ring, buffer_count=3)
    reader = qadataswap.create_reader(name=ring)
    assert writer.write_arrow(table=pa.table({"n": [1]})) is None
    assert reader.read_arrow(timeout_ms=1000).to_pydict() == {"n": [1]}


def test_errors_are_runtime_errors_with_detail(ring):
    try:
        qadataswap.create_writer("not/a/name", 3)
    except RuntimeError as error:
        assert "'/'" in str(error)
        assert isinstance(error, qadataswap.InvalidNameError)
    else:
        raise AssertionError("not refused")


@pytest.mark.parametrize("document", ["docs/api-reference.md", "README.md", "python/README.md"])
def test_the_snippets_of_our_own_documents(ring, document):
    """Run as they are, one after another, but for the name of the ring."""
    text = (ROOT / document).read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert snippets
    polars_df = pl.DataFrame({"price": [1.0, 2.0], "s": ["a", "a string of more than twelve bytes"]})
    namespace = {"polars_df": polars_df}
    if document != "docs/api-reference.md":
        # The READMEs show another process reading on.
        namespace["qadataswap"] = qadataswap
    for snippet in snippets:
        exec(compile(snippet.replace("market_data", ring), document, "exec"), namespace)
    assert namespace["reader"].stats.consumed >= 1
