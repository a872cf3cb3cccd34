/* The six calls, as the API reference has them: roles, codes, sizes. */
#include "check.h"

static void bad_names(void) {
    static char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    const char* names[] = {NULL, "", "a/b", ".hidden", "x.ctl", "tab\t", "\xff\xfe", long_name};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK(qads_create_arena(names[i], 4096, 4) == NULL);
        CHECK(strlen(qads_last_error()) > 0);
    }
}

static void one_message(void) {
    void* writer = qads_create_arena(ring_name(), 4096, 4);
    void* reader = qads_create_arena(ring_name(), 0, 0);
    CHECK(writer && reader);
    char buffer[1024];
    size_t size = 77;

    /* Neither has a role yet. */
    CHECK_CODE(qads_write_data(writer, "x", 1), -1);
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), -1);

    CHECK_CODE(qads_create_writer(writer), 0);
    CHECK_CODE(qads_create_writer(writer), -1);
    CHECK_CODE(qads_attach_reader(writer), -1);
    CHECK_CODE(qads_attach_reader(reader), 0);
    CHECK_CODE(qads_attach_reader(reader), -1);
    CHECK_CODE(qads_create_writer(reader), -1);
    CHECK_CODE(qads_read_data(writer, buffer, sizeof buffer, &size, 0), -1);
    CHECK_CODE(qads_write_data(reader, "x", 1), -1);

    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), -2);
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 5), -2);
    CHECK(size == 77);

    CHECK_CODE(qads_write_data(writer, "hello", 5), 0);
    CHECK_CODE(qads_write_data(writer, NULL, 0), 0);
    /* Too small a buffer: the size is told, and nothing is consumed. */
    CHECK_CODE(qads_read_data(reader, buffer, 4, &size, 0), -3);
    CHECK(size == 5);
    CHECK_CODE(qads_read_data(reader, NULL, 0, &size, 0), -3);
    CHECK_CODE(qads_read_data(reader, buffer, 5, &size, 1000), 0);
    CHECK(size == 5 && memcmp(buffer, "hello", 5) == 0);
    CHECK_CODE(qads_read_data(reader, NULL, 0, &size, 1000), 0);
    CHECK(size == 0);

    /* A slot takes its share of the region and no more; what is refused does no harm. */
    char* large = malloc(1025);
    CHECK(large);
    memset(large, 'l', 1025);
    CHECK_CODE(qads_write_data(writer, large, 1025), -3);
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), -2);
    CHECK_CODE(qads_write_data(writer, large, 1024), 0);
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), 0);
    CHECK(size == 1024 && memcmp(buffer, large, 1024) == 0);
    free(large);

    /* Ten messages in four slots: the first are lost, the others come in order. */
    for (char n = 0; n < 10; n++) CHECK_CODE(qads_write_data(writer, &n, 1), 0);
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), 0);
    CHECK(size == 1 && buffer[0] >= 6);
    for (char n = (char)(buffer[0] + 1); n < 10; n++) {
        CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), 0);
        CHECK(size == 1 && buffer[0] == n);
    }
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), -2);

    /* A second writer is refused while this one lives; a reader may come and go. */
    void* other = qads_create_arena(ring_name(), 4096, 4);
    CHECK_CODE(qads_create_writer(other), -1);
    CHECK_CODE(qads_attach_reader(other), 0);
    qads_destroy_arena(other);

    /* The writer's end removes the ring; the reader still has what was in it. */
    CHECK_CODE(qads_write_data(writer, "last", 4), 0);
    qads_destroy_arena(writer);
    CHECK_CODE(qads_unlink(ring_name()), QADS_NOT_FOUND);
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 1000), 0);
    CHECK(size == 4 && memcmp(buffer, "last", 4) == 0);
    CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 1000), -1);
    qads_destroy_arena(reader);
}

static void readers_only_detach(void) {
    void* writer = qads_create_arena(ring_name(), 1 << 20, 3);
    CHECK_CODE(qads_create_writer(writer), 0);
    CHECK_CODE(qads_write_data(writer, "kept", 4), 0);
    for (int n = 0; n < 3; n++) {
        void* reader = qads_create_arena(ring_name(), 1 << 20, 3);
        CHECK_CODE(qads_attach_reader(reader), 0);
        char buffer[8];
        size_t size;
        CHECK_CODE(qads_read_data(reader, buffer, sizeof buffer, &size, 0), 0);
        CHECK(size == 4);
        qads_destroy_arena(reader);
    }
    qads_destroy_arena(writer);
    CHECK_CODE(qads_unlink(ring_name()), QADS_NOT_FOUND);
}

static void impossible_sizes(void) {
    const size_t sizes[][2] = {{0, 4}, {3, 4}, {4096, 0}, {SIZE_MAX, 1}, {SIZE_MAX, SIZE_MAX}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void* arena = qads_create_arena(ring_name(), sizes[i][0], sizes[i][1]);
        CHECK(arena);
        CHECK_CODE(qads_create_writer(arena), -1);
        qads_destroy_arena(arena);
    }
}

int main(void) {
    bad_names();
    one_message();
    readers_only_detach();
    impossible_sizes();
    return 0;
}
