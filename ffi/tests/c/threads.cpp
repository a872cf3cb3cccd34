// Many threads: each with handles of its own, all on one handle, and leases that are released elsewhere.
#include "check.h"

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

// How many messages; fewer under valgrind, where threads take turns: threads [MESSAGES]
std::uint64_t messages = 20000;

qads_reader* attach(bool lossless) {
    qads_reader_options options;
    CHECK_CODE(qads_reader_options_init(&options, sizeof options), QADS_OK);
    options.lossless = lossless;
    qads_reader* reader = nullptr;
    CHECK_CODE(qads_reader_attach(ring_name(), &options, &reader), QADS_OK);
    return reader;
}

// A writer, and readers that each see every message, or count what they lost.
void each_its_own() {
    qads_writer_options options;
    CHECK_CODE(qads_writer_options_init(&options, sizeof options), QADS_OK);
    options.slot_count = 64;
    options.slot_capacity = 64;
    options.slow_reader_ms = UINT64_MAX;
    qads_writer* writer = nullptr;
    CHECK_CODE(qads_writer_create(ring_name(), &options, &writer), QADS_OK);
    std::vector<std::thread> threads;
    std::atomic<int> attached{0};
    for (int n = 0; n < 4; n++) {
        threads.emplace_back([&attached, lossless = n % 2 == 0] {
            qads_reader* reader = attach(lossless);
            attached++;
            std::uint64_t next = 0, seen = 0;
            for (;;) {
                std::uint64_t value = 0;
                const int code = qads_reader_read_exact(reader, &value, sizeof value, UINT64_MAX);
                if (code == QADS_CLOSED) break;
                CHECK_CODE(code, QADS_OK);
                CHECK(value >= next);
                if (lossless) CHECK(value == next);
                next = value + 1;
                seen++;
            }
            qads_reader_stats stats{};
            stats.struct_size = sizeof stats;
            CHECK_CODE(qads_reader_get_stats(reader, &stats), QADS_OK);
            CHECK(stats.consumed == seen && seen + stats.lost == messages);
            qads_reader_destroy(reader);
        });
    }
    while (attached != 4) std::this_thread::yield();
    for (std::uint64_t n = 0; n < messages; n++) CHECK_CODE(qads_writer_write(writer, &n, sizeof n), QADS_OK);
    CHECK_CODE(qads_writer_unlink(writer), QADS_OK);
    for (auto& thread : threads) thread.join();
    qads_writer_destroy(writer);
}

// One handle in many threads: a call is done, or refused as busy; and what is done is done once.
void all_on_one() {
    qads_writer_options options;
    CHECK_CODE(qads_writer_options_init(&options, sizeof options), QADS_OK);
    options.slot_count = 1u << 16;
    options.slot_capacity = 64;
    qads_writer* writer = nullptr;
    CHECK_CODE(qads_writer_create(ring_name(), &options, &writer), QADS_OK);
    qads_reader* reader = attach(false);
    std::atomic<std::uint64_t> written{0}, read{0};
    std::vector<std::thread> threads;
    for (int n = 0; n < 4; n++) {
        threads.emplace_back([&] {
            for (std::uint64_t i = 0; i < messages / 4; i++) {
                std::uint64_t value = i;
                int code = qads_writer_write(writer, &value, sizeof value);
                CHECK(code == QADS_OK || code == QADS_BUSY);
                written += code == QADS_OK;
                code = qads_reader_read_exact(reader, &value, sizeof value, 0);
                CHECK(code == QADS_OK || code == QADS_BUSY || code == QADS_TIMEOUT);
                read += code == QADS_OK;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    while (qads_reader_skip(reader) == QADS_OK) read++;
    CHECK(written > 0 && written == read);
    qads_reader_destroy(reader);

    // Destroyed by one of many.
    for (int n = 0; n < 4; n++) threads[static_cast<std::size_t>(n)] = std::thread(qads_writer_destroy, writer);
    for (auto& thread : threads) thread.join();
    CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_INVALID);
    CHECK_CODE(qads_unlink(ring_name()), QADS_OK);
}

// The text of an error is the thread's own.
void errors_apart() {
    CHECK_CODE(qads_unlink("a/b"), QADS_INVALID);
    const std::string here = qads_last_error();
    std::thread([] {
        CHECK(*qads_last_error() == '\0');
        CHECK_CODE(qads_unlink("no-such-ring-of-this-test"), QADS_NOT_FOUND);
    }).join();
    CHECK(here == qads_last_error());
}

void leases_elsewhere() {
    qads_writer* writer = nullptr;
    CHECK_CODE(qads_writer_create(ring_name(), nullptr, &writer), QADS_OK);
    qads_reader* reader = attach(false);
    for (int round = 0; round < 100; round++) {
        CHECK_CODE(qads_writer_write(writer, &round, sizeof round), QADS_OK);
        qads_lease* lease = nullptr;
        const void* data = nullptr;
        std::size_t size = 0;
        CHECK_CODE(qads_reader_lease(reader, 0, &lease, &data, &size), QADS_OK);
        std::thread([=] {
            int seen = 0;
            memcpy(&seen, data, sizeof seen);
            CHECK(seen == round);
            qads_lease_release(lease);
        }).join();
    }
    qads_reader_stats stats{};
    stats.struct_size = sizeof stats;
    CHECK_CODE(qads_reader_get_stats(reader, &stats), QADS_OK);
    CHECK(stats.leases == 0 && stats.consumed == 100);
    qads_reader_destroy(reader);
    CHECK_CODE(qads_writer_unlink(writer), QADS_OK);
    qads_writer_destroy(writer);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) messages = std::strtoull(argv[1], nullptr, 10);
    each_its_own();
    all_on_one();
    errors_apart();
    leases_elsewhere();
}
