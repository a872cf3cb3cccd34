/* qadataswap: Apache Arrow and plain messages between processes, over a ring in shared memory.
 *
 * Generated from ffi/src with cbindgen (`make header`); do not edit.
 *
 * There are two ways in. The six calls at the arena are the short one: bytes, and the codes 0, -1, -2 and -3. The
 * handles qads_writer and qads_reader do all the ring can do, and give more precise codes.
 *
 * Status. Functions that return int give QADS_OK (0) or a negative code; qads_last_error() then says what went
 * wrong. Outputs are stored on success only (but for the size needed, where QADS_MEMORY says so). No error ends
 * the process, and no function prints or raises a signal. Codes and the meaning of what is here do not change
 * within a major version of QADS_ABI_VERSION.
 *
 * Handles. A handle is checked: NULL, a handle of another kind, one that was destroyed, or one that another
 * thread is in a call on, is an error and nothing happens. What cannot be noticed is a pointer to memory that
 * cannot be read, or one so long destroyed that 4096 others were destroyed after it. Destroy a handle once, when no
 * other thread is in a call on it. Different handles can be used from different threads at the same time. A handle
 * inherited through fork is refused in the child (QADS_FORKED).
 *
 * Pointers. Strings are null-terminated UTF-8. Nothing given is kept after the call, and nothing given is freed.
 */


#ifndef QADATASWAP_H
#define QADATASWAP_H

#include <stddef.h>
#include <stdint.h>

/* The Arrow C Data and C Stream Interface, as its specification asks to have them repeated. */

#ifdef __cplusplus
extern "C" {
#endif

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  // Array type description
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;

  // Release callback
  void (*release)(struct ArrowSchema*);
  // Opaque producer-specific data
  void* private_data;
};

struct ArrowArray {
  // Array data description
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;

  // Release callback
  void (*release)(struct ArrowArray*);
  // Opaque producer-specific data
  void* private_data;
};

#endif  // ARROW_C_DATA_INTERFACE

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
  // Callbacks providing stream functionality
  int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema* out);
  int (*get_next)(struct ArrowArrayStream*, struct ArrowArray* out);
  const char* (*get_last_error)(struct ArrowArrayStream*);

  // Release callback
  void (*release)(struct ArrowArrayStream*);
  // Opaque producer-specific data
  void* private_data;
};

#endif  // ARROW_C_STREAM_INTERFACE

#ifdef __cplusplus
}
#endif


// Version of this interface: its major number times 65536, plus its minor number. A program can use a library with
// the same major number and at least the minor number of the header it was compiled with.
#define QADS_ABI_VERSION (1 << 16)

// Done.
#define QADS_OK 0

// Not done, for a reason that has no code of its own; qads_last_error() says more.
#define QADS_ERROR -1

// The time was up: no message came, or a lossless reader is in the way of a write. Try again.
#define QADS_TIMEOUT -2

// Memory: the message is larger than the slot or the buffer, or there is no shared memory for it.
#define QADS_MEMORY -3

// The ring has ended and every message in it has been consumed; or this handle has ended it.
#define QADS_CLOSED -4

// An argument that cannot be: NULL, no handle of that kind, a bad name, an option out of range.
#define QADS_INVALID -5

// There is no ring of this name.
#define QADS_NOT_FOUND -6

// The ring has a live writer, and a ring has only one.
#define QADS_WRITER_ALIVE -7

// The operating system denies access to the shared memory.
#define QADS_DENIED -8

// Arrow data that is malformed, or that a message cannot carry. When reading, the message was consumed.
#define QADS_ARROW -9

// The writer lapped this reader, which asked to be told (on_overrun). The next read goes on.
#define QADS_OVERRUN -10

// The writer gave up this lossless reader, which was too slow: qads_reader_rejoin().
#define QADS_EVICTED -11

// The shared memory is not a ring, is of another version, or is damaged. A damaged message is passed over.
#define QADS_DAMAGED -12

// No lease to be had (too many, or the control segment cannot be used), or every slot is leased.
#define QADS_HOLDS -13

// The Arrow message cannot be had in place, or not as one batch. It was not consumed: read a copy.
#define QADS_NOT_IN_PLACE -14

// Another thread is in a call on this handle, or the writer has an open reservation.
#define QADS_BUSY -15

// The handle was inherited through fork; make a new one in the child.
#define QADS_FORKED -16

// A failure inside the library. Please report it.
#define QADS_INTERNAL -17

// The message has not the size asked for. It was not consumed.
#define QADS_SIZE_MISMATCH -18

