/* Arrays made by hand: good ones come back as they were, in copies and in place; bad ones are refused. */
#include "batch.h"

static qads_writer* writer;
static qads_reader* reader;

static int put(void) { return qads_write_arrow(writer, &batch.array, &batch.schema); }

/* Publishes the batch and compares what comes back, in copies and in place, as an array and as a stream. */
static void round_trip(void) {
    for (uint32_t flags = 0; flags <= QADS_ZERO_COPY; flags++) {
        CHECK_CODE(put(), QADS_OK);
        CHECK(batch.array.release && batch.column.release && released == 0);
        struct ArrowArray array;
        struct ArrowSchema schema;
        CHECK_CODE(qads_read_arrow(reader, &array, &schema, 1000, flags), QADS_OK);
        CHECK(strcmp(schema.format, "+s") == 0 && schema.n_children == 1);
        CHECK(strcmp(schema.children[0]->format, batch.column_schema.format) == 0);
        CHECK(strcmp(schema.children[0]->name, "c") == 0);
        CHECK(array.length == batch.array.length && array.null_count == 0 && array.n_children == 1);
        const struct ArrowArray* column = array.children[0];
        const int64_t nulls = batch.column.null_count < 0 ? 1 : batch.column.null_count;
        CHECK(column->length == batch.array.length && column->null_count == nulls);
        if (strcmp(schema.children[0]->format, "l") == 0 && array.length > 0) {
            const int64_t* values = (const int64_t*)column->buffers[1] + column->offset;
            CHECK(values[0] == 10 + 10 * batch.column.offset && (uintptr_t)values % 8 == 0);
            /* In place, the writer goes round it. */
            for (int n = 0; n < 20; n++) CHECK_CODE(qads_writer_write(writer, &n, sizeof n), QADS_OK);
            CHECK(values[0] == 10 + 10 * batch.column.offset);
            qads_reader_stats stats = {.struct_size = sizeof stats};
            CHECK_CODE(qads_reader_get_stats(reader, &stats), QADS_OK);
            CHECK(stats.leases == flags);
            while (qads_reader_skip(reader) == QADS_OK) {
            }
        }
        /* What was read can be published as it is. */
        CHECK_CODE(qads_write_arrow(writer, &array, &schema), QADS_OK);
        array.release(&array);
        schema.release(&schema);
        CHECK(array.release == NULL && schema.release == NULL);
        qads_reader_stats stats = {.struct_size = sizeof stats};
        CHECK_CODE(qads_reader_get_stats(reader, &stats), QADS_OK);
        CHECK(stats.leases == 0);

        struct ArrowArrayStream stream;
        CHECK_CODE(qads_read_arrow_stream(reader, &stream, 1000, flags), QADS_OK);
        CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_OK);
        CHECK(stream.release);
        CHECK(stream.get_next(&stream, &array) == 0 && array.release == NULL);
        stream.release(&stream);
        CHECK_CODE(qads_read_arrow_stream(reader, &stream, 1000, flags), QADS_OK);
        CHECK(stream.get_schema(&stream, &schema) == 0);
        schema.release(&schema);
        CHECK(stream.get_next(&stream, &array) == 0 && array.length == batch.array.length);
        /* An array outlives its stream. */
        stream.release(&stream);
        CHECK(array.children[0]->length == batch.array.length);
        array.release(&array);
    }
}

static void good(void) {
    longs(), round_trip();
    longs(), batch.column.null_count = 1, batch.column_buffers[0] = &VALID, round_trip();
    longs(), batch.column.null_count = -1, batch.column_buffers[0] = &VALID, round_trip();
    longs(), batch.column.offset = 1, round_trip();
    longs(), batch.array.length = 2, round_trip();
    strings(), round_trip();
    lists(), round_trip();
    views(), round_trip();
    dictionary(), round_trip();
    dense_union(), round_trip();
    runs(), round_trip();
    /* No rows, and no buffers for them. */
    longs(), batch.array.length = batch.column.length = 0, batch.column_buffers[1] = NULL, round_trip();
    strings(), batch.array.length = batch.column.length = 0;
    batch.column_buffers[1] = batch.column_buffers[2] = NULL, round_trip();
    lists(), batch.array.length = batch.column.length = 0, batch.column_buffers[1] = NULL, round_trip();
    /* Rows without columns. */
    longs(), batch.array.n_children = batch.schema.n_children = 0;
    CHECK_CODE(put(), QADS_OK);
    CHECK_CODE(qads_reader_skip(reader), QADS_OK);
}

#define REFUSED(make, spoil)              \
    do {                                  \
        make();                           \
        (void)(spoil);                    \
        CHECK_CODE(put(), QADS_ARROW);    \
    } while (0)

