/*
 * The memory that the models run on: stores wait in a buffer of their thread, and leave it in any order that
 * their fences allow (ARM's freedom for stores; x86 lets them leave only in turn).
 *
 * - Stores of one thread to one place stay in order, and all threads see a store at once when it leaves its
 *   buffer (multi-copy atomic, as ARMv8 and x86 are).
 * - release_fence(t): no later store leaves before an earlier one. store_release: no earlier store leaves
 *   after it; later ones may leave before it.
 * - full_fence(t): waits until the buffer is empty.
 * - Loads are made where the model makes them. A model in which a fence between loads is missing makes them in
 *   any order itself, and one in which a load may sink below a store as well.
 *
 * A model defines THREADS and PLACES, and runs drain(t) for each thread t that stores.
 */
#ifndef DEPTH
#define DEPTH 4 /* A store waits for room in the buffer: longer delays are not explored. */
#endif

#define PLAIN 0
#define FENCED 1  /* A release fence stands before this store. */
#define RELEASE 2 /* The store itself releases. */

typedef Buffer {
    byte count;
    byte place[DEPTH];
    byte value[DEPTH];
    byte order[DEPTH];
    bit fenced; /* The next store comes after a release fence. */
};
Buffer buffer[THREADS];
byte memory[PLACES];
hidden byte at_;

inline put(t, where, what, how) {
    atomic {
        buffer[t].count < DEPTH;
        buffer[t].place[buffer[t].count] = where;
        buffer[t].value[buffer[t].count] = what;
        if
        :: buffer[t].count == 0 -> buffer[t].order[buffer[t].count] = PLAIN
        :: else -> buffer[t].order[buffer[t].count] = (buffer[t].fenced -> FENCED : how)
        fi;
        buffer[t].fenced = 0;
        buffer[t].count++
    }
}

inline store(t, where, what) { put(t, where, what, PLAIN) }
inline store_release(t, where, what) { put(t, where, what, RELEASE) }
inline release_fence(t) { buffer[t].fenced = (buffer[t].count > 0) }
inline full_fence(t) { atomic { buffer[t].count == 0; buffer[t].fenced = 0 } }

/* A thread sees its own stores first. */
inline load(t, where, into) {
    d_step {
        into = memory[where];
        at_ = 0;
        do
        :: at_ < buffer[t].count ->
            if
            :: buffer[t].place[at_] == where -> into = buffer[t].value[at_]
            :: else
            fi;
            at_++
        :: else -> break
        od;
        at_ = 0
    }
}

/* Not earlier stores to the same place, nor any that a fence or a release keeps back. */
#define CLEAR(t, i, j) (buffer[t].place[i] != buffer[t].place[j])
#define OPEN(t, i) (buffer[t].order[i] != FENCED)
#define LEAVES_0(t) (buffer[t].count > 0)
#define LEAVES_1(t) (buffer[t].count > 1 && buffer[t].order[1] == PLAIN && CLEAR(t, 1, 0))
#define LEAVES_2(t) (buffer[t].count > 2 && buffer[t].order[2] == PLAIN && OPEN(t, 1) \
    && CLEAR(t, 2, 0) && CLEAR(t, 2, 1))
#define LEAVES_3(t) (buffer[t].count > 3 && buffer[t].order[3] == PLAIN && OPEN(t, 1) && OPEN(t, 2) \
    && CLEAR(t, 3, 0) && CLEAR(t, 3, 1) && CLEAR(t, 3, 2))

inline leave(t, i) {
    d_step {
        memory[buffer[t].place[i]] = buffer[t].value[i];
        at_ = i;
        do
        :: at_ + 1 < buffer[t].count ->
            buffer[t].place[at_] = buffer[t].place[at_ + 1];
            buffer[t].value[at_] = buffer[t].value[at_ + 1];
            buffer[t].order[at_] = buffer[t].order[at_ + 1];
            at_++
        :: else -> break
        od;
        buffer[t].place[at_] = 0;
        buffer[t].value[at_] = 0;
        buffer[t].order[at_] = PLAIN;
        buffer[t].order[0] = PLAIN;
        buffer[t].count--;
        if
        :: buffer[t].count == 0 -> buffer[t].fenced = 0
        :: else
        fi;
        at_ = 0
    }
}

proctype drain(byte t) {
end:
    do
    :: atomic { LEAVES_0(t) -> leave(t, 0) }
    :: atomic { LEAVES_1(t) -> leave(t, 1) }
    :: atomic { LEAVES_2(t) -> leave(t, 2) }
    :: atomic { LEAVES_3(t) -> leave(t, 3) }
    od
}
