/* What the tests in C and C++ share: a check that says where it failed, and names of their own. */
#ifndef CHECK_H
#define CHECK_H

#include <qadataswap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                                  \
    do {                                                                                                  \
        if (!(condition)) {                                                                               \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition,       \
                    qads_last_error());                                                                   \
            exit(1);                                                                                      \
        }                                                                                                 \
    } while (0)

/* Checks a status, and says which it was instead. */
#define CHECK_CODE(call, expected)                                                                        \
    do {                                                                                                  \
        const int code_ = (call);                                                                         \
        if (code_ != (expected)) {                                                                        \
            fprintf(stderr, "%s:%d: %s gave %d instead of %d (last error: %s)\n", __FILE__, __LINE__,     \
                    #call, code_, (expected), qads_last_error());                                         \
            exit(1);                                                                                      \
        }                                                                                                 \
    } while (0)

/* The one ring name of a test program; never the same in two processes. Each thread writes it down for itself: one
   buffer for all would be written by one while another reads it. */
static inline const char* ring_name(void) {
    static __thread char name[64];
    snprintf(name, sizeof name, "test-c-%ld", (long)getpid());
    return name;
}

#endif
