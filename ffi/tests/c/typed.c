/* Writers, readers and leases: what they can do beyond the six calls. */
#include "check.h"

#include <sys/wait.h>

static qads_writer* create(uint64_t slots, uint64_t capacity, uint32_t on_slow_reader, uint64_t slow_ms) {
    qads_writer_options options;
    CHECK_CODE(qads_writer_options_init(&options, sizeof options), QADS_OK);
    options.slot_count = slots;
    options.slot_capacity = capacity;
    options.on_slow_reader = on_slow_reader;
    options.slow_reader_ms = slow_ms;
    qads_writer* writer = NULL;
    CHECK_CODE(qads_writer_create(ring_name(), &options, &writer), QADS_OK);
    return writer;
}

static qads_reader* attach(int lossless) {
    qads_reader_options options;
    CHECK_CODE(qads_reader_options_init(&options, sizeof options), QADS_OK);
    options.lossless = lossless != 0;
    options.writable_mapping = lossless != 0;
    qads_reader* reader = NULL;
    CHECK_CODE(qads_reader_attach(ring_name(), &options, &reader), QADS_OK);
    return reader;
}

static void finish(qads_writer* writer) {
    CHECK_CODE(qads_writer_unlink(writer), QADS_OK);
    qads_writer_destroy(writer);
}

static void in_place(void) {
    qads_writer* writer = create(4, 256, QADS_SLOW_WAIT, 0);
    qads_reader* reader = attach(0);
    void* slot = NULL;
    CHECK_CODE(qads_writer_publish(writer, 0), QADS_INVALID);
    CHECK_CODE(qads_writer_abandon(writer), QADS_INVALID);
    CHECK_CODE(qads_writer_reserve(writer, 100, &slot), QADS_OK);
    CHECK(slot && (uintptr_t)slot % 8 == 0);
    memcpy(slot, "in place", 8);
    /* Nothing else can be done with the writer meanwhile. */
    void* second = NULL;
    qads_writer_stats stats = {.struct_size = sizeof stats};
    CHECK_CODE(qads_writer_reserve(writer, 1, &second), QADS_BUSY);
    CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_BUSY);
    CHECK_CODE(qads_writer_get_stats(writer, &stats), QADS_BUSY);
    CHECK(second == NULL);
    CHECK_CODE(qads_writer_publish(writer, 101), QADS_MEMORY);
    CHECK_CODE(qads_writer_publish(writer, 8), QADS_OK);
    CHECK_CODE(qads_writer_reserve(writer, 1, &slot), QADS_OK);
    CHECK_CODE(qads_writer_abandon(writer), QADS_OK);

    qads_lease* lease = NULL;
    const void* data = NULL;
    size_t size = 0;
    uint64_t position = 99;
    CHECK_CODE(qads_reader_lease(reader, 0, &lease, &data, &size), QADS_OK);
    CHECK(size == 8 && memcmp(data, "in place", 8) == 0);
    CHECK_CODE(qads_lease_position(lease, &position), QADS_OK);
    CHECK(position == 0);
    /* The writer goes round it, and it outlives its reader. */
    for (int n = 0; n < 50; n++) CHECK_CODE(qads_writer_write(writer, "other", 5), QADS_OK);
    qads_reader_stats seen = {.struct_size = sizeof seen};
    CHECK_CODE(qads_reader_get_stats(reader, &seen), QADS_OK);
    CHECK(seen.leases == 1 && seen.consumed == 1 && seen.registered == 1);
    qads_reader_destroy(reader);
    CHECK(memcmp(data, "in place", 8) == 0);
    CHECK_CODE(qads_writer_get_stats(writer, &stats), QADS_OK);
    CHECK(stats.published == 51 && stats.lease_skips > 0 && stats.slot_count == 4);
    CHECK(stats.slot_capacity == 256);
    qads_lease_release(lease);
    finish(writer);
}