static void bad(void) {
    static const int32_t negative[4] = {0, 1, 3, -6}, backwards[4] = {0, 3, 1, 6}, far[4] = {0, 1, 1 << 30, 1 << 30};
    static const uint8_t not_utf8[] = {'a', 0xff, 0xfe, 'c', 'c', 'c'};
    static const int8_t far_key[3] = {0, 4, 0}, negative_key[3] = {0, -1, 0};
    static struct {
        int32_t length;
        char prefix[4];
        int32_t buffer, offset;
    } far_view[3] = {{100, "", 7, 0}};
    static const int64_t lengths[1] = {-1}, falling[4] = {10, 5, 20, 30}, negative_ends[4] = {-1, 5, 20, 30},
                         short_ends[1] = {2};
    static const int32_t negative_offsets[3] = {0, -1, 0};

    /* Lengths. */
    REFUSED(longs, batch.array.length = -1);
    REFUSED(longs, batch.column.length = -1);
    REFUSED(longs, batch.column.length = INT64_MIN);
    REFUSED(longs, batch.column.length = 2);
    REFUSED(longs, batch.column.length = INT64_MAX);
    REFUSED(longs, (batch.array.length = batch.column.length = INT64_MAX));
    REFUSED(longs, batch.column.offset = -1);
    REFUSED(longs, batch.column.offset = INT64_MAX);
    REFUSED(strings, (batch.array.length = batch.column.length = INT64_MAX));
    REFUSED(longs, batch.column.null_count = -2);
    REFUSED(longs, batch.column.null_count = 4);
    REFUSED(longs, batch.column.null_count = 1);
    REFUSED(longs, (batch.column.null_count = 2, batch.column_buffers[0] = &VALID));
    REFUSED(longs, (batch.array.null_count = 1, batch.buffers[0] = &VALID));
    /* Buffers. */
    REFUSED(longs, batch.column.n_buffers = -1);
    REFUSED(longs, batch.column.n_buffers = 0);
    REFUSED(longs, batch.column.n_buffers = 1);
    REFUSED(longs, batch.column.n_buffers = 3);
    REFUSED(longs, batch.column.n_buffers = INT64_MAX);
    REFUSED(longs, batch.column.buffers = NULL);
    REFUSED(longs, batch.column_buffers[1] = NULL);
    REFUSED(strings, batch.column_buffers[1] = NULL);
    REFUSED(strings, batch.column_buffers[2] = NULL);
    REFUSED(strings, batch.column_buffers[1] = (const char*)OFFSETS + 1);
    REFUSED(views, batch.column.n_buffers = 2);
    REFUSED(views, batch.column.n_buffers = 4);
    REFUSED(views, (batch.column.n_buffers = 4, batch.column_buffers[3] = lengths));
    /* Contents. */
    REFUSED(strings, batch.column_buffers[1] = negative);
    REFUSED(strings, batch.column_buffers[1] = backwards);
    REFUSED(strings, batch.column_buffers[2] = not_utf8);
    REFUSED(lists, batch.column_buffers[1] = backwards);
    REFUSED(lists, batch.column_buffers[1] = far);
    REFUSED(lists, batch.column_buffers[1] = negative);
    REFUSED(dictionary, batch.column_buffers[1] = far_key);
    REFUSED(dictionary, batch.column_buffers[1] = negative_key);
    REFUSED(views, batch.column_buffers[1] = far_view);
    REFUSED(dense_union, batch.column_buffers[0] = far_key);
    REFUSED(dense_union, batch.column_buffers[0] = negative_key);
    REFUSED(dense_union, batch.column_buffers[1] = negative_offsets);
    REFUSED(dense_union, batch.column_buffers[1] = far);
    REFUSED(dense_union, batch.column_buffers[1] = NULL);
    REFUSED(dense_union, batch.column.n_buffers = 1);
    REFUSED(runs, batch.values_buffers[1] = falling);
    REFUSED(runs, batch.values_buffers[1] = negative_ends);
    REFUSED(runs, (batch.values.length = 1, batch.values_buffers[1] = short_ends));
    REFUSED(runs, batch.values.length = 0);
    REFUSED(runs, batch.values_schema.format = "g");
    REFUSED(runs, batch.column.n_children = 1);
    REFUSED(runs, (batch.values.null_count = 1, batch.values_buffers[0] = &VALID));
    REFUSED(longs, (batch.column_schema.flags = 0, batch.column.null_count = 1, batch.column_buffers[0] = &VALID));
    /* Children and dictionaries. */
    REFUSED(longs, batch.array.n_children = -1);
    REFUSED(longs, batch.array.n_children = 0);
    REFUSED(longs, batch.array.n_children = 2);
    REFUSED(longs, batch.array.children = NULL);
    REFUSED(longs, batch.arrays[0] = NULL);
    REFUSED(lists, batch.column.n_children = 0);
    REFUSED(lists, batch.value_arrays[0] = NULL);
    REFUSED(dictionary, batch.column.dictionary = NULL);
    REFUSED(longs, batch.column.dictionary = &batch.values);
    /* Schemas. */
    REFUSED(longs, batch.schema.format = "l");
    REFUSED(longs, batch.schema.format = NULL);
    REFUSED(longs, batch.column_schema.format = "");
    REFUSED(longs, batch.column_schema.format = "no such type");
    REFUSED(longs, batch.column_schema.format = "\xff");
    REFUSED(longs, batch.column_schema.name = "\xff");
    REFUSED(longs, batch.column_schema.format = "w:-1");
    REFUSED(longs, batch.column_schema.format = "w:99999999999");
    REFUSED(longs, batch.column_schema.format = "d:99,300");
    REFUSED(longs, batch.column_schema.format = "d:0,0");
    REFUSED(longs, batch.column_schema.format = "+l");
    REFUSED(longs, batch.column_schema.format = "+ud:0,1");
    REFUSED(longs, batch.column_schema.format = "+us:");
    REFUSED(longs, batch.schema.n_children = -1);
    REFUSED(longs, batch.schema.n_children = INT64_MAX);
    REFUSED(longs, batch.schema.children = NULL);
    REFUSED(longs, batch.schemas[0] = NULL);
    REFUSED(lists, (batch.column_schema.format = "+w:-3", batch.column.n_buffers = 1));
    REFUSED(lists, (batch.column_schema.format = "+w:2147483647", batch.column.n_buffers = 1));
    REFUSED(lists, batch.column_schema.format = "+r");
    REFUSED(lists, batch.column_schema.format = "+m");
    /* A schema that contains itself. */
    REFUSED(lists, batch.value_schemas[0] = &batch.column_schema);
    REFUSED(longs, (batch.schemas[1] = batch.schemas[0] = &batch.schema, batch.schema.n_children = 2));
    CHECK(released == 0);
    longs(), batch.array.release = NULL;
    CHECK_CODE(put(), QADS_INVALID);
    longs(), batch.schema.release = NULL;
    CHECK_CODE(put(), QADS_INVALID);
    /* Nothing of all that was published. */
    CHECK_CODE(qads_reader_skip(reader), QADS_TIMEOUT);
}

