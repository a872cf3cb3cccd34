// A child gets rid of what it inherited, whatever the parent's other threads were at when it was forked: it must not wait
// for them, who are not there. (Not for sanitizers and valgrind, whose own memory does wait, or misses those threads'.)
#include "check.h"

#include <sys/wait.h>

#include <atomic>
#include <thread>
#include <vector>

int main() {
    const char* name = ring_name();
    std::atomic<bool> enough{false};
    std::vector<std::thread> threads;
    for (int n = 0; n < 3; n++) {
        threads.emplace_back([&enough, name] {
            while (!enough) qads_destroy_arena(qads_create_arena(name, 4096, 4));
        });
    }
    // A writer, a reader and what it holds: to get rid of them in a child does nothing to the ring.
    void* inherited = qads_create_arena(name, 4096, 4);
    CHECK_CODE(qads_create_writer(inherited), QADS_OK);
    CHECK_CODE(qads_write_data(inherited, "held", 4), QADS_OK);
    qads_reader* reader = nullptr;
    qads_lease* lease = nullptr;
    const void* held = nullptr;
    std::size_t size = 0;
    CHECK_CODE(qads_reader_attach(name, nullptr, &reader), QADS_OK);
    CHECK_CODE(qads_reader_lease(reader, 0, &lease, &held, &size), QADS_OK);
    for (int n = 0; n < 100; n++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            qads_destroy_arena(inherited);
            qads_lease_release(lease);
            qads_reader_destroy(reader);
            _exit(0);
        }
        int status = 1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK_CODE(qads_write_data(inherited, "next", 4), QADS_OK);
        CHECK_CODE(qads_reader_skip(reader), QADS_OK);
        CHECK(size == 4 && memcmp(held, "held", 4) == 0);
    }
    enough = true;
    for (auto& thread : threads) thread.join();
    qads_lease_release(lease);
    qads_reader_destroy(reader);
    qads_destroy_arena(inherited);
}