static void sizes_and_skips(void) {
    qads_writer* writer = create(8, 64, QADS_SLOW_WAIT, 0);
    qads_reader* reader = attach(0);
    char buffer[64];
    size_t size = 0;
    CHECK_CODE(qads_writer_write(writer, "abc", 3), QADS_OK);
    CHECK_CODE(qads_reader_read_exact(reader, buffer, 4, 0), QADS_SIZE_MISMATCH);
    CHECK_CODE(qads_reader_read_exact(reader, buffer, 2, 0), QADS_SIZE_MISMATCH);
    CHECK_CODE(qads_reader_read(reader, buffer, 2, &size, 0), QADS_MEMORY);
    CHECK(size == 3);
    CHECK_CODE(qads_reader_read_exact(reader, buffer, 3, 0), QADS_OK);
    CHECK_CODE(qads_reader_read_exact(reader, buffer, 3, 0), QADS_TIMEOUT);
    CHECK_CODE(qads_reader_skip(reader), QADS_TIMEOUT);
    CHECK_CODE(qads_writer_write(writer, "abc", 3), QADS_OK);
    CHECK_CODE(qads_reader_skip(reader), QADS_OK);
    /* Rollover, which is on unless told otherwise. */
    char large[1000] = {1};
    CHECK_CODE(qads_writer_write(writer, large, sizeof large), QADS_OK);
    CHECK_CODE(qads_reader_read(reader, buffer, sizeof buffer, &size, 0), QADS_MEMORY);
    CHECK(size == sizeof large);
    /* An ended ring: what is in it is read, then it is closed; the handle can only be destroyed. */
    CHECK_CODE(qads_writer_close(writer), QADS_OK);
    CHECK_CODE(qads_writer_close(writer), QADS_CLOSED);
    CHECK_CODE(qads_writer_unlink(writer), QADS_CLOSED);
    CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_CLOSED);
    CHECK_CODE(qads_reader_read(reader, large, sizeof large, &size, 1000), QADS_OK);
    CHECK_CODE(qads_reader_read(reader, large, sizeof large, &size, UINT64_MAX), QADS_CLOSED);
    qads_writer_destroy(writer);
    qads_reader_destroy(reader);
    CHECK_CODE(qads_unlink(ring_name()), QADS_OK);
}

static void lossless(void) {
    qads_writer* writer = create(4, 64, QADS_SLOW_REFUSE, 0);
    qads_reader* reader = attach(1);
    for (int n = 0; n < 4; n++) CHECK_CODE(qads_writer_write(writer, &n, sizeof n), QADS_OK);
    CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_TIMEOUT);
    int n = -1;
    CHECK_CODE(qads_reader_read_exact(reader, &n, sizeof n, 0), QADS_OK);
    CHECK(n == 0);
    CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_OK);
    qads_reader_destroy(reader);
    finish(writer);

    writer = create(4, 64, QADS_SLOW_EVICT, 1);
    reader = attach(1);
    for (n = 0; n < 10; n++) CHECK_CODE(qads_writer_write(writer, &n, sizeof n), QADS_OK);
    CHECK_CODE(qads_reader_read_exact(reader, &n, sizeof n, 0), QADS_EVICTED);
    uint64_t lost = 99;
    CHECK_CODE(qads_reader_rejoin(reader, &lost), QADS_OK);
    CHECK_CODE(qads_reader_rejoin(reader, NULL), QADS_OK);
    qads_reader_stats seen = {.struct_size = sizeof seen};
    CHECK_CODE(qads_reader_get_stats(reader, &seen), QADS_OK);
    CHECK_CODE(qads_reader_read_exact(reader, &n, sizeof n, 0), QADS_OK);
    CHECK((uint64_t)n == seen.lost && seen.evictions == 1);
    qads_reader_destroy(reader);
    finish(writer);
}

static void overrun_told(void) {
    qads_writer* writer = create(4, 64, QADS_SLOW_WAIT, 0);
    qads_reader_options options;
    CHECK_CODE(qads_reader_options_init(&options, sizeof options), QADS_OK);
    options.overrun_is_error = 1;
    qads_reader* reader = NULL;
    CHECK_CODE(qads_reader_attach(ring_name(), &options, &reader), QADS_OK);
    for (int n = 0; n < 10; n++) CHECK_CODE(qads_writer_write(writer, &n, sizeof n), QADS_OK);
    int n = -1;
    CHECK_CODE(qads_reader_read_exact(reader, &n, sizeof n, 0), QADS_OVERRUN);
    CHECK_CODE(qads_reader_read_exact(reader, &n, sizeof n, 0), QADS_OK);
    CHECK(n > 0);
    qads_reader_destroy(reader);
    finish(writer);
}

