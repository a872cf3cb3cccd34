/* A process that reads the messages of one ring and publishes them in another, through the C interface. The other side
 * is ffi/tests/echo.rs. Each program that includes this says what it does with Arrow data on its way. */
#ifndef ECHO_H
#define ECHO_H

#include "check.h"

/* Publishes what the stream has. Gives NULL, or why the implementation of Arrow that is tested refuses the data. */
static const char* forward(struct ArrowArrayStream* stream, qads_writer* out);

static int echo_bytes(qads_reader* in, qads_writer* out, int lease) {
    static char buffer[1 << 20];
    const void* data = buffer;
    qads_lease* held = NULL;
    size_t size = 0;
    const int code = lease ? qads_reader_lease(in, UINT64_MAX, &held, &data, &size)
                           : qads_reader_read(in, buffer, sizeof buffer, &size, UINT64_MAX);
    if (code != QADS_OK) return code;
    CHECK_CODE(qads_writer_write(out, data, size), QADS_OK);
    qads_lease_release(held);
    return QADS_OK;
}

static int echo_array(qads_reader* in, qads_writer* out, uint32_t flags) {
    struct ArrowArray array;
    struct ArrowSchema schema;
    const int code = qads_read_arrow(in, &array, &schema, UINT64_MAX, flags);
    if (code != QADS_OK) return code;
    CHECK_CODE(qads_write_arrow(out, &array, &schema), QADS_OK);
    array.release(&array);
    schema.release(&schema);
    return QADS_OK;
}

static int echo_stream(qads_reader* in, qads_writer* out, uint32_t flags) {
    struct ArrowArrayStream stream;
    const int code = qads_read_arrow_stream(in, &stream, UINT64_MAX, flags);
    if (code != QADS_OK) return code;
    const char* refused = forward(&stream, out);
    if (refused) CHECK_CODE(qads_writer_write(out, refused, strlen(refused)), QADS_OK);
    if (stream.release) stream.release(&stream);
    return QADS_OK;
}

static int echo(qads_reader* in, qads_writer* out, const char* mode) {
    if (strcmp(mode, "bytes") == 0) return echo_bytes(in, out, 0);
    if (strcmp(mode, "lease") == 0) return echo_bytes(in, out, 1);
    if (strcmp(mode, "array") == 0) return echo_array(in, out, 0);
    if (strcmp(mode, "array-in-place") == 0) return echo_array(in, out, QADS_ZERO_COPY);
    if (strcmp(mode, "stream") == 0) return echo_stream(in, out, 0);
    CHECK(strcmp(mode, "stream-in-place") == 0);
    return echo_stream(in, out, QADS_ZERO_COPY);
}

int main(int argc, char** argv) {
    CHECK(argc == 4);
    qads_reader* in = NULL;
    qads_writer* out = NULL;
    CHECK_CODE(qads_reader_attach(argv[1], NULL, &in), QADS_OK);
    CHECK_CODE(qads_writer_create(argv[2], NULL, &out), QADS_OK);
    for (;;) {
        const int code = echo(in, out, argv[3]);
        if (code == QADS_CLOSED) break;
        if (code == QADS_ARROW) {
            const char* why = qads_last_error();
            CHECK_CODE(qads_writer_write(out, why, strlen(why)), QADS_OK);
            continue;
        }
        CHECK_CODE(code, QADS_OK);
    }
    CHECK_CODE(qads_writer_unlink(out), QADS_OK);
    qads_writer_destroy(out);
    qads_reader_destroy(in);
    return 0;
}

#endif
