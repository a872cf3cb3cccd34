// qadataswap.hpp without exceptions.
#include <qadataswap.hpp>

#include "check.h"

#ifdef __cpp_exceptions
#error "to be compiled with -fno-exceptions"
#endif

int main() {
    using namespace std::chrono_literals;
    qads::Writer writer;
    qads::Reader reader;
    CHECK(writer.try_write("x", 1).code() == QADS_INVALID);
    CHECK(writer.try_create("a/b").code() == QADS_INVALID && strlen(qads::Status::text()) > 0);
    CHECK(writer.try_create(ring_name()).ok());
    CHECK(reader.try_attach(ring_name()).ok());
    int value = 0;
    CHECK(reader.try_read_value(value, 0ms).timed_out());
    CHECK(writer.try_write_value(42).ok());
    CHECK(reader.try_read_value(value, qads::forever) == qads::Status(QADS_OK) && value == 42);
    qads::Reservation slot;
    CHECK(writer.try_reserve(4, slot).ok());
    memcpy(slot.data(), "abcd", 4);
    CHECK(slot.try_publish(5) != qads::Status(QADS_OK) && slot.try_publish(4).ok());
    qads::Lease lease;
    CHECK(reader.try_lease(lease, 1s).ok() && lease.size() == 4 && memcmp(lease.data(), "abcd", 4) == 0);
    CHECK(reader.try_skip().timed_out());
    std::size_t size = 0;
    CHECK(writer.try_write("abc", 3).ok());
    char buffer[2];
    CHECK(reader.try_read(buffer, sizeof buffer, size, 0ms).code() == QADS_MEMORY && size == 3);
    qads_writer_stats written{};
    qads_reader_stats read{};
    CHECK(writer.try_stats(written).ok() && written.published == 3);
    CHECK(reader.try_stats(read).ok() && read.consumed == 2 && read.leases == 1);
    CHECK(writer.try_unlink().ok());
}
