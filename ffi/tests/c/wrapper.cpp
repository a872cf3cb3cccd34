// qadataswap.hpp: owners, typed messages, exceptions.
#include <qadataswap.hpp>

#include "check.h"

#include <sys/resource.h>

#include <string>
#include <type_traits>

namespace {

using namespace std::chrono_literals;

struct Quote {
    double bid, ask;
    std::uint64_t instrument;
};

static_assert(!std::is_copy_constructible_v<qads::Writer> && std::is_nothrow_move_constructible_v<qads::Writer>);
static_assert(!std::is_copy_assignable_v<qads::Reader> && std::is_nothrow_move_assignable_v<qads::Reader>);
static_assert(!std::is_copy_constructible_v<qads::Lease> && std::is_nothrow_move_constructible_v<qads::Lease>);
static_assert(!std::is_copy_constructible_v<qads::Reservation>);

qads::WriterOptions small() {
    qads::WriterOptions options;
    options.slot_count = 8;
    options.slot_capacity = 1024;
    return options;
}

template <class Call>
int code_of(Call call) {
    try {
        call();
    } catch (const qads::Error& error) {
        CHECK(std::string(error.what()).size() > 0);
        return error.code();
    }
    return QADS_OK;
}

void messages() {
    qads::Writer writer(ring_name(), small());
    qads::Reader reader{std::string(ring_name())};
    CHECK(!reader.read_value<Quote>(0ms) && !reader.lease(1ms));
    writer.write_value(Quote{1.5, 1.6, 7});
    CHECK(code_of([&] { (void)reader.read_value<int>(0ms); }) == QADS_SIZE_MISMATCH);
    const auto quote = reader.read_value<Quote>(1s);
    CHECK(quote && quote->bid == 1.5 && quote->instrument == 7);

    std::vector<std::byte> message;
    for (std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{1000}, std::size_t{3}}) {
        const std::string text(size, 'x');
        writer.write(text.data(), text.size());
        CHECK(reader.read(message, qads::forever));
        CHECK(message.size() == size && (size == 0 || memcmp(message.data(), text.data(), size) == 0));
    }
    CHECK(!reader.read(message, 0ms) && message.empty());
    CHECK(!reader.skip());

    // In place on both sides.
    {
        qads::Reservation slot = writer.reserve(sizeof(Quote));
        CHECK(slot.capacity() == sizeof(Quote));
        CHECK(code_of([&] { writer.write_value(1); }) == QADS_BUSY);
        const Quote in_place{2.5, 2.6, 8};
        memcpy(slot.data(), &in_place, sizeof in_place);
        qads::Reservation moved = std::move(slot);
        moved.publish(sizeof(Quote));
    }
    { qads::Reservation unused = writer.reserve(10); }
    auto lease = reader.lease(1s);
    CHECK(lease && lease->size() == sizeof(Quote) && lease->as<Quote>() && !lease->as<int>());
    CHECK(lease->as<Quote>()->instrument == 8 && lease->end() - lease->begin() == sizeof(Quote));
    CHECK(lease->position() == 5);
    for (int n = 0; n < 30; n++) writer.write_value(n);
    reader = qads::Reader();
    qads::Lease last = std::move(*lease);
    CHECK(!*lease && last && last.as<Quote>()->instrument == 8);
    last.release();
    CHECK(!last && last.size() == 0 && last.position() == 0);
    CHECK(writer.stats().published == 36 && writer.stats().lease_skips > 0);

    // A move leaves nothing behind, and destroys what was there.
    qads::Reader lossless;
    CHECK(!lossless);
    qads::ReaderOptions options;
    options.lossless = 1;
    options.start = QADS_START_NEXT;
    lossless = qads::Reader(ring_name(), options);
    CHECK(lossless && lossless.stats().registered == 1);
    writer.write_value(1);
    CHECK(lossless.skip() && lossless.rejoin() == 0);
    qads::Writer moved = std::move(writer);
    CHECK(!writer && moved);
    CHECK(code_of([&] { writer.write_value(1); }) == QADS_INVALID);
    moved.unlink();
    CHECK(code_of([&] { moved.write_value(1); }) == QADS_CLOSED);
    CHECK(code_of([&] { (void)lossless.read_value<int>(qads::forever); }) == QADS_CLOSED);
}

// A buffer that once was large does not make every read a large one.
void large_buffers() {
    qads::Writer writer(ring_name(), small());
    qads::Reader reader(ring_name());
    const auto resident_kb = [] {
        rusage usage{};
        CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
        return usage.ru_maxrss;
    };
    std::vector<std::byte> message;
    message.reserve(std::size_t{256} << 20);
    const auto before = resident_kb();
    for (int n = 0; n < 3; n++) {
        writer.write_value(n);
        CHECK(reader.read(message, 0ms) && message.size() == sizeof n);
    }
    CHECK(resident_kb() < before + (128 << 10));
    writer.unlink();
}

void errors() {
    CHECK(code_of([] { qads::Writer writer("a/b"); }) == QADS_INVALID);
    qads::ReaderOptions at_once;
    at_once.attach_timeout_ms = 0;
    CHECK(code_of([&] { qads::Reader reader("no-such-ring-of-this-test", at_once); }) == QADS_NOT_FOUND);
    qads::WriterOptions fixed = small();
    fixed.rollover = 0;
    qads::Writer writer(ring_name(), fixed);
    const std::string large(2000, 'l');
    CHECK(code_of([&] { writer.write(large.data(), large.size()); }) == QADS_MEMORY);
    CHECK(code_of([&] { writer.write_arrow(nullptr); }) == QADS_INVALID);
    writer.write_ipc("nonsense", 8);
    qads::Reader reader(ring_name());
    ArrowArrayStream stream;
    CHECK(code_of([&] { reader.read_arrow(&stream, 0ms, QADS_ZERO_COPY); }) == QADS_ARROW);
    CHECK(!reader.read_arrow(&stream, 0ms));
    writer.close();
    CHECK_CODE(qads_unlink(ring_name()), QADS_OK);
}

}  // namespace

int main() {
    messages();
    large_buffers();
    errors();
}
