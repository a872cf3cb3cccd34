// What a write and a read of 40 bytes cost through the C++ header, and the way from one thread to another and back. The
// same in Rust is benches/small.rs; `make ffi-cost` has them take turns.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <qadataswap.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Message {
    std::uint64_t words[5];
};

constexpr int kSlots = 16;

double now_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::nano>(now).count();
}

double median(std::vector<double>& figures) {
    std::sort(figures.begin(), figures.end());
    return figures[figures.size() / 2];
}

qads::Writer create(const std::string& name) {
    qads::WriterOptions options;
    options.slot_count = kSlots;
    options.slot_capacity = sizeof(Message);
    options.prefault = 1;
    return qads::Writer(name, options);
}

qads::Reader attach(const std::string& name) {
    qads::ReaderOptions options;
    options.wait = QADS_WAIT_SPIN;
    return qads::Reader(name, options);
}

void one_thread(const std::string& name, int rounds) {
    qads::Writer writer = create(name);
    qads::Reader reader = attach(name);
    std::vector<double> writes, reads;
    Message message{};
    for (int round = 0; round <= rounds; round++) {
        double wrote = 0, read = 0;
        constexpr int kLaps = 2000;
        for (int lap = 0; lap < kLaps; lap++) {
            const double start = now_ns();
            for (int n = 0; n < kSlots / 2; n++) writer.write_value(message);
            const double between = now_ns();
            for (int n = 0; n < kSlots / 2; n++) {
                if (!reader.try_read_value(message, qads::Timeout::zero())) std::abort();
            }
            wrote += between - start;
            read += now_ns() - between;
        }
        if (round == 0) continue;
        writes.push_back(wrote / (kLaps * kSlots / 2));
        reads.push_back(read / (kLaps * kSlots / 2));
    }
    writer.unlink();
    std::printf("C++   write %5.1f ns   read %5.1f ns", median(writes), median(reads));
}

void two_threads(const std::string& name, int rounds) {
    qads::Writer there = create(name + "-there"), back = create(name + "-back");
    qads::Reader here = attach(name + "-back");
    std::thread other([&back, reader = attach(name + "-there")]() mutable {
        Message message{};
        while (reader.try_read_value(message, qads::forever).ok()) back.write_value(message);
    });
    std::vector<double> ways;
    Message message{};
    for (int round = 0; round <= rounds; round++) {
        constexpr int kTrips = 2000;
        const double start = now_ns();
        for (int trip = 0; trip < kTrips; trip++) {
            there.write_value(message);
            if (!here.try_read_value(message, qads::forever)) std::abort();
        }
        if (round > 0) ways.push_back((now_ns() - start) / (2 * kTrips));
    }
    there.unlink();
    other.join();
    back.unlink();
    std::printf("   one way between threads %5.0f ns\n", median(ways));
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 21;
    const std::string name = "bench-cpp-" + std::to_string(getpid());
    one_thread(name, rounds);
    two_threads(name, rounds);
}