/* Structures of an older and of a newer caller. */
static void growing(void) {
    struct {
        qads_writer_options known;
        uint64_t later;
    } newer;
    memset(&newer, 0xff, sizeof newer);
    CHECK_CODE(qads_writer_options_init(&newer.known, sizeof newer), QADS_OK);
    CHECK(newer.later == 0 && newer.known.struct_size == sizeof newer && newer.known.slot_count == 16);
    qads_writer* writer = NULL;
    newer.later = 1;
    CHECK_CODE(qads_writer_create(ring_name(), &newer.known, &writer), QADS_INVALID);
    newer.later = 0;
    CHECK_CODE(qads_writer_create(ring_name(), &newer.known, &writer), QADS_OK);

    /* A caller that knows only the number of slots. */
    struct {
        size_t struct_size;
        uint64_t slot_count;
        uint64_t guard;
    } older = {16, 0, 0x5a5a};
    CHECK_CODE(qads_writer_options_init((qads_writer_options*)(void*)&older, 16), QADS_OK);
    CHECK(older.slot_count == 16 && older.guard == 0x5a5a);
    struct {
        size_t struct_size;
        uint64_t published;
        uint64_t guard;
    } stats = {16, 99, 0x5a5a};
    CHECK_CODE(qads_writer_get_stats(writer, (qads_writer_stats*)(void*)&stats), QADS_OK);
    CHECK(stats.published == 0 && stats.guard == 0x5a5a);
    stats.struct_size = 0;
    CHECK_CODE(qads_writer_get_stats(writer, (qads_writer_stats*)(void*)&stats), QADS_INVALID);
    stats.struct_size = SIZE_MAX;
    CHECK_CODE(qads_writer_get_stats(writer, (qads_writer_stats*)(void*)&stats), QADS_INVALID);
    finish(writer);

    /* Values that no option has. */
    qads_writer_options options;
    CHECK_CODE(qads_writer_options_init(&options, sizeof options), QADS_OK);
    options.on_slow_reader = 7;
    CHECK_CODE(qads_writer_create(ring_name(), &options, &writer), QADS_INVALID);
    CHECK_CODE(qads_writer_options_init(&options, sizeof options), QADS_OK);
    options.rollover = 2;
    CHECK_CODE(qads_writer_create(ring_name(), &options, &writer), QADS_INVALID);
    CHECK_CODE(qads_writer_options_init(&options, sizeof options), QADS_OK);
    options.slot_count = UINT64_MAX;
    CHECK_CODE(qads_writer_create(ring_name(), &options, &writer), QADS_INVALID);
    qads_reader_options reading;
    CHECK_CODE(qads_reader_options_init(&reading, sizeof reading), QADS_OK);
    reading.start = 3;
    qads_reader* reader = NULL;
    CHECK_CODE(qads_reader_attach(ring_name(), &reading, &reader), QADS_INVALID);
    CHECK_CODE(qads_reader_options_init(&reading, sizeof reading), QADS_OK);
    reading.max_leases = 9;
    CHECK_CODE(qads_reader_attach(ring_name(), &reading, &reader), QADS_INVALID);
    reading.max_leases = 4;
    reading.writable_mapping = 2;
    CHECK_CODE(qads_reader_attach(ring_name(), &reading, &reader), QADS_INVALID);
    reading.writable_mapping = 1;
    reading.attach_timeout_ms = 0;
    CHECK_CODE(qads_reader_attach(ring_name(), &reading, &reader), QADS_NOT_FOUND);
    CHECK(reader == NULL);
}

/* Each way of waiting waits, and reads what comes. */
static void ways_to_wait(void) {
    qads_writer* writer = create(4, 64, QADS_SLOW_WAIT, 0);
    qads_reader_options options;
    CHECK_CODE(qads_reader_options_init(&options, sizeof options), QADS_OK);
    CHECK(options.wait == QADS_WAIT_SPIN_THEN_SLEEP);
    const uint32_t ways[] = {QADS_WAIT_SPIN_THEN_SLEEP, QADS_WAIT_SPIN, QADS_WAIT_SLEEP, QADS_WAIT_YIELD};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        options.wait = ways[i];
        options.start = QADS_START_NEXT;
        qads_reader* reader = NULL;
        CHECK_CODE(qads_reader_attach(ring_name(), &options, &reader), QADS_OK);
        char message[64];
        size_t size = 0;
        CHECK_CODE(qads_reader_read(reader, message, sizeof message, &size, 2), QADS_TIMEOUT);
        CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_OK);
        CHECK_CODE(qads_reader_read(reader, message, sizeof message, &size, UINT64_MAX), QADS_OK);
        CHECK(size == 1 && message[0] == 'x');
        qads_reader_destroy(reader);
    }
    options.wait = 4;
    qads_reader* none = NULL;
    CHECK_CODE(qads_reader_attach(ring_name(), &options, &none), QADS_INVALID);
    CHECK(strstr(qads_last_error(), "wait = 4: there are 0 to 3") != NULL);
    finish(writer);
}

