"""The examples, run as people would run them."""

import subprocess
import sys

import pyarrow as pa

import qadataswap
from conftest import ROOT

EXAMPLES = ROOT / "python" / "examples"


def start(name, *arguments):
    return subprocess.Popen(
        [sys.executable, EXAMPLES / name, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def output(process):
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return printed


def test_producer_and_consumer(ring):
    consumers = [start("producer_consumer.py", "consume", ring) for _ in range(2)]
    producer = start("producer_consumer.py", "produce", ring, 10, 0)
    assert "published 10 tables" in output(producer)
    for consumer in consumers:
        printed = output(consumer).splitlines()
        # Ten slots keep all ten tables, for whoever comes late too.
        assert printed[-1] == "consumed 10 tables, lost 0"
        assert [line.split()[0] for line in printed[:-1]] == [str(n) for n in range(10)]


def test_live_table(ring):
    with qadataswap.create_writer(ring, 4) as writer:
        process = start("live_table.py", ring, 1)
        writer.write_arrow(pa.table({"instrument": ["a", "b"], "price": [1.5, 2.5]}))
        printed = output(process)
        assert "instrument" in printed and "2.5" in printed and "2 rows, 0 tables lost" in printed
        process = start("live_table.py", ring)
    assert "has ended" in output(process)


def test_duckdb_feed(ring):
    writer = qadataswap.create_writer(ring, 4, slow_reader_ms=None)
    for n in range(3):
        writer.write_arrow(pa.table({"n": [n, n + 1], "s": ["x", "y"]}))
    process = start("duckdb_feed.py", ring)
    # The ring may end before the reader comes: what is in it stays.
    writer.close()
    printed = output(process)
    assert printed.startswith("6 rows\n") and "column_name" in printed
