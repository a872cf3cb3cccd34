"""Each exception is the right one, a RuntimeError, and says what there is to say."""

import os
import pickle

import pyarrow as pa
import pytest

import qadataswap


def test_every_exception_is_a_runtime_error_and_is_documented():
    for name in qadataswap._errors.__all__:
        kind = getattr(qadataswap, name)
        assert issubclass(kind, RuntimeError), name
        assert kind.__doc__, name


def test_details_are_attributes_and_survive_pickling(ring):
    writer = qadataswap.create_writer(ring, 2)
    with pytest.raises(qadataswap.WriterAliveError, match=str(os.getpid())) as raised:
        qadataswap.create_writer(ring, 2)
    assert (raised.value.name, raised.value.pid) == (ring, os.getpid())
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is qadataswap.WriterAliveError
    assert (str(again), again.pid) == (str(raised.value), os.getpid())
    with pytest.raises(qadataswap.WriterAliveError):
        qadataswap.unlink(ring)
    writer.unlink()
    with pytest.raises(qadataswap.NotFoundError) as raised:
        qadataswap.unlink(ring)
    assert raised.value.name == ring


def test_a_ring_that_is_not_there(ring):
    with pytest.raises(qadataswap.NotFoundError, match=ring):
        qadataswap.create_reader(ring, attach_timeout_ms=0)
    with pytest.raises(qadataswap.NotFoundError, match="start its writer"):
        qadataswap.create_reader(ring, attach_timeout_ms=1)


def test_messages_too_large(ring):
    with qadataswap.create_writer(ring, 2, slot_capacity=100, rollover=False) as writer:
        writer.write(bytes(100))
        with pytest.raises(qadataswap.MessageTooLargeError) as raised:
            writer.write(bytes(101))
        assert raised.value.needed_bytes == 101
        assert raised.value.available_bytes == 100
        with pytest.raises(qadataswap.MessageTooLargeError):
            writer.write_arrow(pa.table({"n": list(range(100))}))
        assert writer.stats.published == 1


def test_a_buffer_too_small_leaves_the_message(pair):
    writer, reader = pair
    writer.write(b"12345")
    with pytest.raises(qadataswap.BufferTooSmallError) as raised:
        reader.read_into(bytearray(4), 0)
    assert (raised.value.needed_bytes, raised.value.available_bytes) == (5, 4)
    assert reader.read(0) == b"12345"


def test_overruns_when_asked_for(ring):
    writer = qadataswap.create_writer(ring, 4)
    reader = qadataswap.create_reader(ring, on_overrun="error")
    for n in range(10):
        writer.write(bytes([n]))
    with pytest.raises(qadataswap.OverrunError) as raised:
        reader.read(None)
    assert raised.value.lost == 8
    assert reader.read(0) == b"\x08"
    assert reader.stats.lost == 8


def test_the_end_of_a_ring(pair):
    writer, reader = pair
    writer.write(b"last")
    writer.close()
    assert reader.read(None) == b"last"
    for read in (reader.read, reader.read_arrow, reader.read_batches, reader.lease):
        with pytest.raises(qadataswap.ClosedError):
            read(None)


def test_what_is_no_table_is_consumed_and_told(pair):
    writer, reader = pair
    writer.write(b"no Arrow stream")
    with pytest.raises(qadataswap.ArrowError):
        reader.read_arrow(0)
    assert reader.read_arrow(0) is None
    assert reader.stats.consumed == 1


def test_closed_handles(pair):
    writer, reader = pair
    for handle in (writer, reader):
        assert handle and not handle.closed
        handle.close()
        handle.close()
        assert not handle and handle.closed
        assert repr(handle).endswith(" closed>")
        with pytest.raises(qadataswap.HandleClosedError, match="create a new one"):
            len(handle)
    with pytest.raises(ValueError):
        writer.write(b"")
    with pytest.raises(ValueError):
        reader.read(0)