/* One that takes over a ring whose writer's handle was only destroyed. */
static void takeover(void) {
    qads_writer* writer = create(4, 64, QADS_SLOW_WAIT, 0);
    qads_writer* second = NULL;
    CHECK_CODE(qads_writer_create(ring_name(), NULL, &second), QADS_WRITER_ALIVE);
    CHECK_CODE(qads_unlink(ring_name()), QADS_WRITER_ALIVE);
    CHECK_CODE(qads_writer_write(writer, "one", 3), QADS_OK);
    qads_writer_destroy(writer);
    writer = create(4, 64, QADS_SLOW_WAIT, 0);
    qads_writer_stats stats = {.struct_size = sizeof stats};
    CHECK_CODE(qads_writer_get_stats(writer, &stats), QADS_OK);
    CHECK(stats.message_count == 1 && stats.epoch == 2);
    finish(writer);
}

/* A forked child has the handles and may not use them; what it does harms nobody. */
static void forked(void) {
    qads_writer* writer = create(4, 64, QADS_SLOW_WAIT, 0);
    qads_reader* reader = attach(0);
    CHECK_CODE(qads_writer_write(writer, "one", 3), QADS_OK);
    const pid_t child = fork();
    if (child == 0) {
        char buffer[8];
        size_t size = 0;
        CHECK_CODE(qads_writer_write(writer, "two", 3), QADS_FORKED);
        CHECK_CODE(qads_reader_read(reader, buffer, sizeof buffer, &size, 0), QADS_FORKED);
        CHECK_CODE(qads_writer_unlink(writer), QADS_FORKED);
        qads_reader_destroy(reader);
        qads_writer_destroy(writer);
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    char buffer[8];
    CHECK_CODE(qads_reader_read_exact(reader, buffer, 3, 0), QADS_OK);
    CHECK_CODE(qads_reader_read_exact(reader, buffer, 3, 0), QADS_TIMEOUT);
    qads_reader_destroy(reader);
    finish(writer);
}

/* What either side has when the other is gone. */
static void other_side_gone(void) {
    /* A lossless reader that has filled the ring goes: the writer is free. */
    qads_writer* writer = create(4, 64, QADS_SLOW_REFUSE, 0);
    qads_reader* reader = attach(1);
    for (int n = 0; n < 4; n++) CHECK_CODE(qads_writer_write(writer, &n, sizeof n), QADS_OK);
    CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_TIMEOUT);
    qads_reader_destroy(reader);
    for (int n = 0; n < 40; n++) CHECK_CODE(qads_writer_write(writer, &n, sizeof n), QADS_OK);

    /* The writer goes, with its ring: leases hold, the rest is read, then it is closed. */
    reader = attach(0);
    qads_lease* lease = NULL;
    const void* data = NULL;
    size_t size = 0;
    CHECK_CODE(qads_reader_lease(reader, 0, &lease, &data, &size), QADS_OK);
    int first = -1, last = -1;
    memcpy(&first, data, sizeof first);
    finish(writer);
    CHECK(memcmp(data, &first, sizeof first) == 0);
    while (qads_reader_read_exact(reader, &last, sizeof last, UINT64_MAX) == QADS_OK) {
    }
    CHECK(last == 39);
    CHECK_CODE(qads_reader_skip(reader), QADS_CLOSED);
    CHECK_CODE(qads_reader_lease(reader, UINT64_MAX, &lease, &data, &size), QADS_CLOSED);
    qads_reader_stats stats = {.struct_size = sizeof stats};
    CHECK_CODE(qads_reader_get_stats(reader, &stats), QADS_OK);
    CHECK(stats.leases == 1);
    qads_reader_destroy(reader);
    qads_lease_release(lease);

    /* A writer's handle goes without its ring: readers wait, and another goes on. */
    writer = create(4, 64, QADS_SLOW_WAIT, 0);
    reader = attach(0);
    qads_writer_destroy(writer);
    CHECK_CODE(qads_reader_skip(reader), QADS_TIMEOUT);
    writer = create(4, 64, QADS_SLOW_WAIT, 0);
    CHECK_CODE(qads_writer_write(writer, &first, sizeof first), QADS_OK);
    CHECK_CODE(qads_reader_read_exact(reader, &last, sizeof last, UINT64_MAX), QADS_OK);
    qads_reader_destroy(reader);
    finish(writer);
}

int main(void) {
    other_side_gone();
    forked();
    in_place();
    sizes_and_skips();
    lossless();
    overrun_told();
    growing();
    ways_to_wait();
    takeover();
    return 0;
}