/* Streams that fail, or are none. */
static int fails(struct ArrowArrayStream* stream, struct ArrowArray* out) { return (void)stream, (void)out, 5; }
static int no_schema(struct ArrowArrayStream* stream, struct ArrowSchema* out) {
    return (void)stream, (void)out, 22;
}
static int good_schema(struct ArrowArrayStream* stream, struct ArrowSchema* out) {
    (void)stream;
    *out = batch.schema;
    return 0;
}
/* One array, then the end. */
static int one(struct ArrowArrayStream* stream, struct ArrowArray* out) {
    memset(out, 0, sizeof *out);
    if (stream->private_data) *out = batch.array;
    stream->private_data = NULL;
    return 0;
}
static const char* why(struct ArrowArrayStream* stream) { return (void)stream, "out of stock"; }
static void release_stream(struct ArrowArrayStream* stream) { stream->release = NULL; }

static void streams(void) {
    longs();
    struct ArrowArrayStream stream = {good_schema, one, why, release_stream, &batch};
    CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_OK);
    CHECK(released == 1 && stream.release);
    CHECK_CODE(qads_reader_skip(reader), QADS_OK);
    /* What the stream gave is released, also if it is bad. */
    stream.private_data = &batch, batch.column.length = -1;
    CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_ARROW);
    CHECK(released == 2);
    stream.get_next = fails;
    CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_ARROW);
    CHECK(strstr(qads_last_error(), "out of stock"));
    stream.get_schema = no_schema;
    CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_ARROW);
    CHECK(strstr(qads_last_error(), "22"));
    stream.get_last_error = NULL;
    CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_ARROW);
    stream.get_schema = NULL;
    CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_INVALID);
    released = 0;
}

/* Messages that are no Arrow, or not one batch. */
static void other_messages(void) {
    struct ArrowArray array;
    struct ArrowSchema schema;
    CHECK_CODE(qads_writer_write(writer, "not Arrow", 9), QADS_OK);
    CHECK_CODE(qads_read_arrow(reader, &array, &schema, 0, 0), QADS_ARROW);
    CHECK_CODE(qads_writer_write_ipc(writer, "nor this", 8), QADS_OK);
    CHECK_CODE(qads_read_arrow(reader, &array, &schema, 0, QADS_ZERO_COPY), QADS_ARROW);
    CHECK_CODE(qads_read_arrow(reader, &array, &schema, 0, 0), QADS_TIMEOUT);
    CHECK_CODE(qads_read_arrow(reader, &array, &schema, 3, QADS_ZERO_COPY), QADS_TIMEOUT);
}

int main(void) {
    qads_writer_options options;
    CHECK_CODE(qads_writer_options_init(&options, sizeof options), QADS_OK);
    options.slot_count = 8;
    options.slot_capacity = 1 << 16;
    CHECK_CODE(qads_writer_create(ring_name(), &options, &writer), QADS_OK);
    CHECK_CODE(qads_reader_attach(ring_name(), NULL, &reader), QADS_OK);
    good();
    bad();
    streams();
    other_messages();
    qads_reader_destroy(reader);
    CHECK_CODE(qads_writer_unlink(writer), QADS_OK);
    qads_writer_destroy(writer);
    return 0;
}
