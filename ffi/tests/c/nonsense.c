/* Every function with handles and pointers that are none: an error, and nothing happens. The Makefile checks that no
 * function of the header is missing here. */
#include "check.h"

static char buffer[64];
static size_t size;
static uint64_t number;
static const void* data;
static void* slot;
static qads_lease* lease;
static struct ArrowArray array;
static struct ArrowSchema schema;
static struct ArrowArrayStream stream;
static qads_writer_stats writer_stats = {.struct_size = sizeof writer_stats};
static qads_reader_stats reader_stats = {.struct_size = sizeof reader_stats};

/* Every call that takes a handle, with all else as it should be. */
static int create_writer(void* h) { return qads_create_writer(h); }
static int attach_reader(void* h) { return qads_attach_reader(h); }
static int write_data(void* h) { return qads_write_data(h, "x", 1); }
static int read_data(void* h) { return qads_read_data(h, buffer, sizeof buffer, &size, 0); }
static int writer_write(void* h) { return qads_writer_write(h, "x", 1); }
static int writer_write_ipc(void* h) { return qads_writer_write_ipc(h, "x", 1); }
static int writer_reserve(void* h) { return qads_writer_reserve(h, 1, &slot); }
static int writer_publish(void* h) { return qads_writer_publish(h, 1); }
static int writer_abandon(void* h) { return qads_writer_abandon(h); }
static int writer_get_stats(void* h) { return qads_writer_get_stats(h, &writer_stats); }
static int writer_close(void* h) { return qads_writer_close(h); }
static int writer_unlink(void* h) { return qads_writer_unlink(h); }
static int write_arrow(void* h) { return qads_write_arrow(h, &array, &schema); }
static int write_arrow_stream(void* h) { return qads_write_arrow_stream(h, &stream); }
static int reader_read(void* h) { return qads_reader_read(h, buffer, sizeof buffer, &size, 0); }
static int reader_read_exact(void* h) { return qads_reader_read_exact(h, buffer, 1, 0); }
static int reader_skip(void* h) { return qads_reader_skip(h); }
static int reader_lease(void* h) { return qads_reader_lease(h, 0, &lease, &data, &size); }
static int reader_rejoin(void* h) { return qads_reader_rejoin(h, &number); }
static int reader_get_stats(void* h) { return qads_reader_get_stats(h, &reader_stats); }
static int read_arrow(void* h) { return qads_read_arrow(h, &array, &schema, 0, 0); }
static int read_arrow_stream(void* h) { return qads_read_arrow_stream(h, &stream, 0, QADS_ZERO_COPY); }
static int lease_position(void* h) { return qads_lease_position(h, &number); }
static int destroy_arena(void* h) { return qads_destroy_arena(h), 0; }
static int writer_destroy(void* h) { return qads_writer_destroy(h), 0; }
static int reader_destroy(void* h) { return qads_reader_destroy(h), 0; }
static int lease_release(void* h) { return qads_lease_release(h), 0; }

enum kind { ARENA, WRITER, READER, LEASE, KINDS };

static const struct {
    enum kind kind;
    int expected;
    int (*call)(void*);
} CALLS[] = {
    {ARENA, QADS_ERROR, create_writer},     {ARENA, QADS_ERROR, attach_reader},
    {ARENA, QADS_ERROR, write_data},        {ARENA, QADS_ERROR, read_data},
    {WRITER, QADS_INVALID, writer_write},   {WRITER, QADS_INVALID, writer_write_ipc},
    {WRITER, QADS_INVALID, writer_reserve}, {WRITER, QADS_INVALID, writer_publish},
    {WRITER, QADS_INVALID, writer_abandon}, {WRITER, QADS_INVALID, writer_get_stats},
    {WRITER, QADS_INVALID, writer_close},   {WRITER, QADS_INVALID, writer_unlink},
    {WRITER, QADS_INVALID, write_arrow},    {WRITER, QADS_INVALID, write_arrow_stream},
    {READER, QADS_INVALID, reader_read},    {READER, QADS_INVALID, reader_read_exact},
    {READER, QADS_INVALID, reader_skip},    {READER, QADS_INVALID, reader_lease},
    {READER, QADS_INVALID, reader_rejoin},  {READER, QADS_INVALID, reader_get_stats},
    {READER, QADS_INVALID, read_arrow},     {READER, QADS_INVALID, read_arrow_stream},
    {LEASE, QADS_INVALID, lease_position},  {ARENA, 0, destroy_arena},
    {WRITER, 0, writer_destroy},            {READER, 0, reader_destroy},
    {LEASE, 0, lease_release},
};

static void each(enum kind kind, void* handle) {
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        if (CALLS[i].kind == kind) CHECK_CODE(CALLS[i].call(handle), CALLS[i].expected);
    }
}

static void make(void* handles[KINDS]) {
    qads_writer* writer = NULL;
    qads_reader* reader = NULL;
    CHECK_CODE(qads_writer_create(ring_name(), NULL, &writer), QADS_OK);
    CHECK_CODE(qads_reader_attach(ring_name(), NULL, &reader), QADS_OK);
    CHECK_CODE(qads_writer_write(writer, "x", 1), QADS_OK);
    CHECK_CODE(qads_reader_lease(reader, 0, &lease, &data, &size), QADS_OK);
    handles[ARENA] = qads_create_arena(ring_name(), 4096, 4);
    handles[WRITER] = writer;
    handles[READER] = reader;
    handles[LEASE] = lease;
}

