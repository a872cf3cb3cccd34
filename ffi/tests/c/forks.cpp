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
    void* inherited = qads_create_arena(name, 4096, 4);
    for (int n = 0; n < 100; n++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            qads_destroy_arena(inherited);
            _exit(0);
        }
        int status = 1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    enough = true;
    for (auto& thread : threads) thread.join();
    qads_destroy_arena(inherited);
}
