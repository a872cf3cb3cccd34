"""Among threads, signals, forks and the end of the interpreter."""

import gc
import multiprocessing
import os
import signal
import threading

import pyarrow as pa
import pytest

import qadataswap
from conftest import wait_until_asleep


def test_a_reader_waits_while_another_thread_writes(pair):
    writer, reader = pair
    # Would wait for ever if the reader kept the interpreter.
    thread = threading.Thread(target=lambda: writer.write(b"from the other thread"))
    received = threading.Thread(target=lambda: messages.append(reader.read(None)))
    messages = []
    received.start()
    thread.start()
    thread.join()
    received.join()
    assert messages == [b"from the other thread"]


def test_the_interpreter_is_free_while_a_table_is_taken(pair):
    writer, reader = pair
    batch = pa.record_batch({"n": [1, 2, 3]})
    asked, answered = threading.Event(), threading.Event()

    def batches():
        asked.set()
        # Only another thread can end this wait, which it could not if write_arrow kept the interpreter.
        answered.wait()
        yield batch

    def answer():
        asked.wait()
        answered.set()

    other = threading.Thread(target=answer)
    other.start()
    writer.write_arrow(pa.RecordBatchReader.from_batches(batch.schema, batches()))
    other.join()
    assert reader.read_arrow(0).num_rows == 3


def test_threads_share_a_writer_and_a_reader(ring):
    count, threads = 300, 3
    with qadataswap.create_writer(ring, 16, slow_reader_ms=None) as writer:
        reader = qadataswap.create_reader(ring, lossless=True)
        received = []

        def write(thread):
            for n in range(count):
                if n % 2:
                    writer.write(b"%d %d" % (thread, n))
                else:
                    writer.write_arrow(pa.table({"thread": [thread], "n": [n]}))

        def read():
            try:
                while True:
                    message = reader.read(None)
                    if message.startswith(b"\xff\xff\xff\xff"):
                        row = pa.ipc.open_stream(message).read_all().to_pylist()[0]
                        received.append((row["thread"], row["n"]))
                    else:
                        received.append(tuple(map(int, message.split())))
            except qadataswap.ClosedError:
                pass

        readers = [threading.Thread(target=read) for _ in range(threads)]
        writers = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        # Others may ask while threads wait.
        assert writer.stats.published == count * threads
        assert reader.stats.lost == 0
    for thread in readers:
        thread.join()
    assert sorted(received) == [(thread, n) for thread in range(threads) for n in range(count)]


def test_closing_a_handle_ends_the_wait_of_another_thread(pair):
    writer, reader = pair
    failed = []

    def wait():
        try:
            reader.read(None)
        except qadataswap.HandleClosedError as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    reader.close()
    thread.join()
    assert len(failed) == 1


WAITS = {
    "read": "reader.read(None)",
    "read_arrow": "reader.read_arrow(None)",
    "zero_copy": "reader.read_arrow(10**9, zero_copy=True)",
    "read_into": "reader.read_into(bytearray(10), None)",
    "lease": "reader.lease(None)",
    "iterate": "next(reader)",
    "spin": "qadataswap.create_reader(sys.argv[1], wait='spin').read(None)",
    "yield": "qadataswap.create_reader(sys.argv[1], wait='yield').read(None)",
    "unregistered": "qadataswap.create_reader(sys.argv[1], register=False).read(None)",
    "attach": "qadataswap.create_reader(sys.argv[1] + '-missing', attach_timeout_ms=None)",
    "write": "[writer.write(b'') for _ in range(9)]",
    "write_arrow": "[writer.write_arrow(pyarrow.table({})) for _ in range(9)]",
}


@pytest.mark.parametrize("wait", WAITS)
def test_control_c_ends_every_wait(ring, child, wait):
    process = child(
        f"""
        import sys
        import pyarrow
        import qadataswap

        writer = qadataswap.create_writer(sys.argv[1], 4, slow_reader_ms=None)
        reader = qadataswap.create_reader(sys.argv[1], lossless=True)
        try:
            print("waiting")
            {WAITS[wait]}
        except KeyboardInterrupt:
            print("interrupted")
        # Nothing is broken by it.
        while reader.skip():
            pass
        writer.write(b"after")
        print(reader.read(0))
        """,
        ring,
    )
    assert process.hear() == "waiting"
    if wait not in ("spin", "yield"):
        wait_until_asleep(process.process.pid)
    process.process.send_signal(signal.SIGINT)
    assert process.hear() == "interrupted"
    assert process.hear() == "b'after'"
    process.end_well()


