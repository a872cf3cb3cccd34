/* Prints messages: reader NAME COUNT. Any number of these can run; each gets every message. */
#include <qadataswap.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
    if (argc != 3) return fprintf(stderr, "usage: %s NAME COUNT\n", argv[0]), 2;
    /* A reader takes the sizes from the ring. */
    void* arena = qads_create_arena(argv[1], 0, 0);
    if (!arena || qads_attach_reader(arena) != QADS_OK) return fprintf(stderr, "%s\n", qads_last_error()), 1;
    int code = QADS_OK;
    for (int n = 0; n < atoi(argv[2]) && code == QADS_OK; n++) {
        char message[4096];
        size_t size;
        code = qads_read_data(arena, message, sizeof message, &size, 5000);
        if (code == QADS_OK) printf("%.*s\n", (int)size, message);
    }
    if (code != QADS_OK) fprintf(stderr, "%s\n", qads_last_error());
    qads_destroy_arena(arena);
    return code == QADS_OK ? 0 : 1;
}
