"""What the tests share: ring names of their own, child processes, and real data."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

import qadataswap

ROOT = pathlib.Path(__file__).resolve().parents[2]


def shared_data(path):
    """A file of the shared test data; skips the test if it is not there."""
    root = pathlib.Path(os.environ.get("QADATASWAP_TEST_DATA", ROOT.parent / "shared" / "data"))
    found = root / path
    if not found.exists():
        pytest.skip(f"{found} is not there (set QADATASWAP_TEST_DATA)")
    return found


class RingNames:
    """Names that no other process uses; what has them is removed afterwards."""

    def __init__(self):
        self.given = []

    def __call__(self, what="ring"):
        name = f"test-python-{what}-{os.getpid()}-{RingNames.count}"
        RingNames.count += 1
        self.given.append(name)
        return name

    count = 0

    def clean(self):
        for name in self.given:
            for suffix in ("", ".ctl", ".next"):
                pathlib.Path(f"/dev/shm/qads_{name}{suffix}").unlink(missing_ok=True)


@pytest.fixture
def ring_names():
    names = RingNames()
    yield names
    names.clean()


@pytest.fixture
def ring(ring_names):
    """A ring's name."""
    return ring_names()


@pytest.fixture
def pair(ring):
    """A writer of a ring of eight slots and a reader of it."""
    with qadataswap.create_writer(ring, 8) as writer, qadataswap.create_reader(ring) as reader:
        yield writer, reader


class Child:
    """Another Python process, talked to in lines; killed at the end of the test if it still runs."""

    def __init__(self, code, *arguments, interpreter_options=()):
        self.process = subprocess.Popen(
            [sys.executable, "-u", *interpreter_options, "-c", textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate()
            pytest.fail(f"the child ended with {self.process.returncode}: {errors}")
        return line.rstrip("\n")

    def say(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def finish(self):
        """Waits for its end; what it still printed, what it complained about, and its exit status."""
        output, errors = self.process.communicate()
        return output, errors, self.process.returncode

    def end_well(self):
        output, errors, status = self.finish()
        assert (errors, status) == ("", 0), errors
        return output


@pytest.fixture
def child():
    children = []

    def spawn(code, *arguments, **options):
        children.append(Child(code, *arguments, **options))
        return children[-1]

    yield spawn
    for each in children:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def wait_until_asleep(pid):
    """Waits until every thread of a process sleeps."""
    import time

    tasks = pathlib.Path(f"/proc/{pid}/task")
    while True:
        states = []
        for task in tasks.iterdir():
            try:
                states.append((task / "stat").read_text().rpartition(") ")[2][0])
            except FileNotFoundError:
                pass
        if states and all(state == "S" for state in states):
            return
        time.sleep(0.001)
