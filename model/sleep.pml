/*
 * Sleeping and waking. A reader that sleeps through a message sleeps for ever here: an invalid end state.
 *
 * Also checked with: -DREADERS=1 -DPOSITIONS=4
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef POSITIONS
#define POSITIONS 2
#endif
#define THREADS (READERS + 1)
#define WRITER READERS
#define PUBLISHED 0
#define WAITERS 1
#define WAKES 2 /* The futex word. */
#define PLACES 3
#include "memory.pml"

bool asleep[READERS];

proctype writer() {
    byte position, waiters, wakes;
    do
    :: position < POSITIONS ->
        position++;
        store_release(WRITER, PUBLISHED, position);
#ifndef BROKEN_W4
        full_fence(WRITER);
#endif
        load(WRITER, WAITERS, waiters);
        if
        :: waiters == 0
        :: else ->
            store(WRITER, WAITERS, 0);
            wakes++;
#ifdef BROKEN_W5
            store(WRITER, WAKES, wakes);
#elif !defined(BROKEN_W5MOVE)
            store_release(WRITER, WAKES, wakes);
#endif
            /* FUTEX_WAKE begins with a barrier (kernel/futex). */
            atomic {
                buffer[WRITER].count == 0;
                asleep[0] = false;
#if READERS > 1
                asleep[1] = false
#endif
            }
        fi
    :: else -> break
    od
}

proctype reader(byte t) {
    byte cursor, published, token;
    do
    :: cursor < POSITIONS ->
        load(t, PUBLISHED, published);
        if
        :: published > cursor -> cursor++
        :: else ->
#ifdef BROKEN_R5
            store(t, WAITERS, 1);
            load(t, WAKES, token);
#else
            load(t, WAKES, token);
            store(t, WAITERS, 1);
#endif
#ifndef BROKEN_R4
            full_fence(t);
#endif
            load(t, PUBLISHED, published);
            if
#ifndef BROKEN_R4LOOK
            :: published > cursor
#endif
            :: published <= cursor ->
                /* FUTEX_WAIT compares and queues in one step as far as FUTEX_WAKE is concerned. */
                atomic {
                    buffer[t].count == 0;
                    if
                    :: memory[WAKES] == token -> asleep[t] = true
                    :: else
                    fi
                };
                !asleep[t]
#ifdef BROKEN_R4LOOK
            :: published > cursor ->
                atomic {
                    buffer[t].count == 0;
                    if
                    :: memory[WAKES] == token -> asleep[t] = true
                    :: else
                    fi
                };
                !asleep[t]
#endif
            fi
        fi;
        published = 0; token = 0
    :: else -> break
    od
}

init {
    atomic {
        run drain(0);
        run reader(0);
        run drain(WRITER);
        run writer();
#if READERS > 1
        run drain(1);
        run reader(1)
#endif
    }
}
