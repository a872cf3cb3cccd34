/* Echoes bytes and Arrow data as they are. */
#include "echo.h"

static const char* forward(struct ArrowArrayStream* stream, qads_writer* out) {
    CHECK_CODE(qads_write_arrow_stream(out, stream), QADS_OK);
    return NULL;
}
