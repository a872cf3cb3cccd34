/* Publishes text messages: writer NAME COUNT. Then waits for Enter, and removes the ring.
 *
 *     cc writer.c $(pkg-config --cflags --libs qadataswap) -o writer
 */
#include <qadataswap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int code, const char* what) {
    if (code == QADS_OK) return;
    fprintf(stderr, "%s: %s\n", what, qads_last_error());
    exit(1);
}

int main(int argc, char** argv) {
    if (argc != 3) return fprintf(stderr, "usage: %s NAME COUNT\n", argv[0]), 2;
    /* 16 slots in a region of 64 KiB: messages of up to 4 KiB. */
    void* arena = qads_create_arena(argv[1], 64 << 10, 16);
    check(arena ? QADS_OK : QADS_ERROR, argv[1]);
    check(qads_create_writer(arena), "qads_create_writer");
    for (int n = 0; n < atoi(argv[2]); n++) {
        char text[64];
        snprintf(text, sizeof text, "message %d", n);
        check(qads_write_data(arena, text, strlen(text)), "qads_write_data");
    }
    printf("published; Enter ends the ring\n");
    fflush(stdout);
    getchar();
    qads_destroy_arena(arena);
    return 0;
}