def test_signal_handlers_run_while_a_read_waits(ring, child):
    process = child(
        """
        import signal, sys
        import qadataswap

        writer = qadataswap.create_writer(sys.argv[1], 4)
        reader = qadataswap.create_reader(sys.argv[1])
        # It may write, too: nothing is locked while handlers run.
        signal.signal(signal.SIGUSR1, lambda *_: writer.write(b"from the handler"))
        print("waiting")
        print(reader.read(None))
        """,
        ring,
    )
    process.hear()
    process.process.send_signal(signal.SIGUSR1)
    assert process.hear() == "b'from the handler'"
    process.end_well()


# Python warns of forks in processes with threads.
FORKING = {"interpreter_options": ["-Wignore::DeprecationWarning"]}
FORKED = """
import gc, os, sys
import pyarrow
import qadataswap

writer = qadataswap.create_writer(sys.argv[1], 8)
reader = qadataswap.create_reader(sys.argv[1])
table = pyarrow.table({"n": [1, 2, 3]})
for _ in range(3):
    writer.write_arrow(table)
writer.write(b"raw")
held, in_place = reader.read_arrow(0, zero_copy=True), reader.read_batches(0, zero_copy=True)
lease = reader.lease(0)
"""


def test_a_forked_child_is_refused_and_harms_nothing(ring, child):
    process = child(
        FORKED
        + """
if os.fork() == 0:
    for use in (
        lambda: writer.write(b""), lambda: writer.write_arrow(table), lambda: reader.read(0),
        lambda: reader.read_arrow(None), lambda: reader.lease(0), lambda: reader.skip(), lambda: reader.stats,
        lambda: writer.stats, lambda: writer.close(), lambda: writer.unlink(),
    ):
        try:
            use()
            print("not refused")
        except qadataswap.ForkedError as error:
            assert "fork" in str(error)
    # Leases can be looked at while the parent has them; to let go of them here releases nothing.
    assert held["n"].to_pylist() == [1, 2, 3]
    del held, in_place, lease, reader, writer
    gc.collect()
    print("child done")
    sys.exit()
_, status = os.wait()
print(status, reader.stats.leases)
writer.write(b"still the writer")
assert reader.read(0) == b"raw" and reader.read(0) == b"still the writer"
del held, in_place, lease
gc.collect()
print(reader.stats.leases)
""",
        ring,
        **FORKING,
    )
    assert [process.hear() for _ in range(3)] == ["child done", "0 3", "0"]
    process.end_well()


def test_a_fork_while_a_thread_waits(ring, child):
    """The child is refused at once: it does not wait for a lock that only the parent's thread could give back."""
    process = child(
        FORKED
        + """
import threading
while reader.skip():
    pass
waiting = threading.Thread(target=lambda: print(reader.read(None)))
waiting.start()
for _ in range(20):
    if os.fork() == 0:
        for use in (lambda: reader.read(None), lambda: repr(reader), lambda: len(reader)):
            try:
                use()
            except qadataswap.ForkedError:
                pass
        os._exit(0)
    assert os.wait()[1] == 0
writer.write(b"to the parent's thread")
waiting.join()
""",
        ring,
        **FORKING,
    )
    assert process.hear() == "b\"to the parent's thread\""
    process.end_well()


def test_asyncio_in_a_forked_child(ring, child):
    """Refused at once, although the thread that reads is the parent's."""
    process = child(
        FORKED
        + """
import asyncio
assert asyncio.run(reader.read_async(0)) == b"raw"
if os.fork() == 0:
    try:
        asyncio.run(reader.read_async(0))
    except qadataswap.ForkedError:
        print("refused")
    os._exit(0)
print(os.wait()[1])
""",
        ring,
        **FORKING,
    )
    assert [process.hear(), process.hear()] == ["refused", "0"]
    process.end_well()