static void destroy(void* handles[KINDS]) {
    CHECK_CODE(qads_writer_unlink(handles[WRITER]), QADS_OK);
    qads_lease_release(handles[LEASE]);
    qads_destroy_arena(handles[ARENA]);
    qads_reader_destroy(handles[READER]);
    qads_writer_destroy(handles[WRITER]);
}

/* Outputs and inputs that are NULL, with handles that are good. */
static void null_arguments(void* h[KINDS]) {
    CHECK_CODE(qads_writer_create(NULL, NULL, (qads_writer**)&slot), QADS_INVALID);
    CHECK_CODE(qads_writer_create(ring_name(), NULL, NULL), QADS_INVALID);
    CHECK_CODE(qads_reader_attach(NULL, NULL, (qads_reader**)&slot), QADS_INVALID);
    CHECK_CODE(qads_reader_attach(ring_name(), NULL, NULL), QADS_INVALID);
    CHECK_CODE(qads_writer_options_init(NULL, sizeof(qads_writer_options)), QADS_INVALID);
    CHECK_CODE(qads_reader_options_init(NULL, sizeof(qads_reader_options)), QADS_INVALID);
    qads_writer_options writing;
    qads_reader_options reading;
    CHECK_CODE(qads_writer_options_init(&writing, 0), QADS_INVALID);
    CHECK_CODE(qads_reader_options_init(&reading, 1), QADS_INVALID);
    CHECK(qads_create_arena(NULL, 4096, 4) == NULL);
    CHECK_CODE(qads_unlink(NULL), QADS_INVALID);
    CHECK_CODE(qads_unlink("a/b"), QADS_INVALID);

    qads_writer* writer = h[WRITER];
    CHECK_CODE(qads_writer_write(writer, NULL, 1), QADS_INVALID);
    CHECK_CODE(qads_writer_write(writer, "x", SIZE_MAX), QADS_INVALID);
    CHECK_CODE(qads_writer_write_ipc(writer, NULL, 1), QADS_INVALID);
    CHECK_CODE(qads_writer_reserve(writer, 1, NULL), QADS_INVALID);
    CHECK_CODE(qads_writer_reserve(writer, SIZE_MAX, &slot), QADS_MEMORY);
    CHECK_CODE(qads_writer_get_stats(writer, NULL), QADS_INVALID);
    CHECK_CODE(qads_write_arrow(writer, NULL, &schema), QADS_INVALID);
    CHECK_CODE(qads_write_arrow(writer, &array, NULL), QADS_INVALID);
    CHECK_CODE(qads_write_arrow(writer, &array, &schema), QADS_INVALID);
    CHECK_CODE(qads_write_arrow_stream(writer, NULL), QADS_INVALID);
    CHECK_CODE(qads_write_arrow_stream(writer, &stream), QADS_INVALID);

    qads_reader* reader = h[READER];
    CHECK_CODE(qads_reader_read(reader, NULL, 1, &size, 0), QADS_INVALID);
    CHECK_CODE(qads_reader_read(reader, buffer, SIZE_MAX, &size, 0), QADS_INVALID);
    CHECK_CODE(qads_reader_read(reader, buffer, sizeof buffer, NULL, 0), QADS_INVALID);
    CHECK_CODE(qads_reader_read_exact(reader, NULL, 1, 0), QADS_INVALID);
    CHECK_CODE(qads_reader_lease(reader, 0, NULL, &data, &size), QADS_INVALID);
    CHECK_CODE(qads_reader_lease(reader, 0, &lease, NULL, &size), QADS_INVALID);
    CHECK_CODE(qads_reader_lease(reader, 0, &lease, &data, NULL), QADS_INVALID);
    CHECK_CODE(qads_reader_get_stats(reader, NULL), QADS_INVALID);
    CHECK_CODE(qads_read_arrow(reader, NULL, &schema, 0, 0), QADS_INVALID);
    CHECK_CODE(qads_read_arrow(reader, &array, NULL, 0, 0), QADS_INVALID);
    CHECK_CODE(qads_read_arrow(reader, &array, &schema, 0, 2), QADS_INVALID);
    CHECK_CODE(qads_read_arrow_stream(reader, NULL, 0, 0), QADS_INVALID);
    CHECK_CODE(qads_read_arrow_stream(reader, &stream, 0, UINT32_MAX), QADS_INVALID);
    CHECK_CODE(qads_lease_position(h[LEASE], NULL), QADS_INVALID);

    /* What was refused did nothing: one message is there, and it is leased. */
    CHECK_CODE(qads_reader_get_stats(reader, &reader_stats), QADS_OK);
    CHECK(reader_stats.consumed == 1 && reader_stats.leases == 1 && reader_stats.lag == 0);
}

int main(void) {
    CHECK(qads_abi_version() == QADS_ABI_VERSION);
    CHECK(qads_last_error() && *qads_last_error() == '\0');

    /* Zeros, and a pointer into the middle of something. */
    _Alignas(16) static char nothing[128];
    void* live[KINDS];
    make(live);
    for (enum kind kind = ARENA; kind < KINDS; kind++) {
        each(kind, NULL);
        CHECK(strlen(qads_last_error()) > 0);
        each(kind, nothing);
        each(kind, nothing + 3);
        for (enum kind other = ARENA; other < KINDS; other++) {
            if (other != kind) each(kind, live[other]);
        }
    }
    null_arguments(live);
    destroy(live);
    /* Destroyed handles, also after many others. */
    for (int n = 0; n < 100; n++) qads_destroy_arena(qads_create_arena(ring_name(), 4096, 4));
    for (enum kind kind = ARENA; kind < KINDS; kind++) each(kind, live[kind]);
    return 0;
}