// on_slow_reader: a write waits for a lossless reader for up to slow_reader_ms, then gives QADS_TIMEOUT.
#define QADS_SLOW_WAIT 0

// on_slow_reader: a write that would overwrite what a lossless reader has not consumed gives QADS_TIMEOUT at
// once.
#define QADS_SLOW_REFUSE 1

// on_slow_reader: a lossless reader that keeps a write waiting for slow_reader_ms is given up.
#define QADS_SLOW_EVICT 2

// start: the oldest message still in the ring.
#define QADS_START_OLDEST 0

// start: the newest message in the ring; the next one if there is none.
#define QADS_START_NEWEST 1

// start: the next message published.
#define QADS_START_NEXT 2

// wait: poll for spin_us, then sleep.
#define QADS_WAIT_SPIN_THEN_SLEEP 0

// wait: poll until the message comes. Lowest latency; takes a whole core.
#define QADS_WAIT_SPIN 1

// wait: sleep at once. A wake-up costs some microseconds.
#define QADS_WAIT_SLEEP 2

// wait: poll, and offer the core to whoever else is ready after each look. For processes that share cores.
#define QADS_WAIT_YIELD 3

// flags: the arrays lie in shared memory and nothing is copied. The message is leased until the last of them is
// released. Without it they are copies.
#define QADS_ZERO_COPY 1

// A message held in place. It may outlive its reader, and be released on any thread.
typedef struct qads_lease qads_lease;

// A reader of a ring. Use it from one thread at a time; give each thread its own.
typedef struct qads_reader qads_reader;

// The writer of a ring. Use it from one thread at a time.
typedef struct qads_writer qads_writer;

// What a writer can be told when it is made. Fill it with qads_writer_options_init() first, then change what
// you want: fields that a later version adds then have their usual values.
typedef struct qads_writer_options {
    // sizeof(qads_writer_options).
    size_t struct_size;
    // Number of slots, 1 to 16777216. Usually 16.
    uint64_t slot_count;
    // Largest message in bytes that a slot takes, up to 4294963200; 0 (as usual) for large, sparse slots
    // (16 MiB each, less if there are more than 1024).
    uint64_t slot_capacity;
    // How long a write waits for a lossless reader, in milliseconds; see on_slow_reader. Usually 5000.
    uint64_t slow_reader_ms;
    // One of QADS_SLOW_...; usually QADS_SLOW_WAIT.
    uint32_t on_slow_reader;
    // Permissions of the shared memory: 0600 as usual; 0644 admits readers of other users.
    uint32_t mode;
    // Permissions of the control segment: 0 (as usual) for the same as mode; 0666 lets readers of other users
    // be woken, hold leases and be lossless.
    uint32_t control_mode;
    // 1 (as usual): the ring moves to larger slots when a message needs it. 0: such a message is refused
    // with QADS_MEMORY.
    uint8_t rollover;
    // 1 (as usual): readers may lease messages and be lossless.
    uint8_t holds;
    // 1: all memory is there from the start, so that no write takes page faults. Usually 0.
    uint8_t prefault;
    // 1: the memory is locked (mlock). Usually 0.
    uint8_t lock_memory;
    // 1: transparent huge pages are asked for. Usually 0.
    uint8_t huge_pages;
    // Zero.
    uint8_t reserved[7];
} qads_writer_options;

// What a reader can be told when it attaches. Fill it with qads_reader_options_init() first.
typedef struct qads_reader_options {
    // sizeof(qads_reader_options).
    size_t struct_size;
    // How long to wait for a ring that is not there yet, in milliseconds. Usually 5000.
    uint64_t attach_timeout_ms;
    // For QADS_WAIT_SPIN_THEN_SLEEP: how long to poll, in microseconds. Usually 50.
    uint64_t spin_us;
    // Where to begin: one of QADS_START_...; usually QADS_START_OLDEST.
    uint32_t start;
    // How to wait: one of QADS_WAIT_...; usually QADS_WAIT_SPIN_THEN_SLEEP.
    uint32_t wait;
    // Leases that may be held at a time, 0 to 8. Usually 4.
    uint32_t max_leases;
    // 1: the writer waits for this reader rather than overwrite what it has not consumed. Usually 0.
    uint8_t lossless;
    // 1: a read that finds messages lost gives QADS_OVERRUN once. 0 (as usual): they are counted.
    uint8_t overrun_is_error;
    // 1 (as usual): take an entry in the control segment, to be woken from sleep, listed, and able to lease.
    uint8_t register_reader;
    // 1: the ring is mapped with all its pages. Usually 0.
    uint8_t prefault;
    // 1: the mapping is locked (mlock). Usually 0.
    uint8_t lock_memory;
    // 1: transparent huge pages are asked for. Usually 0.
    uint8_t huge_pages;
    // 1: the ring is mapped writable, which some processors read faster; it takes the right to write. Usually 0.
    uint8_t writable_mapping;
    // Zero.
    uint8_t reserved[5];
} qads_reader_options;