def read_in_child(name, results):
    with qadataswap.create_reader(name) as reader:
        results.put(reader.read_arrow(None).to_pydict())


def use_in_child(reader, results):
    try:
        reader.read(0)
    except RuntimeError as error:
        results.put(type(error).__name__)


def test_multiprocessing_with_spawn(pair):
    writer, reader = pair
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=read_in_child, args=(reader.name, results)) for _ in range(2)]
    for process in processes:
        process.start()
    writer.write_arrow(pa.table({"n": [1, 2]}))
    assert [results.get(), results.get()] == [{"n": [1, 2]}] * 2
    for process in processes:
        process.join()
        assert process.exitcode == 0
    with pytest.raises(TypeError, match="send its name"):
        context.Process(target=use_in_child, args=(reader, results)).start()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_multiprocessing_with_fork(pair):
    writer, reader = pair
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=use_in_child, args=(reader, results))
    process.start()
    assert results.get() == "ForkedError"
    process.join()
    assert process.exitcode == 0
    writer.write(b"x")
    assert reader.read(0) == b"x"


ENDINGS = {
    "everything in globals": "",
    "in a cycle": "class Node: pass\nnode = Node(); node.self = node; node.held = [held, in_place, lease, view]\ndel held, in_place, lease, view",
    "sys.exit in a function": "def leave(kept): sys.exit()\nleave(reader.read(0))",
    "kept in a module": "sys.held = [held, in_place, lease, view]\ndel held, in_place, lease, view",
    "a thread that waits": "import threading\nthreading.Thread(target=lambda: reader.read(None), daemon=True).start()",
    "threads that wait": """
import threading
for _ in range(4):
    other = qadataswap.create_reader(sys.argv[1], start="next")
    threading.Thread(target=lambda r: r.read_arrow(None), args=(other,), daemon=True).start()
""",
    "a thread that writes": """
import threading
def write():
    # Not a table: before Python 3.14, pyarrow itself aborts if it is called at the end of the interpreter.
    while True:
        writer.write(b"")
threading.Thread(target=write, daemon=True).start()
""",
    "atexit": "import atexit\natexit.register(lambda: print(held['n'].to_pylist(), file=open('/dev/null', 'w')))",
    "an asynchronous read in a loop that is never closed": """
import asyncio
loop = asyncio.new_event_loop()
while reader.skip():
    pass
task = loop.create_task(reader.read_async())
loop.run_until_complete(asyncio.sleep(0.01))
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_cleanly_with_live_leases(ring, child, ending):
    process = child(FORKED + "import numpy\nview = numpy.frombuffer(lease)\n" + ENDINGS[ending], ring)
    output, errors, status = process.finish()
    # asyncio may complain about a task that was never ended; nothing else may.
    errors = "" if "asynchronous" in ending and "Task was destroyed" in errors else errors
    assert (output, errors, status) == ("", "", 0)
    # What the process held is free again.
    with qadataswap.create_writer(ring, 8) as writer:
        for n in range(100):
            writer.write(b"x")
        assert writer.stats.published == 100


def test_leases_are_released_on_any_thread(pair):
    writer, reader = pair
    for _ in range(3):
        writer.write_arrow(pa.table({"n": [1]}))
    held = [reader.read_arrow(0, zero_copy=True) for _ in range(3)]
    assert reader.stats.leases == 3
    threads = [threading.Thread(target=held.pop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert reader.stats.leases == 0


def test_a_killed_reader_leaves_the_ring(ring, child):
    with qadataswap.create_writer(ring, 4, slow_reader_ms=None) as writer:
        process = child(
            """
            import sys
            import qadataswap
            reader = qadataswap.create_reader(sys.argv[1], lossless=True)
            lease = reader.lease(None)
            print("leased")
            sys.stdin.read()
            """,
            ring,
        )
        writer.write(b"")
        process.hear()
        os.kill(process.process.pid, signal.SIGKILL)
        process.process.wait()
        for n in range(20):
            writer.write(b"goes on")
        assert writer.stats.reclaimed >= 1
