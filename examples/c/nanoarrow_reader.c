/* nanoarrow builds a batch, the ring carries it, and nanoarrow reads it in place. */
#include <nanoarrow/nanoarrow.h>
#include <qadataswap.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void check(int good, const char* what) {
    if (good) return;
    fprintf(stderr, "%s: %s\n", what, qads_last_error());
    exit(1);
}

/* One column of prices, every tenth of them missing. */
static void make_batch(struct ArrowArray* array, struct ArrowSchema* schema) {
    ArrowSchemaInit(schema);
    check(ArrowSchemaSetTypeStruct(schema, 1) == NANOARROW_OK, "schema");
    check(ArrowSchemaSetType(schema->children[0], NANOARROW_TYPE_DOUBLE) == NANOARROW_OK, "type");
    check(ArrowSchemaSetName(schema->children[0], "price") == NANOARROW_OK, "name");
    check(ArrowArrayInitFromSchema(array, schema, NULL) == NANOARROW_OK, "array");
    check(ArrowArrayStartAppending(array) == NANOARROW_OK, "array");
    for (int n = 0; n < 100; n++) {
        struct ArrowArray* price = array->children[0];
        const int code = n % 10 == 9 ? ArrowArrayAppendNull(price, 1) : ArrowArrayAppendDouble(price, n * 0.25);
        check(code == NANOARROW_OK && ArrowArrayFinishElement(array) == NANOARROW_OK, "append");
    }
    check(ArrowArrayFinishBuildingDefault(array, NULL) == NANOARROW_OK, "finish");
}

int main(void) {
    char name[64];
    snprintf(name, sizeof name, "nanoarrow-%ld", (long)getpid());
    qads_writer* writer = NULL;
    qads_reader* reader = NULL;
    check(qads_writer_create(name, NULL, &writer) == QADS_OK, "writer");
    check(qads_reader_attach(name, NULL, &reader) == QADS_OK, "reader");

    struct ArrowArray array;
    struct ArrowSchema schema;
    make_batch(&array, &schema);
    check(qads_write_arrow(writer, &array, &schema) == QADS_OK, "write");
    ArrowArrayRelease(&array);
    ArrowSchemaRelease(&schema);

    check(qads_read_arrow(reader, &array, &schema, 1000, QADS_ZERO_COPY) == QADS_OK, "read");
    struct ArrowArrayView view;
    check(ArrowArrayViewInitFromSchema(&view, &schema, NULL) == NANOARROW_OK, "view");
    check(ArrowArrayViewSetArray(&view, &array, NULL) == NANOARROW_OK, "view");
    double sum = 0;
    for (int64_t n = 0; n < array.length; n++) {
        if (!ArrowArrayViewIsNull(view.children[0], n)) sum += ArrowArrayViewGetDoubleUnsafe(view.children[0], n);
    }
    printf("%lld rows in place, sum %.2f\n", (long long)array.length, sum);
    check(array.length == 100 && sum > 1102.4 && sum < 1102.6, "sum");
    ArrowArrayViewReset(&view);
    ArrowArrayRelease(&array);
    ArrowSchemaRelease(&schema);

    check(qads_writer_unlink(writer) == QADS_OK, "unlink");
    qads_writer_destroy(writer);
    qads_reader_destroy(reader);
    return 0;
}