// What a writer has done. Set struct_size before the call.
typedef struct qads_writer_stats {
    // sizeof(qads_writer_stats).
    size_t struct_size;
    // Messages published through this handle.
    uint64_t published;
    // Payload bytes published through this handle.
    uint64_t published_bytes;
    // Messages published since the ring was created, by all its writers.
    uint64_t message_count;
    // Position of the next message (positions also count slots that were passed over).
    uint64_t position;
    // Wake-up calls made for sleeping readers.
    uint64_t wakes;
    // Moves to a segment with other slots.
    uint64_t rollovers;
    // How many writers the ring has had, this one included.
    uint64_t epoch;
    // Positions passed over because a reader had leased the slot.
    uint64_t lease_skips;
    // Writes that waited for a lossless reader.
    uint64_t stalls;
    // Times that a lossless reader was given up.
    uint64_t evictions;
    // Dead readers whose leases and gates were in the way and were taken away.
    uint64_t reclaimed;
    // Number of slots.
    uint64_t slot_count;
    // Largest message, in bytes, that fits without a rollover.
    uint64_t slot_capacity;
} qads_writer_stats;

// What a reader has seen. Set struct_size before the call. After any read, consumed + lost = messages published
// between the attach and the reader's position.
typedef struct qads_reader_stats {
    // sizeof(qads_reader_stats).
    size_t struct_size;
    // Messages read, or passed over with qads_reader_skip().
    uint64_t consumed;
    // Messages overwritten before they could be read, and damaged ones.
    uint64_t lost;
    // Times the reader was lapped and lost messages by it.
    uint64_t overruns;
    // Reads that ended without a message.
    uint64_t timeouts;
    // Position of the next message to consume.
    uint64_t position;
    // How many messages were published before the next one to consume, since the ring began.
    uint64_t sequence;
    // Positions published and not yet consumed.
    uint64_t lag;
    // Leases made by this reader and still held, those of zero-copy Arrow data included.
    uint64_t leases;
    // Times that the writer gave this lossless reader up.
    uint64_t evictions;
    // 1 if the reader has an entry in the control segment (is listed, and is woken from sleep), else 0.
    uint64_t registered;
} qads_reader_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// QADS_ABI_VERSION of the library, to be compared with that of the header.
uint32_t qads_abi_version(void);

// Removes the ring `name`, which must not have a live writer. Readers that are attached keep their memory, drain
// it, and are then told that it is closed.
//
// `name` must be a null-terminated string.
int qads_unlink(const char *name);

// What went wrong in the last call of this thread that failed, in a sentence: what was asked, what happened,
// what to do about it. Never NULL; empty if nothing failed yet. It stays until the next call of this thread
// that fails.
const char *qads_last_error(void);

// A handle for the ring `name`, to be made its writer (qads_create_writer) or one of its readers
// (qads_attach_reader). `size` is how many bytes the messages of all slots may take together, and `buffer_count`
// the number of slots: each takes a message of up to size / buffer_count bytes. A reader may give 0 for
// both; it takes them from the ring.
//
// A name has 1 to 245 bytes of UTF-8, no '/', no control character, no leading dot, and does not end in
// ".ctl" or ".next". NULL if it is not such a name.
//
// `name` must be a null-terminated string.
void *qads_create_arena(const char *name,
                        size_t size,
                        size_t buffer_count);

// Ends the handle. A writer's ends the ring and removes its shared memory: readers consume what is in it and
// are then told that it is closed. A reader's only detaches. NULL is ignored.
//
// `arena` must be NULL or from qads_create_arena, and no other thread in a call on it.
void qads_destroy_arena(void *arena);

// Makes the arena the writer of its ring: creates the shared memory, or takes it over if its writer is gone.
//
// `arena` must be from qads_create_arena.
int qads_create_writer(void *arena);

// Makes the arena a reader of its ring, at the oldest message in it. Waits up to five seconds for a ring that
// is not there yet.
//
// `arena` must be from qads_create_arena.
int qads_attach_reader(void *arena);

// Publishes a message of `size` bytes. -3 if it is larger than a slot, or there is no shared memory for it;
// -2 if a lossless reader keeps it waiting for five seconds. Nothing was published then.
//
// `arena` must be from qads_create_arena, and `data` have `size` bytes.
int qads_write_data(void *arena, const void *data, size_t size);

