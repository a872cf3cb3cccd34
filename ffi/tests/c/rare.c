/* Arrays that are seldom met: moved and released in parts, with offsets of their own, not aligned; odd metadata. */
#include "batch.h"

static qads_writer* writer;
static qads_reader* reader;

static int put(void) { return qads_write_arrow(writer, &batch.array, &batch.schema); }

/* The one column of integers that comes back. */
static void comes_back(int64_t first, int64_t length) {
    for (uint32_t flags = 0; flags <= QADS_ZERO_COPY; flags++) {
        CHECK_CODE(put(), QADS_OK);
        struct ArrowArray array;
        struct ArrowSchema schema;
        CHECK_CODE(qads_read_arrow(reader, &array, &schema, 0, flags), QADS_OK);
        CHECK(array.length == length && array.children[0]->length == length);
        int64_t value;
        const int64_t* values = (const int64_t*)array.children[0]->buffers[1] + array.children[0]->offset;
        memcpy(&value, values, sizeof value);
        CHECK(value == first);
        array.release(&array);
        schema.release(&schema);
    }
}

/* A part that was moved elsewhere is no longer there: its buffers may be gone. */
static void moved_parts(void) {
    longs(), batch.column.release = NULL;
    CHECK_CODE(put(), QADS_ARROW);
    CHECK(strstr(qads_last_error(), "released"));
    longs(), batch.column_schema.release = NULL;
    CHECK_CODE(put(), QADS_ARROW);
    CHECK(strstr(qads_last_error(), "released"));
    lists(), batch.values.release = NULL;
    CHECK_CODE(put(), QADS_ARROW);
    dictionary(), batch.values.release = NULL;
    CHECK_CODE(put(), QADS_ARROW);
    dictionary(), batch.values_schema.release = NULL;
    CHECK_CODE(put(), QADS_ARROW);
}

/* What was read can be moved: as a whole, and column by column, whose lease then ends with the last. */
static void moving_what_was_read(void) {
    longs();
    CHECK_CODE(put(), QADS_OK);
    struct ArrowArray array, whole, column;
    struct ArrowSchema schema;
    CHECK_CODE(qads_read_arrow(reader, &array, &schema, 0, QADS_ZERO_COPY), QADS_OK);
    schema.release(&schema);
    memcpy(&whole, &array, sizeof array);
    array.release = NULL;
    memcpy(&column, whole.children[0], sizeof column);
    whole.children[0]->release = NULL;
    whole.release(&whole);
    CHECK(whole.release == NULL);
    qads_reader_stats stats = {.struct_size = sizeof stats};
    CHECK_CODE(qads_reader_get_stats(reader, &stats), QADS_OK);
    CHECK(stats.leases == 1 && ((const int64_t*)column.buffers[1])[2] == 30);
    column.release(&column);
    CHECK_CODE(qads_reader_get_stats(reader, &stats), QADS_OK);
    CHECK(stats.leases == 0);
}

static void offsets_of_the_batch(void) {
    longs(), batch.array.offset = 1, batch.array.length = 2;
    comes_back(20, 2);
    longs(), batch.array.offset = 1, batch.array.length = 2, batch.column.offset = 1;
    comes_back(30, 2);
    longs(), batch.array.offset = 2;
    CHECK_CODE(put(), QADS_ARROW);
}

static void not_aligned(void) {
    static char memory[64];
    memcpy(memory + 3, LONGS, sizeof LONGS);
    longs(), batch.column_buffers[1] = memory + 3;
    comes_back(10, 3);
}

static void odd_metadata(void) {
    static const int32_t negative[1] = {-1}, negative_key[2] = {1, -5}, negative_value[4] = {1, 1, 'k', -1};
    static const struct {
        int32_t pairs, key_length;
        char key[4];
        int32_t value_length;
    } good = {1, 4, "name", 0};
    longs(), batch.schema.metadata = (const char*)negative;
    CHECK_CODE(put(), QADS_ARROW);
    longs(), batch.column_schema.metadata = (const char*)negative_key;
    CHECK_CODE(put(), QADS_ARROW);
    longs(), batch.column_schema.metadata = (const char*)negative_value;
    CHECK(put() != QADS_OK);
    longs(), batch.column_schema.metadata = (const char*)&good;
    comes_back(10, 3);
}

int main(void) {
    CHECK_CODE(qads_writer_create(ring_name(), NULL, &writer), QADS_OK);
    CHECK_CODE(qads_reader_attach(ring_name(), NULL, &reader), QADS_OK);
    moved_parts();
    moving_what_was_read();
    offsets_of_the_batch();
    not_aligned();
    odd_metadata();
    /* Nothing that was refused was published, and nothing of ours was released. */
    CHECK_CODE(qads_reader_skip(reader), QADS_TIMEOUT);
    CHECK(released == 0);
    qads_reader_destroy(reader);
    CHECK_CODE(qads_writer_unlink(writer), QADS_OK);
    qads_writer_destroy(writer);
    return 0;
}
