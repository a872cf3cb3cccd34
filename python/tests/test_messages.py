"""Raw messages: everything bytes-like goes in, and comes out in every way to read."""

import array
import mmap
import struct

import numpy as np
import pytest

import qadataswap

QUOTE = np.dtype([("bid", "f8"), ("ask", "f8"), ("instrument", "u4"), ("flags", "u1", (4,))])


def quotes(count):
    made = np.zeros(count, QUOTE)
    made["bid"] = np.arange(count) + 0.25
    made["ask"] = made["bid"] + 0.25
    made["instrument"] = np.arange(count)
    made["flags"] = np.arange(4)
    return made


def anonymous_memory(content):
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"0123456789")[2:7],
        array.array("d", [1.5, 2.5]),
        anonymous_memory(b"mapped memory"),
        np.arange(12, dtype="i8").reshape(3, 4),
        np.array(3.5),
        np.zeros(0),
        quotes(3),
        quotes(3)[1],
        # About the length up to which a message is copied by way of the stack.
        bytes(range(256)) * 4 + b"-",
        bytes(range(256)) * 4,
        np.arange(1 << 20, dtype="u4"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_bytes_like_objects(pair, message):
    writer, reader = pair
    content = message.tobytes() if hasattr(message, "tobytes") else bytes(message)
    for _ in range(3):
        writer.write(message)
    assert reader.read(0) == content
    into = bytearray(len(content) + 3)
    assert reader.read_into(into, 0) == len(content)
    assert into == content + bytes(3)
    with reader.lease(0) as lease:
        assert (bytes(lease), len(lease), lease.nbytes) == (content, len(content), len(content))
    assert reader.stats.consumed == 3


def test_what_is_not_contiguous_is_refused(pair):
    writer, reader = pair
    for memory in (np.zeros((4, 4))[:, 1], memoryview(b"012345")[::2]):
        with pytest.raises(BufferError, match="contiguous"):
            writer.write(memory)
    with pytest.raises(BufferError, match="contiguous"):
        reader.read_into(np.zeros((4, 4))[:, 1], 0)
    assert writer.stats.published == 0


def test_arrays_of_objects_are_refused(pair):
    """Their memory is addresses: they mean nothing to a reader, and what is stored over them is followed."""
    writer, reader = pair
    structured = np.zeros(1, [("n", "i8"), ("t", "M8[ns]"), ("name", object)])
    for objects in (np.array([None, "x"]), np.zeros(1, [("n", "i8"), ("name", object)]), structured):
        with pytest.raises(TypeError, match="objects"):
            writer.write(objects)
        with pytest.raises(TypeError, match="objects"):
            reader.read_into(objects, 0)
    with pytest.raises(TypeError, match="objects"):
        writer.write(memoryview(np.array([None])))
    assert writer.stats.published == 0
    # Only the name of a field; and what the buffer protocol has no word for.
    for memory in (np.zeros(1, [("Open", "f8")]), np.zeros(2, "M8[ns]"), np.zeros(1, [("T", "m8[s]")])):
        writer.write(memory)
        assert reader.read_into(memory, 0) == memory.nbytes


def test_structured_arrays_there_and_back(pair):
    writer, reader = pair
    made = quotes(100)
    for _ in range(3):
        writer.write(made)
    assert np.array_equal(np.frombuffer(reader.read(0), QUOTE), made)
    into = np.zeros(100, QUOTE)
    assert reader.read_into(into, 0) == made.nbytes
    assert np.array_equal(into, made)
    in_place = np.frombuffer(reader.lease(0), QUOTE)
    assert np.array_equal(in_place, made)
    assert not in_place.flags.writeable


def test_a_buffer_too_small_can_be_replaced(pair):
    writer, reader = pair
    writer.write(b"longer than eight")
    buffer = bytearray(8)
    try:
        reader.read_into(buffer, 0)
    except qadataswap.BufferTooSmallError as error:
        buffer = bytearray(error.needed_bytes)
    assert reader.read_into(buffer, 0) == 17
    assert buffer == b"longer than eight"


def test_skipping(pair):
    writer, reader = pair
    writer.write(b"not wanted")
    writer.write(b"wanted")
    assert reader.skip()
    assert reader.read(0) == b"wanted"
    assert not reader.skip()


def test_a_message_beyond_the_slot_moves_the_ring(ring):
    with qadataswap.create_writer(ring, 4, slot_capacity=64) as writer:
        reader = qadataswap.create_reader(ring)
        large = bytes(range(256)) * 1000
        writer.write(b"small")
        writer.write(large)
        assert [reader.read(0), reader.read(0)] == [b"small", large]
        assert reader.stats.lost == 0


def test_a_lease_keeps_its_message(pair):
    writer, reader = pair
    writer.write(b"first")
    lease = reader.lease(0)
    assert reader.stats.leases == 1 and not lease.released and lease.position == 0
    for n in range(100):
        writer.write(struct.pack("<q", n))
    reader.close()
    assert bytes(lease) == b"first" and memoryview(lease)[1:3] == b"ir"
    assert writer.stats.lease_skips > 0
    skips = writer.stats.lease_skips
    lease.release()
    lease.release()
    assert lease.released
    with pytest.raises(BufferError, match="released"):
        memoryview(lease)
    for n in range(100):
        writer.write(b"")
    assert writer.stats.lease_skips <= skips + 1


def test_a_lease_is_released_with_the_last_view(pair):
    writer, reader = pair
    writer.write(bytes(range(32)))
    with reader.lease(0) as lease:
        view = memoryview(lease)
        assert view.readonly and view.format == "B" and view.contiguous
        numbers = np.frombuffer(view[8:24], "u4")
        with pytest.raises(BufferError, match="views of this lease"):
            lease.release()
    assert lease.released
    with pytest.raises(BufferError, match="released"):
        memoryview(lease)
    assert reader.stats.leases == 1
    del view
    assert numbers.tobytes() == bytes(range(8, 24))
    assert reader.stats.leases == 1
    del numbers
    assert reader.stats.leases == 0


def test_a_lease_lives_as_long_as_any_object_that_refers_to_it(pair):
    writer, reader = pair
    writer.write(bytes(range(32)))
    numbers = np.frombuffer(reader.lease(0), "u1")[4:]
    for n in range(50):
        writer.write(b"something else, going round the ring")
    assert numbers.tobytes() == bytes(range(4, 32))
    assert reader.stats.leases == 1
    del numbers
    assert reader.stats.leases == 0


def test_too_many_leases(ring):
    with qadataswap.create_writer(ring, 8) as writer:
        reader = qadataswap.create_reader(ring, max_leases=2)
        for n in (b"1", b"2", b"3"):
            writer.write(n)
        held = [reader.lease(0), reader.lease(0)]
        # At once, although there is no limit of time.
        with pytest.raises(qadataswap.TooManyLeasesError) as raised:
            reader.lease(None)
        assert raised.value.limit == 2
        assert reader.read(0) == b"3"
        with pytest.raises(qadataswap.TooManyLeasesError):
            reader.read_arrow(None, zero_copy=True)
        del held[0]
        assert reader.lease(0) is None


def test_all_slots_leased(ring):
    with qadataswap.create_writer(ring, 2) as writer:
        reader = qadataswap.create_reader(ring)
        held = []
        for n in range(2):
            writer.write(b"x")
            held.append(reader.lease(0))
        with pytest.raises(qadataswap.AllSlotsLeasedError) as raised:
            writer.write(b"y")
        assert len(raised.value.pids) == 1
        held.pop()
        writer.write(b"y")
        assert reader.read(0) == b"y"
