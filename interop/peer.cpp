// The C++ side of the tests that exchange messages between languages; see interop/src/main.rs. Tables go through
// Arrow C++.

#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/c/bridge.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include "qadataswap.hpp"

namespace {

using Message = std::vector<std::byte>;

// Fewer than there are messages, so that the writer waits for the reader.
constexpr std::uint64_t slots = 16;

void check(const arrow::Status& status) {
    if (!status.ok()) throw std::runtime_error(status.ToString());
}

template <class T>
T take(arrow::Result<T> result) {
    check(result.status());
    return *std::move(result);
}

// The next message of an input file, behind its length; false at the end.
bool next_message(std::istream& input, Message& message) {
    std::uint32_t size = 0;
    if (!input.read(reinterpret_cast<char*>(&size), sizeof(size))) return false;
    message.resize(size);
    input.read(reinterpret_cast<char*>(message.data()), static_cast<std::streamsize>(size));
    return static_cast<bool>(input);
}

void store(std::ostream& output, const void* data, std::size_t size) {
    const auto length = static_cast<std::uint32_t>(size);
    output.write(reinterpret_cast<const char*>(&length), sizeof(length));
    output.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
}

void write_arrow(qads::Writer& writer, const Message& message) {
    const auto bytes = std::make_shared<arrow::Buffer>(reinterpret_cast<const std::uint8_t*>(message.data()),
                                                       static_cast<std::int64_t>(message.size()));
    const std::shared_ptr<arrow::RecordBatchReader> batches =
        take(arrow::ipc::RecordBatchStreamReader::Open(std::make_shared<arrow::io::BufferReader>(bytes)));
    ArrowArrayStream stream{};
    check(arrow::ExportRecordBatchReader(batches, &stream));
    const qads::Status status = writer.try_write_arrow(&stream);
    if (stream.release != nullptr) stream.release(&stream);
    if (!status.ok()) throw qads::Error(status);
}

std::shared_ptr<arrow::Buffer> encode(ArrowArrayStream* stream) {
    const auto batches = take(arrow::ImportRecordBatchReader(stream));
    const auto sink = take(arrow::io::BufferOutputStream::Create());
    const auto encoder = take(arrow::ipc::MakeStreamWriter(sink, batches->schema()));
    for (;;) {
        std::shared_ptr<arrow::RecordBatch> batch;
        check(batches->ReadNext(&batch));
        if (batch == nullptr) break;
        check(batch->Validate());
        check(encoder->WriteRecordBatch(*batch));
    }
    check(encoder->Close());
    return take(sink->Finish());
}

void run_writer(const std::string& ring, const std::string& mode, const std::string& path) {
    qads::WriterOptions options;
    options.slot_count = slots;
    options.slow_reader_ms = UINT64_MAX;
    qads::Writer writer(ring, options);
    std::cout << "created" << std::endl;
    std::string line;
    std::getline(std::cin, line);
    std::ifstream input(path, std::ios::binary);
    for (Message message; next_message(input, message);) {
        if (mode == "raw") {
            writer.write(message.data(), message.size());
        } else if (mode == "ipc") {
            writer.write_ipc(message.data(), message.size());
        } else {
            write_arrow(writer, message);
        }
    }
    writer.close();
}

void run_reader(const std::string& ring, const std::string& mode, const std::string& path) {
    qads::ReaderOptions options;
    options.lossless = 1;
    qads::Reader reader(ring, options);
    std::cout << "attached" << std::endl;
    std::ofstream output(path, std::ios::binary);
    try {
        for (;;) {
            if (mode == "raw") {
                Message message;
                if (reader.read(message, qads::forever)) store(output, message.data(), message.size());
                continue;
            }
            ArrowArrayStream stream{};
            const std::uint32_t flags = mode == "in-place" ? QADS_ZERO_COPY : 0;
            const qads::Status status = reader.try_read_arrow(&stream, qads::forever, flags);
            if (!status.ok()) throw qads::Error(status);
            const auto bytes = encode(&stream);
            store(output, bytes->data(), static_cast<std::size_t>(bytes->size()));
        }
    } catch (const qads::Error& error) {
        if (error.code() != QADS_CLOSED) throw;
    }
    output.close();
    std::cout << "done" << std::endl;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        const std::vector<std::string> words(arguments + 1, arguments + count);
        if (words.size() != 4) throw std::runtime_error("usage: interop-peer write|read RING MODE FILE");
        (words[0] == "write" ? run_writer : run_reader)(words[1], words[2], words[3]);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << std::endl;
        return 1;
    }
}