// Reads the next message into `buffer` and stores its length in `*read_size`, waiting for it for up to
// `timeout_ms` milliseconds (0 does not wait, UINT64_MAX waits for ever). -2 if none came; -3 if the buffer is
// too small: `*read_size` is then the size needed, and the message is not consumed. -1 when the writer has ended
// the ring and every message is consumed, and for other errors: qads_last_error() says which.
//
// `arena` must be from qads_create_arena, `buffer` have `buffer_size` bytes and `read_size` be writable.
int qads_read_data(void *arena,
                   void *buffer,
                   size_t buffer_size,
                   size_t *read_size,
                   uint64_t timeout_ms);

// Fills options with their usual values. Pass sizeof(qads_writer_options) for the size.
//
// The options must have that many bytes.
int qads_writer_options_init(struct qads_writer_options *options, size_t struct_size);

// Fills options with their usual values. Pass sizeof(qads_reader_options) for the size.
//
// The options must have that many bytes.
int qads_reader_options_init(struct qads_reader_options *options, size_t struct_size);

// Creates the ring `name`, or takes it over if its writer is gone, and stores a handle in `*writer`. NULL for
// `options` means the usual ones.
//
// `name` must be a null-terminated string and `writer` writable.
int qads_writer_create(const char *name,
                       const struct qads_writer_options *options,
                       struct qads_writer **writer);

// Ends the handle; the ring stays, and another writer may go on with it. NULL is ignored. A handle that another
// thread is in a call on is left as it is.
//
// `writer` must be NULL or from qads_writer_create.
void qads_writer_destroy(struct qads_writer *writer);

// Publishes a message of `size` bytes.
//
// `writer` must be from qads_writer_create, and `data` have `size` bytes.
int qads_writer_write(struct qads_writer *writer, const void *data, size_t size);

// Publishes bytes that already are one Arrow IPC stream, made by any Arrow implementation. They are not looked
// at: readers check what they decode.
//
// As qads_writer_write.
int qads_writer_write_ipc(struct qads_writer *writer,
                          const void *stream,
                          size_t size);

// Opens the next slot for a message of up to `size` bytes and stores in `*data` where to put it. Write there and
// do not read: the slot holds whatever an older message left. The pointer is aligned to 8 and good until
// qads_writer_publish or qads_writer_abandon; every other call on the writer gives QADS_BUSY until then.
//
// `writer` must be from qads_writer_create and `data` writable.
int qads_writer_reserve(struct qads_writer *writer,
                        size_t size,
                        void **data);

// Publishes the first `size` bytes of the slot that was reserved. If that is more than was reserved, the result is
// QADS_MEMORY and the reservation stays open.
//
// `writer` must be from qads_writer_create.
int qads_writer_publish(struct qads_writer *writer,
                        size_t size);

// Closes the reservation and publishes nothing.
//
// `writer` must be from qads_writer_create.
int qads_writer_abandon(struct qads_writer *writer);

// Stores the writer's statistics in `*stats`, whose struct_size must be set.
//
// `writer` must be from qads_writer_create, and `stats` have as many bytes as it says.
int qads_writer_get_stats(struct qads_writer *writer, struct qads_writer_stats *stats);

// Ends the ring: readers consume what is in it and are then told QADS_CLOSED. The memory stays, for readers that
// come later. The handle can then only be destroyed.
//
// `writer` must be from qads_writer_create.
int qads_writer_close(struct qads_writer *writer);

// Ends the ring and removes its shared memory. Readers that are attached still consume what is in it. The
// handle can then only be destroyed.
//
// `writer` must be from qads_writer_create.
int qads_writer_unlink(struct qads_writer *writer);

// Attaches a reader to the ring `name` and stores a handle in `*reader`. NULL for `options` means the usual
// ones: at the oldest message, waiting up to five seconds for a ring that is not there yet.
//
// `name` must be a null-terminated string and `reader` writable.
int qads_reader_attach(const char *name,
                       const struct qads_reader_options *options,
                       struct qads_reader **reader);

// Detaches the reader. Its leases, and Arrow data that was read in place, stay as they are until they are
// released. NULL is ignored. A handle that another thread is in a call on is left as it is.
//
// `reader` must be NULL or from qads_reader_attach.
void qads_reader_destroy(struct qads_reader *reader);

