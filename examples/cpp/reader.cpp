// Prints quotes: reader NAME COUNT. Any number of these can run; each gets every quote.

#include <cstdio>
#include <cstdlib>
#include <qadataswap.hpp>

#include "quote.hpp"

int main(int argc, char** argv) try {
    if (argc != 3) return std::fprintf(stderr, "usage: %s NAME COUNT\n", argv[0]), 2;
    qads::Reader reader(argv[1]);
    const auto count = std::strtoull(argv[2], nullptr, 10);
    for (std::uint64_t n = 0; n < count; n++) {
        const auto quote = reader.read_value<Quote>(std::chrono::seconds(5));
        if (!quote) return std::fputs("no quote for five seconds\n", stderr), 1;
        std::printf("%llu: %.2f x %.2f\n", static_cast<unsigned long long>(quote->sequence), quote->bid, quote->ask);
    }
    std::printf("%llu lost\n", static_cast<unsigned long long>(reader.stats().lost));
} catch (const qads::Error& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
}
