/* Echoes record batches through nanoarrow: each is validated in full as a view before it is published. */
#include <nanoarrow/nanoarrow.h>

#include "echo.h"

static struct ArrowError error;

/* Publishes one array if nanoarrow finds it sound. */
static const char* forward_array(struct ArrowArray* array, struct ArrowSchema* schema, qads_writer* out) {
    struct ArrowArrayView view;
    int code = ArrowArrayViewInitFromSchema(&view, schema, &error);
    if (code == NANOARROW_OK) {
        code = ArrowArrayViewSetArray(&view, array, &error);
        if (code == NANOARROW_OK) code = ArrowArrayViewValidate(&view, NANOARROW_VALIDATION_LEVEL_FULL, &error);
        ArrowArrayViewReset(&view);
    }
    if (code != NANOARROW_OK) return error.message;
    CHECK_CODE(qads_write_arrow(out, array, schema), QADS_OK);
    return NULL;
}

static const char* forward(struct ArrowArrayStream* stream, qads_writer* out) {
    struct ArrowSchema schema;
    struct ArrowArray array;
    CHECK(ArrowArrayStreamGetSchema(stream, &schema, &error) == NANOARROW_OK);
    CHECK(ArrowArrayStreamGetNext(stream, &array, &error) == NANOARROW_OK);
    const char* refused = "no batch";
    if (array.release) {
        refused = forward_array(&array, &schema, out);
        ArrowArrayRelease(&array);
    }
    ArrowSchemaRelease(&schema);
    return refused;
}
