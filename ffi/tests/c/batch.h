/* Batches made by hand, to be spoilt. */
#ifndef BATCH_H
#define BATCH_H

#include "check.h"

/* What releasing has been asked for. */
static int released;
static void release_array(struct ArrowArray* array) {
    released++;
    array->release = NULL;
}
static void release_schema(struct ArrowSchema* schema) { schema->release = NULL; }

/* A batch of one column, of 3 rows unless a test changes it: its parts, to be spoilt. */
static struct batch {
    struct ArrowSchema schema, column_schema, values_schema, *schemas[2], *value_schemas[2];
    struct ArrowArray array, column, values, *arrays[2], *value_arrays[2];
    const void *buffers[1], *column_buffers[5], *values_buffers[3];
} batch;

static const uint8_t VALID = 0x05;
static const int64_t LONGS[4] = {10, 20, 30, 40};
static const int32_t OFFSETS[4] = {0, 1, 3, 6};
static const char TEXT[] = "abbccc";

static void make(const char* format, int64_t n_buffers) {
    memset(&batch, 0, sizeof batch);
    batch.schema.format = "+s";
    batch.schema.n_children = 1;
    batch.schema.children = batch.schemas;
    batch.schema.release = release_schema;
    batch.schemas[0] = &batch.column_schema;
    batch.column_schema.format = format;
    batch.column_schema.name = "c";
    batch.column_schema.flags = ARROW_FLAG_NULLABLE;
    batch.column_schema.children = batch.value_schemas;
    batch.column_schema.release = release_schema;
    batch.value_schemas[0] = &batch.values_schema;
    batch.values_schema.format = "l";
    batch.values_schema.name = "item";
    batch.values_schema.flags = ARROW_FLAG_NULLABLE;
    batch.values_schema.release = release_schema;

    batch.array.length = 3;
    batch.array.n_buffers = 1;
    batch.array.buffers = batch.buffers;
    batch.array.n_children = 1;
    batch.array.children = batch.arrays;
    batch.array.release = release_array;
    batch.arrays[0] = &batch.column;
    batch.column.length = 3;
    batch.column.n_buffers = n_buffers;
    batch.column.buffers = batch.column_buffers;
    batch.column.children = batch.value_arrays;
    batch.column.release = release_array;
    batch.value_arrays[0] = &batch.values;
    batch.values.length = 4;
    batch.values.n_buffers = 2;
    batch.values.buffers = batch.values_buffers;
    batch.values.release = release_array;
    batch.values_buffers[1] = LONGS;
}

static inline void longs(void) {
    make("l", 2);
    batch.column_buffers[1] = LONGS;
}

static inline void strings(void) {
    make("u", 3);
    batch.column_buffers[1] = OFFSETS;
    batch.column_buffers[2] = TEXT;
}

static inline void lists(void) {
    make("+l", 2);
    static const int32_t offsets[4] = {0, 1, 1, 4};
    batch.column_buffers[1] = offsets;
    batch.column.n_children = 1;
    batch.column_schema.n_children = 1;
}

static inline void views(void) {
    make("vu", 3);
    static const struct {
        int32_t length;
        char inlined[12];
    } strings[3] = {{1, "a"}, {0, ""}, {12, {'t', 'w', 'e', 'l', 'v', 'e', ' ', 'b', 'y', 't', 'e', 's'}}};
    batch.column_buffers[1] = strings;
}

static inline void dictionary(void) {
    make("c", 2);
    static const int8_t keys[3] = {3, 0, 3};
    batch.column_buffers[1] = keys;
    batch.column_schema.dictionary = &batch.values_schema;
    batch.column.dictionary = &batch.values;
}

static inline void dense_union(void) {
    make("+ud:3", 2);
    static const int8_t ids[3] = {3, 3, 3};
    static const int32_t offsets[3] = {2, 0, 3};
    batch.column_buffers[0] = ids;
    batch.column_buffers[1] = offsets;
    batch.column.n_children = 1;
    batch.column_schema.n_children = 1;
}

/* The values are their own run ends. */
static inline void runs(void) {
    make("+r", 0);
    batch.values_schema.flags = 0;
    batch.value_schemas[1] = &batch.values_schema;
    batch.value_arrays[1] = &batch.values;
    batch.column.n_children = 2;
    batch.column_schema.n_children = 2;
}

#endif
