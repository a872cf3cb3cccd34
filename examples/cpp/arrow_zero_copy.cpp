// Arrow C++ reads a batch in place: its buffers lie in the ring's shared memory, and the message is leased until the
// last reference to them is gone. Two ways: through the C Stream Interface, and through a lease and Arrow's own reader.
//
// Arrow C++ wants C++20. This library does not link it; only this program does.

#include <arrow/api.h>
#include <arrow/c/bridge.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <qadataswap.hpp>
#include <string>

namespace {

// A lease as one of Arrow's buffers.
class LeasedBuffer : public arrow::Buffer {
public:
    explicit LeasedBuffer(qads::Lease lease)
        : arrow::Buffer(reinterpret_cast<const std::uint8_t*>(lease.data()), static_cast<std::int64_t>(lease.size())),
          lease_(std::move(lease)) {}

private:
    qads::Lease lease_;
};

arrow::Result<std::shared_ptr<arrow::RecordBatch>> make_batch() {
    arrow::DoubleBuilder prices;
    arrow::StringBuilder symbols;
    for (int n = 0; n < 1000; n++) {
        ARROW_RETURN_NOT_OK(prices.Append(4725 + n * 0.25));
        ARROW_RETURN_NOT_OK(symbols.Append("ES" + std::to_string(n)));
    }
    ARROW_ASSIGN_OR_RAISE(auto price, prices.Finish());
    ARROW_ASSIGN_OR_RAISE(auto symbol, symbols.Finish());
    auto schema = arrow::schema({arrow::field("price", arrow::float64()), arrow::field("symbol", arrow::utf8())});
    return arrow::RecordBatch::Make(schema, 1000, {price, symbol});
}

arrow::Status publish(qads::Writer& writer, const arrow::RecordBatch& batch) {
    ArrowArray array;
    ArrowSchema schema;
    ARROW_RETURN_NOT_OK(arrow::ExportRecordBatch(batch, &array, &schema));
    const qads::Status status = writer.try_write_arrow(&array, &schema);
    array.release(&array);
    schema.release(&schema);
    return status ? arrow::Status::OK() : arrow::Status::IOError(qads::Status::text());
}

arrow::Status run(const std::string& name) {
    qads::Writer writer(name);
    qads::Reader reader(name);
    ARROW_ASSIGN_OR_RAISE(const auto sent, make_batch());
    const auto leases = [&] { return reader.stats().leases; };
    const auto expect = [](bool so, const char* what) {
        return so ? arrow::Status::OK() : arrow::Status::Invalid(what);
    };

    // Through the C Stream Interface.
    ARROW_RETURN_NOT_OK(publish(writer, *sent));
    ArrowArrayStream stream;
    if (!reader.read_arrow(&stream, std::chrono::seconds(1), QADS_ZERO_COPY)) return arrow::Status::IOError("nothing");
    ARROW_ASSIGN_OR_RAISE(auto batches, arrow::ImportRecordBatchReader(&stream));
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(batches->ReadNext(&batch));
    ARROW_RETURN_NOT_OK(batch->ValidateFull());
    ARROW_RETURN_NOT_OK(expect(batch->Equals(*sent), "the batch is another"));
    ARROW_RETURN_NOT_OK(expect(leases() == 1, "not in place"));
    // The last reference to a column keeps it.
    auto column = batch->column(0);
    batch.reset();
    batches.reset();
    for (int n = 0; n < 100; n++) writer.write_value(n);
    ARROW_RETURN_NOT_OK(expect(leases() == 1 && column->Equals(*sent->column(0)), "the column has changed"));
    column.reset();
    ARROW_RETURN_NOT_OK(expect(leases() == 0, "the lease has stayed"));
    while (reader.skip()) {
    }

    // Through a lease and Arrow's own reader of IPC streams.
    ARROW_RETURN_NOT_OK(publish(writer, *sent));
    auto lease = reader.lease(std::chrono::seconds(1));
    if (!lease) return arrow::Status::IOError("nothing");
    const auto* first = reinterpret_cast<const std::uint8_t*>(lease->begin());
    const auto* last = reinterpret_cast<const std::uint8_t*>(lease->end());
    auto input = std::make_shared<arrow::io::BufferReader>(std::make_shared<LeasedBuffer>(std::move(*lease)));
    ARROW_ASSIGN_OR_RAISE(auto ipc, arrow::ipc::RecordBatchStreamReader::Open(input));
    ARROW_RETURN_NOT_OK(ipc->ReadNext(&batch));
    ARROW_RETURN_NOT_OK(expect(batch->Equals(*sent), "the batch is another"));
    const std::uint8_t* values = batch->column(0)->data()->buffers[1]->data();
    ARROW_RETURN_NOT_OK(expect(values >= first && values < last, "not in place"));
    std::printf("%lld rows in place, both ways\n", static_cast<long long>(batch->num_rows()));
    writer.unlink();
    return arrow::Status::OK();
}

}  // namespace

int main() try {
    const arrow::Status status = run("arrow-cpp-" + std::to_string(getpid()));
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return status.ok() ? 0 : 1;
} catch (const qads::Error& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
}
