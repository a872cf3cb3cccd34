"""Writers and readers as Python objects: context managers, iteration, counters, options, names."""

import dataclasses
import os
import stat

import pyarrow as pa
import pytest

import qadataswap


def test_context_managers_end_what_they_hold(ring):
    with qadataswap.create_writer(ring, 4) as writer:
        with qadataswap.create_reader(ring) as reader:
            writer.write(b"one")
            assert reader.read(0) == b"one"
        assert reader.closed and not writer.closed
        late = qadataswap.create_reader(ring)
    assert writer.closed
    with pytest.raises(qadataswap.ClosedError):
        while late.read(None):
            pass
    # Ended, not removed.
    assert ring in qadataswap.list()
    qadataswap.unlink(ring)
    assert ring not in qadataswap.list()


def test_a_block_left_by_an_exception_ends_the_ring_too(ring):
    with pytest.raises(ZeroDivisionError):
        with qadataswap.create_writer(ring, 4):
            raise ZeroDivisionError
    with pytest.raises(qadataswap.ClosedError):
        qadataswap.create_reader(ring).read(None)


def test_a_writer_that_is_released_or_collected_leaves_the_ring(ring):
    writer = qadataswap.create_writer(ring, 4)
    writer.write(b"1")
    reader = qadataswap.create_reader(ring)
    writer.release()
    writer = qadataswap.create_writer(ring, 4)
    assert writer.stats.epoch == 2
    writer.write(b"2")
    del writer
    writer = qadataswap.create_writer(ring, 4)
    writer.write(b"3")
    assert [reader.read(0) for _ in range(4)] == [b"1", b"2", b"3", None]


def test_iteration_ends_with_the_ring(ring):
    tables = [pa.table({"n": [n], "s": [str(n)]}) for n in range(5)]
    with qadataswap.create_writer(ring, 8) as writer:
        for table in tables:
            writer.write_arrow(table)
        reader, again = qadataswap.create_reader(ring), qadataswap.create_reader(ring)
    assert [table.to_pydict() for table in reader] == [table.to_pydict() for table in tables]
    assert list(reader) == []
    assert [pa.table(b).to_pydict() for b in again.batches(zero_copy=True)] == [
        table.to_pydict() for table in tables
    ]
    messages = list(qadataswap.create_reader(ring).messages())
    assert [pa.ipc.open_stream(m).read_all() for m in messages] == tables


def test_len_and_repr_tell_the_state(pair, ring):
    writer, reader = pair
    assert (len(writer), len(reader)) == (0, 0)
    for n in range(3):
        writer.write(b"x")
    assert (len(writer), len(reader)) == (3, 3)
    reader.read(0)
    assert len(reader) == 2
    assert ring in repr(reader) and "lag=2" in repr(reader) and "consumed=1" in repr(reader)
    assert ring in repr(writer) and "published=3" in repr(writer) and "slots=8" in repr(writer)
    for n in range(20):
        writer.write(b"x")
    # No more than there are slots.
    assert len(writer) == 8
    # However few messages wait, a handle that is open is true.
    assert qadataswap.create_reader(ring, start="next")


def test_stats_are_dataclasses(pair):
    writer, reader = pair
    writer.write(b"12345")
    assert reader.read(0) == b"12345"
    assert reader.read(1) is None
    assert reader.skip() is False
    stats = dataclasses.asdict(reader.stats)
    assert stats == {
        "consumed": 1, "lost": 0, "overruns": 0, "timeouts": 2, "position": 1, "sequence": 1, "lag": 0,
        "registered": True, "leases": 0, "evictions": 0,
    }  # fmt: skip
    stats = dataclasses.asdict(writer.stats)
    # How often the reader slept is its own affair.
    assert stats.pop("wakes") >= 0
    assert stats == {
        "published": 1, "published_bytes": 5, "message_count": 1, "position": 1, "rollovers": 0, "epoch": 1,
        "lease_skips": 0, "stalls": 0, "evictions": 0, "reclaimed": 0,
    }  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        reader.stats.lost = 1


def test_a_read_of_many_slices_counts_one_timeout(pair):
    _, reader = pair
    # Longer than the slices in which Ctrl-C is looked for.
    assert reader.read(120) is None
    assert reader.stats.timeouts == 1


def test_where_a_reader_starts(ring):
    writer = qadataswap.create_writer(ring, 8)
    for n in (b"1", b"2", b"3"):
        writer.write(n)
    readers = [qadataswap.create_reader(ring, start=start) for start in ("oldest", "newest", "next")]
    writer.write(b"4")
    assert [reader.read(0) for reader in readers] == [b"1", b"3", b"4"]


