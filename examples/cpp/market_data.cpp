// One feed, then one strategy (single producer, single consumer), then several on the same ring (multiple consumers):
// what a quote takes from the feed to each of them. market_data [QUOTES] [STRATEGIES]
//
// Each strategy is a process of its own. The feed does not know how many there are, and writes at the same cost.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <qadataswap.hpp>
#include <string>
#include <vector>

#include "quote.hpp"

namespace {

// Time between two quotes.
constexpr std::int64_t kPauseNs = 20'000;

double microseconds(std::vector<std::int64_t>& sorted, double quantile) {
    if (sorted.empty()) return 0;
    return static_cast<double>(sorted[static_cast<std::size_t>(quantile * static_cast<double>(sorted.size() - 1))]) / 1e3;
}

// A strategy: reads until the ring is closed, then tells what it saw.
int strategy(const std::string& name, int number, int ready) {
    qads::Reader reader(name);
    if (write(ready, "r", 1) != 1) return 1;
    std::vector<std::int64_t> latencies;
    latencies.reserve(1 << 20);
    for (;;) {
        Quote quote;
        const qads::Status status = reader.try_read_value(quote, qads::forever);
        if (status.code() == QADS_CLOSED) break;
        if (!status) return std::fprintf(stderr, "%s\n", qads::Status::text()), 1;
        latencies.push_back(now_ns() - quote.sent_ns);
    }
    std::sort(latencies.begin(), latencies.end());
    std::printf("  strategy %d: %zu quotes, %llu lost, latency p50 %.2f us, p99 %.2f us, max %.0f us\n", number,
                latencies.size(), static_cast<unsigned long long>(reader.stats().lost), microseconds(latencies, 0.5),
                microseconds(latencies, 0.99), microseconds(latencies, 1.0));
    return 0;
}

int run(const std::string& name, std::uint64_t quotes, int strategies) {
    std::printf("%d %s\n", strategies, strategies == 1 ? "strategy" : "strategies");
    std::fflush(stdout);
    int ready[2];
    if (pipe(ready) != 0) return 1;
    std::vector<pid_t> children;
    for (int number = 0; number < strategies; number++) {
        const pid_t child = fork();
        if (child == 0) {
            const int code = strategy(name, number, ready[1]);
            std::fflush(stdout);
            _exit(code);
        }
        children.push_back(child);
    }
    qads::WriterOptions options;
    options.slot_count = 4096;
    options.slot_capacity = sizeof(Quote);
    options.prefault = 1;
    qads::Writer feed(name, options);
    char byte;
    for (int number = 0; number < strategies; number++) {
        if (read(ready[0], &byte, 1) != 1) return 1;
    }
    std::int64_t due = now_ns();
    for (std::uint64_t n = 0; n < quotes; n++) {
        while (now_ns() < due) {
        }
        due += kPauseNs;
        const double bid = 4725 + static_cast<double>(n % 40) / 4;
        feed.write_value(Quote{n, now_ns(), bid, bid + 0.25, 10, 12});
    }
    feed.unlink();
    int failed = 0;
    for (const pid_t child : children) {
        int status = 0;
        waitpid(child, &status, 0);
        failed |= status;
    }
    close(ready[0]);
    close(ready[1]);
    return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
    const std::uint64_t quotes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
    const int strategies = argc > 2 ? std::atoi(argv[2]) : 3;
    const std::string name = "market-data-cpp-" + std::to_string(getpid());
    const int alone = run(name, quotes, 1);
    return alone != 0 ? alone : run(name, quotes, strategies);
} catch (const qads::Error& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
}
