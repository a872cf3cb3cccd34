// Publishes quotes: writer NAME COUNT. Then waits for Enter, and removes the ring.
//
//     g++ -std=c++17 writer.cpp $(pkg-config --cflags --libs --static qadataswap) -o writer

#include <cstdio>
#include <cstdlib>
#include <qadataswap.hpp>

#include "quote.hpp"

int main(int argc, char** argv) try {
    if (argc != 3) return std::fprintf(stderr, "usage: %s NAME COUNT\n", argv[0]), 2;
    qads::WriterOptions options;
    options.slot_count = 1024;
    options.slot_capacity = sizeof(Quote);
    qads::Writer writer(argv[1], options);
    const auto count = std::strtoull(argv[2], nullptr, 10);
    for (std::uint64_t n = 0; n < count; n++) {
        const double bid = 4725 + static_cast<double>(n % 40) / 4;
        writer.write_value(Quote{n, now_ns(), bid, bid + 0.25, 10, 12});
    }
    std::puts("published; Enter ends the ring");
    std::fflush(stdout);
    std::getchar();
    writer.unlink();
} catch (const qads::Error& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
}