@pytest.mark.parametrize("wait", ["spin", "yield", "sleep", "spin_then_sleep"])
def test_ways_to_wait(pair, ring, wait):
    writer, _ = pair
    reader = qadataswap.create_reader(ring, wait=wait, spin_us=10)
    assert reader.read(3) is None
    writer.write(b"x")
    assert reader.read(None) == b"x"


def test_writer_options_arrive(ring):
    with qadataswap.create_writer(
        ring, 4, slot_capacity=500, mode=0o644, control_mode=0o666, prefault=True, huge_pages=True
    ) as writer:
        assert (writer.name, writer.slot_count, writer.slot_capacity) == (ring, 4, 500)
        assert stat.S_IMODE(os.stat(f"/dev/shm/qads_{ring}").st_mode) == 0o644
        assert stat.S_IMODE(os.stat(f"/dev/shm/qads_{ring}.ctl").st_mode) == 0o666
        writer.write(bytes(501))
        assert writer.stats.rollovers == 1
        assert writer.slot_capacity > 500


def test_a_mapping_is_writable_only_if_that_is_asked_for(ring):
    def permissions():
        with open("/proc/self/maps") as maps:
            return [line.split()[1] for line in maps if line.rstrip().endswith(f"qads_{ring}")]

    with qadataswap.create_writer(ring, 4) as writer:
        assert permissions() == ["rw-s"]
        by_default = qadataswap.create_reader(ring)
        assert sorted(permissions()) == ["r--s", "rw-s"]
        asked_for = qadataswap.create_reader(ring, writable_mapping=True)
        assert sorted(permissions()) == ["r--s", "rw-s", "rw-s"]
        writer.write(b"x")
        assert by_default.read(0) == asked_for.read(0) == b"x"


def test_lossless_readers_are_refused_waited_for_or_evicted(ring_names):
    ring = ring_names("refuse")
    with qadataswap.create_writer(ring, 2, on_slow_reader="refuse") as writer:
        reader = qadataswap.create_reader(ring, lossless=True)
        writer.write(b"1")
        writer.write(b"2")
        with pytest.raises(qadataswap.WouldBlockError) as raised:
            writer.write(b"3")
        assert (raised.value.pid, raised.value.behind) == (os.getpid(), 2)
        assert reader.read(0) == b"1"
        writer.write(b"3")
        assert [reader.read(0), reader.read(0)] == [b"2", b"3"]

    # Longer than one slice: one write that waited, however many tries it took.
    ring = ring_names("wait")
    with qadataswap.create_writer(ring, 2, on_slow_reader="wait", slow_reader_ms=120) as writer:
        reader = qadataswap.create_reader(ring, lossless=True)
        writer.write(b"1")
        writer.write(b"2")
        with pytest.raises(qadataswap.WouldBlockError):
            writer.write_arrow(pa.table({"n": [3]}))
        assert (writer.stats.stalls, writer.stats.published) == (1, 2)
        assert [reader.read(0), reader.read(0)] == [b"1", b"2"]

    ring = ring_names("evict")
    with qadataswap.create_writer(ring, 2, on_slow_reader="evict", slow_reader_ms=120) as writer:
        reader = qadataswap.create_reader(ring, lossless=True)
        for message in (b"1", b"2", b"3"):
            writer.write(message)
        assert (writer.stats.evictions, writer.stats.stalls) == (1, 1)
        with pytest.raises(qadataswap.EvictedError, match="Reader.rejoin") as raised:
            reader.read(None)
        lost = raised.value.lost + reader.rejoin()
        assert reader.read(0) == [b"1", b"2", b"3"][lost]
        assert reader.stats.evictions == 1


def test_importing_everything_takes_nothing_away():
    names = {}
    exec("from qadataswap import *", names)
    import builtins

    assert names["create_reader"] is qadataswap.create_reader
    assert not {name for name in vars(builtins) if name in names} - {"__builtins__", "__doc__", "__name__"}


def test_the_names_of_rings(ring_names):
    first, second = ring_names("b"), ring_names("a")
    with qadataswap.create_writer(first, 1), qadataswap.create_writer(second, 1):
        listed = [name for name in qadataswap.list() if name in (first, second)]
        assert listed == sorted(listed) and len(listed) == 2


def test_the_examples_in_the_documentation():
    import doctest

    for name in ("_reader", "_writer"):
        module = __import__(f"qadataswap.{name}", fromlist=[name])
        failed, tried = doctest.testmod(module, extraglobs={"create_writer": qadataswap.create_writer})
        assert failed == 0 and tried > 0
