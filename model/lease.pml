/*
 * A reader that leases messages, one after the other, beside a writer that overwrites them or passes over them.
 *
 * Checked: what is read under a lease is the message that was found, until the lease has ended.
 *
 * Also checked with: -DSLOTS=2 -DPOSITIONS=4
 */
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef POSITIONS
#define POSITIONS 3
#endif
#define LOOKS 3
#define THREADS 2
#define WRITER 0
#define READER 1
/* Of slot s: generation, two words of payload. */
#define GENERATION(s) (s)
#define ONE(s) (SLOTS + (s))
#define TWO(s) (2 * SLOTS + (s))
#define CLAIMED (3 * SLOTS)
#define LEASING (3 * SLOTS + 1) /* The mask; one entry, with one lease. */
#define LEASE (3 * SLOTS + 2)
#define PLACES (3 * SLOTS + 3)
#include "memory.pml"

#define WORD(position, state) ((position) * 4 + (state))
#define WRITING_ 1
#define PUBLISHED_ 2
#define SKIPPED_ 3
#define CONTENT(position) ((position) + 1)

inline take() {
    store(WRITER, GENERATION(position % SLOTS), WORD(position, WRITING_));
    release_fence(WRITER) /* W1 */
}

inline publish() {
    store(WRITER, ONE(position % SLOTS), CONTENT(position));
    store(WRITER, TWO(position % SLOTS), CONTENT(position));
    store_release(WRITER, GENERATION(position % SLOTS), WORD(position, PUBLISHED_)) /* W2 */
}

inline pass_over() {
    store_release(WRITER, GENERATION(position % SLOTS), WORD(position, SKIPPED_))
}

proctype writer() {
    byte position, leasing, lease;
    do
    :: position < POSITIONS ->
        store(WRITER, CLAIMED, position + 1);
#ifndef BROKEN_H1
        full_fence(WRITER);
#endif
        load(WRITER, LEASING, leasing);
        if
        :: !leasing -> take(); publish()
        :: else ->
            load(WRITER, LEASE, lease);
            if
            :: lease == position % SLOTS + 1 -> take(); pass_over()
            :: else ->
                take();
#ifndef BROKEN_L1
                full_fence(WRITER);
#endif
#ifndef BROKEN_L1LOOK
                load(WRITER, LEASE, lease);
#endif
                if
                :: lease == position % SLOTS + 1 -> pass_over()
                :: else -> publish()
                fi
            fi
        fi;
        leasing = 0; lease = 0;
        position++
    :: else -> break
    od
}

/* What is read under the lease must be the message. */
inline check(where) {
    load(READER, where, word);
    assert(word == CONTENT(first / 4));
    word = 0
}

inline begin_leasing() {
    /* An exchange is in memory at once; without the fence, what comes after it may be loaded before. */
#ifdef BROKEN_H2LEASE
    load(READER, CLAIMED, claimed);
    memory[LEASING] = 1;
#else
    memory[LEASING] = 1;
    full_fence(READER);
    load(READER, CLAIMED, claimed);
#endif
#ifdef BROKEN_LEASEFLOOR
    claimed = 0;
#endif
    floor = (claimed > SLOTS -> claimed - SLOTS : 0);
    claimed = 0
}

proctype reader() {
    byte looks, s, first, second, claimed, floor, word;
    /* It has read the first message, or not yet. */
    memory[GENERATION(0)] >= WORD(0, PUBLISHED_);
    begin_leasing();
    do
    :: looks < LOOKS ->
        looks++;
        if
        :: s = 0
        :: SLOTS > 1 -> s = 1
        fi;
        load(READER, GENERATION(s), first); /* R1 */
        if
        :: first % 4 == PUBLISHED_ && first / 4 >= floor ->
            store_release(READER, LEASE, s + 1);
#ifndef BROKEN_L2
            full_fence(READER);
#endif
            load(READER, GENERATION(s), second);
            if
#ifdef BROKEN_L2LOOK
            :: true ->
#else
            :: first == second ->
#endif
                check(ONE(s));
                check(TWO(s));
#ifdef BROKEN_H3
                /* Without the release the last read may be made after the lease has ended. */
                store(READER, LEASE, 0);
                check(ONE(s))
#else
                check(ONE(s));
                store_release(READER, LEASE, 0)
#endif
#ifndef BROKEN_L2LOOK
            :: else -> store_release(READER, LEASE, 0)
#endif
            fi
        :: first % 4 == PUBLISHED_ && first / 4 < floor ->
            /* A claim was under way when leasing began: another look at how far it has got. */
            begin_leasing()
        :: else
        fi;
        first = 0; second = 0; s = 0
    :: else -> break
    od
}

init { atomic { run drain(WRITER); run drain(READER); run writer(); run reader() } }
