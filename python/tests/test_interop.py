"""Every language writes, every language reads, on one ring: bytes and tables, golden streams and market data."""

import io
import os
import pathlib
import random
import subprocess
import sys
from itertools import product

import pyarrow as pa
import pytest

import peer
from conftest import ROOT, shared_data

# A program for each language, with the arguments told in interop/src/main.rs. One that is not built is skipped.
PEERS = {
    "rust": [os.environ.get("QADATASWAP_RUST_PEER", ROOT / "target/debug/interop-peer")],
    "c++": [os.environ.get("QADATASWAP_CPP_PEER", ROOT / "target/ffi/interop-peer")],
    "python": [sys.executable, pathlib.Path(peer.__file__)],
}
PAIRS = list(product(PEERS, PEERS))


class Peer:
    def __init__(self, language, *arguments):
        program = PEERS[language]
        if not pathlib.Path(program[-1]).exists():
            pytest.skip(f"{program[-1]} has not been built")
        self.language = language
        self.process = subprocess.Popen(
            [*map(str, program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def expect(self, line):
        heard = self.process.stdout.readline().rstrip("\n")
        if heard != line:
            self.process.kill()
            _, errors = self.process.communicate()
            pytest.fail(f"{self.language} said {heard!r} instead of {line!r}: {errors}")

    def say(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def finish(self):
        _, errors = self.process.communicate()
        assert (self.process.returncode, errors) == (0, ""), self.language


def exchange(ring, tmp_path, pair, messages, write_mode, read_mode):
    """Has one language write the messages and the other read them; what was read."""
    sent, received = tmp_path / "sent", tmp_path / "received"
    with open(sent, "wb") as file:
        for message in messages:
            peer.store(file, message)
    # Before the writer, which would otherwise wait for what is skipped.
    if not pathlib.Path(PEERS[pair[1]][-1]).exists():
        pytest.skip(f"{PEERS[pair[1]][-1]} has not been built")
    writer = Peer(pair[0], "write", ring, write_mode, sent)
    writer.expect("created")
    reader = Peer(pair[1], "read", ring, read_mode, received)
    reader.expect("attached")
    writer.say("go")
    reader.expect("done")
    writer.finish()
    reader.finish()
    return list(peer.messages(received))


def assert_same_tables(found, expected):
    assert len(found) == len(expected)
    for number, (one, other) in enumerate(zip(found, expected)):
        if one == other:
            continue
        one, other = pa.ipc.open_stream(one).read_all(), pa.ipc.open_stream(other).read_all()
        # Some golden streams have dates that are not whole days.
        one.validate()
        assert one.schema.equals(other.schema, check_metadata=True), (number, one.schema, other.schema)
        assert one.equals(other, check_metadata=True), number


def native(path):
    """A golden stream as every reader takes it: native byte order, nothing compressed."""
    reader = pa.ipc.open_stream(path.read_bytes())
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, reader.schema) as stream:
        for batch in reader:
            stream.write_batch(batch)
    return sink.getvalue()


def golden():
    root = shared_data("arrow-golden")
    return [native(path) for path in sorted(root.glob("*/*.stream"))]


def market_events():
    """A day of order book events, a table each; the first two thousand."""
    table = pa.ipc.open_stream(shared_data("es_mbo_20231225.arrows").read_bytes()).read_all().combine_chunks()
    ends = [n + 1 for n, flags in enumerate(table["flags"].to_pylist()[:20_000]) if flags >= 128][:2_000]
    for start, end in zip([0, *ends], ends):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.slice(start, end - start))
        yield sink.getvalue()


def pair_ids(pair):
    return "-to-".join(pair)


@pytest.mark.parametrize("pair", PAIRS, ids=pair_ids)
def test_bytes(ring, tmp_path, pair):
    chance = random.Random(1)
    sizes = [0, 1, 7, 8, 9, 39, 40, 41, 1023, 1024, 1025, 70_000, *(chance.randrange(5_000) for _ in range(500))]
    messages = [chance.randbytes(size) for size in sizes]
    assert exchange(ring, tmp_path, pair, messages, "raw", "raw") == messages


@pytest.mark.parametrize("read_mode", ["arrow", "in-place"])
@pytest.mark.parametrize("pair", PAIRS, ids=pair_ids)
def test_golden_streams(ring, tmp_path, pair, read_mode):
    messages = golden()
    assert len(messages) >= 25
    assert_same_tables(exchange(ring, tmp_path, pair, messages, "arrow", read_mode), messages)


@pytest.mark.parametrize("pair", PAIRS, ids=pair_ids)
def test_golden_streams_published_as_they_are(ring, tmp_path, pair):
    messages = golden()
    assert_same_tables(exchange(ring, tmp_path, pair, messages, "ipc", "arrow"), messages)


@pytest.mark.parametrize("pair", PAIRS, ids=pair_ids)
def test_market_events(ring, tmp_path, pair):
    messages = list(market_events())
    assert len(messages) == 2_000
    assert_same_tables(exchange(ring, tmp_path, pair, messages, "arrow", "in-place"), messages)


@pytest.mark.parametrize("pair", PAIRS, ids=pair_ids)
def test_a_large_table(ring, tmp_path, pair):
    messages = [shared_data("eurusd_quotes_20200101.arrows").read_bytes(), native(shared_data("es_mbo_20231225.arrows"))]
    assert_same_tables(exchange(ring, tmp_path, pair, messages, "arrow", "arrow"), messages)