@pytest.mark.parametrize(
    "options, option",
    [
        ({"buffer_count": 0}, "slot_count"),
        ({"buffer_count": -1}, "buffer_count"),
        ({"buffer_count": 1 << 70}, "buffer_count"),
        ({"slot_capacity": 0}, "payload_capacity|slot_capacity"),
        ({"slot_capacity": -5}, "slot_capacity"),
        ({"mode": 0o777}, "mode"),
        ({"mode": -1}, "mode"),
        ({"mode": 1 << 40}, "mode"),
        ({"control_mode": -1}, "control_mode"),
        ({"control_mode": 0o111}, "control_mode"),
        ({"on_slow_reader": "hope"}, "on_slow_reader"),
        ({"slow_reader_ms": -1}, "slow_reader_ms"),
    ],
)
def test_writer_options_that_cannot_be(ring, options, option):
    options = {"buffer_count": 4, **options}
    with pytest.raises(qadataswap.InvalidOptionError, match=option) as raised:
        qadataswap.create_writer(ring, **options)
    assert isinstance(raised.value, ValueError)
    assert ring not in qadataswap.list()


@pytest.mark.parametrize(
    "options",
    [
        {"start": "first"},
        {"wait": "hard"},
        {"spin_us": -1},
        {"on_overrun": "ignore"},
        {"attach_timeout_ms": -1},
        {"max_leases": 9},
        {"max_leases": -1},
    ],
)
def test_reader_options_that_cannot_be(ring, options):
    with qadataswap.create_writer(ring, 4):
        with pytest.raises(qadataswap.InvalidOptionError) as raised:
            qadataswap.create_reader(ring, **options)
        (option,) = options
        assert raised.value.option == option


def test_arguments_of_the_wrong_type(pair):
    writer, reader = pair
    with pytest.raises(TypeError, match="write_arrow"):
        writer.write(pa.table({"n": [1]}))
    with pytest.raises(TypeError, match="with write"):
        writer.write_arrow(b"bytes")
    with pytest.raises(TypeError, match="bytes-like"):
        writer.write("text")
    with pytest.raises(TypeError):
        reader.read(1.5)
    with pytest.raises(qadataswap.InvalidOptionError, match="timeout_ms"):
        reader.read(-1)
    with pytest.raises(BufferError, match="writable"):
        reader.read_into(b"read-only", 0)
    with pytest.raises(TypeError, match="Reader.lease"):
        qadataswap.Lease(b"")
    assert (writer.stats.published, reader.stats.consumed) == (0, 0)


@pytest.mark.parametrize("kind", ["writer", "reader"])
def test_handles_cannot_be_pickled(pair, kind):
    handle = dict(zip(("writer", "reader"), pair))[kind]
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(handle)


def test_rings_and_readers_without_holds(ring_names):
    ring = ring_names("without")
    with qadataswap.create_writer(ring, 4, holds=False) as writer:
        writer.write(b"x")
        reader = qadataswap.create_reader(ring)
        with pytest.raises(qadataswap.HoldsUnavailableError) as raised:
            reader.lease(None)
        assert raised.value.reason == "disabled"
        with pytest.raises(qadataswap.HoldsUnavailableError):
            qadataswap.create_reader(ring, lossless=True)
    ring = ring_names("with")
    with qadataswap.create_writer(ring, 4):
        unregistered = qadataswap.create_reader(ring, register=False)
        with pytest.raises(qadataswap.HoldsUnavailableError) as raised:
            # At once, although there is no message and no limit of time.
            unregistered.read_batches(None, zero_copy=True)
        assert raised.value.reason == "not_registered"
        assert unregistered.stats.registered is False


def test_an_option_error_has_the_value_as_it_was_given(ring):
    with pytest.raises(qadataswap.InvalidOptionError) as raised:
        qadataswap.create_writer(ring, -1)
    assert (raised.value.option, raised.value.value) == ("buffer_count", -1)
    with pytest.raises(qadataswap.InvalidOptionError, match="start = 'first'.*oldest.*newest") as raised:
        qadataswap.create_reader(ring, start="first")
    assert raised.value.value == "first"
