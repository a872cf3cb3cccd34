"""Reading with asyncio: the loop runs on, and a cancelled task loses no message."""

import asyncio
import gc
import random
import struct

import pyarrow as pa
import pytest

import qadataswap


def test_every_kind_of_read(pair):
    writer, reader = pair
    table = pa.table({"n": [1, 2, 3]})

    async def read():
        for _ in range(4):
            writer.write_arrow(table)
        assert (await reader.read_arrow_async(0)).equals(table)
        assert (await reader.read_arrow_async(zero_copy=True)).equals(table)
        assert pa.table(await reader.read_batches_async(1000)).equals(table)
        in_place = await reader.read_batches_async(zero_copy=True)
        assert in_place.zero_copy and pa.table(in_place).equals(table)
        writer.write(b"one")
        writer.write(b"two")
        assert await reader.read_async(None) == b"one"
        assert bytes(await reader.lease_async()) == b"two"
        for message in (b"", bytes(range(256)) * 10_000):
            writer.write(message)
            assert await reader.read_async() == message
        assert await reader.read_async(0) is None
        assert await reader.read_arrow_async(30) is None

    asyncio.run(read())
    gc.collect()
    assert (reader.stats.consumed, reader.stats.timeouts, reader.stats.leases) == (8, 2, 0)


def test_the_loop_runs_while_reads_wait(ring):
    async def main():
        with qadataswap.create_writer(ring, 8) as writer:
            # More than the loop has default threads, so that these would block each other there.
            readers = [qadataswap.create_reader(ring) for _ in range(50)]
            tasks = [asyncio.create_task(reader.read_async()) for reader in readers]
            # What ends the waits is done by the loop itself.
            await asyncio.sleep(0)
            await asyncio.get_running_loop().run_in_executor(None, writer.write, b"for all")
            assert await asyncio.gather(*tasks) == [b"for all"] * 50

    asyncio.run(main())


def test_iteration_ends_with_the_ring(ring):
    async def main():
        writer = qadataswap.create_writer(ring, 4, slow_reader_ms=None)
        seen = []

        async def consume(ready):
            async with qadataswap.create_reader(ring, lossless=True) as reader:
                ready.set()
                async for table in reader:
                    seen.append(table["n"][0].as_py())

        ready = asyncio.Event()
        consumer = asyncio.create_task(consume(ready))
        await ready.wait()
        for n in range(20):
            await asyncio.to_thread(writer.write_arrow, pa.table({"n": [n]}))
        writer.close()
        await consumer
        assert seen == list(range(20))

    asyncio.run(main())


def test_errors_arrive(pair):
    writer, reader = pair

    async def main():
        writer.write(b"no table")
        with pytest.raises(qadataswap.ArrowError):
            await reader.read_arrow_async()
        writer.close()
        with pytest.raises(qadataswap.ClosedError):
            await reader.read_async()
        with pytest.raises(qadataswap.InvalidOptionError):
            await reader.read_async(-1)
        reader.close()
        with pytest.raises(qadataswap.HandleClosedError):
            await reader.read_async()

    asyncio.run(main())


def test_a_read_cancelled_before_the_message_takes_none(pair):
    writer, reader = pair

    async def main():
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read_async(), 0.001)
        writer.write(b"1")
        assert await reader.read_async() == b"1"

    asyncio.run(main())
    assert (reader.stats.consumed, reader.stats.lost) == (1, 0)


def test_a_read_cancelled_after_the_message_was_taken_keeps_it(pair):
    writer, reader = pair

    async def cancel_late(read):
        before = reader.stats.consumed
        task = asyncio.ensure_future(read)
        await asyncio.sleep(0)
        # The loop does not get to see the result before the cancellation.
        while reader.stats.consumed == before:
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main():
        for n in (b"1", b"2", b"3", b"4"):
            writer.write(n)
        await cancel_late(reader.read_async())
        # Another kind of read does not get it, nor anything after it.
        for read in (reader.read_batches, reader.lease, lambda timeout: reader.read_into(bytearray(9), timeout)):
            with pytest.raises(qadataswap.PendingMessageError, match="with read"):
                read(0)
        assert reader.read(0) == b"1"
        await cancel_late(reader.read_async())
        assert await reader.read_async() == b"2"
        await cancel_late(reader.read_async())
        assert reader.skip()
        await cancel_late(reader.lease_async())
        assert bytes(reader.lease(0)) == b"4"
        # An error that nobody was told is told to the next read, too.
        writer.write(b"no table")
        await cancel_late(reader.read_batches_async())
        with pytest.raises(qadataswap.ArrowError):
            reader.read_batches(0)
        assert reader.read_batches(0) is None

    asyncio.run(main())
    assert (reader.stats.consumed, reader.stats.leases) == (5, 0)


def test_cancelled_at_random_no_message_is_lost(ring):
    count = 2_000
    chance = random.Random(7)

    async def consume(reader):
        seen = []
        while len(seen) < count:
            read = reader.read_async() if chance.random() < 0.5 else reader.read_async(0)
            task = asyncio.ensure_future(read)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.7:
                task.cancel()
            try:
                message = await task
            except asyncio.CancelledError:
                continue
            if message is not None:
                seen.append(struct.unpack("<I", message)[0])
        return seen

    async def main():
        with qadataswap.create_writer(ring, 16, slow_reader_ms=None) as writer:
            reader = qadataswap.create_reader(ring, lossless=True)

            def write():
                for n in range(count):
                    writer.write(struct.pack("<I", n))

            writing = asyncio.create_task(asyncio.to_thread(write))
            assert await consume(reader) == list(range(count))
            await writing
            assert reader.read(0) is None

    asyncio.run(main())


def test_a_loop_that_ends_while_a_read_waits(pair):
    writer, reader = pair

    async def main():
        asyncio.create_task(reader.read_async())
        await asyncio.sleep(0)

    asyncio.run(main())
    writer.write(b"for whoever asks next")
    assert reader.read(None) == b"for whoever asks next"


def test_the_time_of_a_read_runs_while_another_is_before_it(pair):
    writer, reader = pair

    async def main():
        first = asyncio.create_task(reader.read_async())
        await asyncio.sleep(0)
        # Not only when the first has its message; also when one before it has given up.
        for _ in range(3):
            assert await reader.read_async(1) is None
        assert await asyncio.gather(*(reader.read_async(limit) for limit in (0, 1, 30))) == [None] * 3
        assert not first.done()
        for n in (b"1", b"2", b"3"):
            writer.write(n)
        assert await asyncio.gather(first, reader.read_async(10_000), reader.read_async()) == [b"1", b"2", b"3"]

    asyncio.run(main())


def test_closing_the_reader_ends_a_read_that_waits(pair):
    _, reader = pair

    async def main():
        waiting = asyncio.create_task(reader.read_async())
        await asyncio.sleep(0)
        reader.close()
        with pytest.raises(qadataswap.HandleClosedError):
            await waiting
        with pytest.raises(qadataswap.HandleClosedError):
            await reader.read_async()

    asyncio.run(main())
