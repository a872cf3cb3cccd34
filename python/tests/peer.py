"""The Python side of the tests that exchange messages between languages; see interop/src/main.rs."""

import struct
import sys

import pyarrow as pa

import qadataswap

SLOTS = 16


def messages(path):
    """The messages of a file, each behind its length."""
    with open(path, "rb") as file:
        while length := file.read(4):
            yield file.read(struct.unpack("<I", length)[0])


def store(file, message):
    file.write(struct.pack("<I", len(message)))
    file.write(message)


def encode(batches):
    sink = pa.BufferOutputStream()
    reader = pa.RecordBatchReader.from_stream(batches)
    with pa.ipc.new_stream(sink, reader.schema) as stream:
        for batch in reader:
            stream.write_batch(batch)
    return sink.getvalue()


def write(ring, mode, path):
    with qadataswap.create_writer(ring, SLOTS, slow_reader_ms=None) as writer:
        print("created", flush=True)
        sys.stdin.readline()
        for message in messages(path):
            if mode == "raw":
                writer.write(message)
            elif mode == "ipc":
                writer.write_ipc(message)
            else:
                writer.write_arrow(pa.ipc.open_stream(message))


def read(ring, mode, path):
    with qadataswap.create_reader(ring, lossless=True) as reader, open(path, "wb") as file:
        print("attached", flush=True)
        if mode == "raw":
            for message in reader.messages():
                store(file, message)
        else:
            for batches in reader.batches(zero_copy=mode == "in-place"):
                store(file, encode(batches))
    print("done", flush=True)


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
