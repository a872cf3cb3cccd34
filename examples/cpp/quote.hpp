// What the C++ examples send: one quote, 40 bytes, which move in one cache line.
#pragma once

#include <chrono>
#include <cstdint>

struct Quote {
    std::uint64_t sequence;
    std::int64_t sent_ns;
    double bid, ask;
    std::uint32_t bid_size, ask_size;
};
static_assert(sizeof(Quote) == 40);

// The steady clock is the same in all processes.
inline std::int64_t now_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}