// Reads the next message into `buffer` and stores its length in `*read_size`, waiting for it for up to
// `timeout_ms` milliseconds (0 does not wait, UINT64_MAX waits for ever). QADS_TIMEOUT if none came; QADS_MEMORY if
// the buffer is too small: `*read_size` is then the size needed, and the message is not consumed.
//
// `reader` must be from qads_reader_attach, `buffer` have `buffer_size` bytes and `read_size` be writable.
int qads_reader_read(struct qads_reader *reader,
                     void *buffer,
                     size_t buffer_size,
                     size_t *read_size,
                     uint64_t timeout_ms);

// Reads the next message into `buffer` if it has exactly `size` bytes; else QADS_SIZE_MISMATCH, and the message
// is not consumed.
//
// `reader` must be from qads_reader_attach, and `buffer` have `size` bytes.
int qads_reader_read_exact(struct qads_reader *reader,
                           void *buffer,
                           size_t size,
                           uint64_t timeout_ms);

// Passes over the next message without reading it; it counts as consumed. QADS_TIMEOUT if there is none.
//
// `reader` must be from qads_reader_attach.
int qads_reader_skip(struct qads_reader *reader);

// Reads the next message in place: stores a lease in `*lease`, and in `*data` and `*size` where the message lies
// in shared memory. The pointer is aligned to 8; do not write there. The bytes do not change until
// qads_lease_release. The writer does not wait for that: it goes round the slot, so release it soon.
//
// `reader` must be from qads_reader_attach, and `lease`, `data` and `size` writable.
int qads_reader_lease(struct qads_reader *reader,
                      uint64_t timeout_ms,
                      struct qads_lease **lease,
                      const void **data,
                      size_t *size);

// Stores the position of the leased message in `*position`.
//
// `lease` must be from qads_reader_lease, and `position` writable.
int qads_lease_position(const struct qads_lease *lease, uint64_t *position);

// Lets the writer have the slot again, on whatever thread; the data must not be read any more. NULL is ignored.
//
// `lease` must be NULL or from qads_reader_lease.
void qads_lease_release(struct qads_lease *lease);

// Makes a lossless reader that the writer gave up (QADS_EVICTED) lossless again, at the oldest message from its
// place on that is still there. Stores in `*lost` how many messages it lost besides; NULL if that is not wanted.
//
// `reader` must be from qads_reader_attach, and `lost` NULL or writable.
int qads_reader_rejoin(struct qads_reader *reader,
                       uint64_t *lost);

// Stores the reader's statistics in `*stats`, whose struct_size must be set.
//
// `reader` must be from qads_reader_attach, and `stats` have as many bytes as it says.
int qads_reader_get_stats(struct qads_reader *reader, struct qads_reader_stats *stats);

// Publishes one record batch as one message: a struct array without nulls of its own, and its schema. The slot then
// holds a complete Arrow IPC stream, so the schema may change with every message. Both are only read, and stay
// yours to release. The contents are validated in full (offsets, UTF-8, dictionary keys, ...): QADS_ARROW if they are
// not what their types say. Lengths of buffers cannot be checked; the interface does not tell them.
//
// `writer` must be from qads_writer_create, and `array` and `schema` be as the Arrow C Data Interface says.
int qads_write_arrow(struct qads_writer *writer,
                     const struct ArrowArray *array,
                     const struct ArrowSchema *schema);

// Publishes all record batches of a stream as one message. The stream is read to its end, whether or not the message
// can be published then, and stays yours to release. Its callbacks must not throw or jump.
//
// `writer` must be from qads_writer_create, and `stream` be as the Arrow C Stream Interface says.
int qads_write_arrow_stream(struct qads_writer *writer,
                            struct ArrowArrayStream *stream);

// Reads the next message as one record batch: a struct array, and its schema. Both are then yours to release.
// Several batches in one message are put together; with QADS_ZERO_COPY that is QADS_NOT_IN_PLACE, and the message is not
// consumed. Waits like qads_reader_read. `flags` is 0 or QADS_ZERO_COPY.
//
// `reader` must be from qads_reader_attach, and `array` and `schema` writable; what they held is not released.
int qads_read_arrow(struct qads_reader *reader,
                    struct ArrowArray *array,
                    struct ArrowSchema *schema,
                    uint64_t timeout_ms,
                    uint32_t flags);

// Reads the next message as a stream of the record batches that were published in it, which is then yours to
// release. Waits like qads_reader_read. `flags` is 0 or QADS_ZERO_COPY.
//
// `reader` must be from qads_reader_attach, and `stream` writable; what it held is not released.
int qads_read_arrow_stream(struct qads_reader *reader,
                           struct ArrowArrayStream *stream,
                           uint64_t timeout_ms,
                           uint32_t flags);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* QADATASWAP_H */
