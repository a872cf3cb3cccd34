/*
 * A reader that joins with a gate beside a writer that claims, waits, and gives readers up when it likes.
 *
 * Checked: a reader whose gate stands is lapped only if the writer gave it up after it stood, and what it reads
 * is the message.
 *
 * Also checked with: -DSLOTS=2 -DPOSITIONS=4
 */
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef POSITIONS
#define POSITIONS 3
#endif
#define ATTEMPTS 2
#define THREADS 2
#define WRITER 0
#define READER 1
#define GENERATION(s) (s)
#define ONE(s) (SLOTS + (s))
#define PUBLISHED (2 * SLOTS)
#define CLAIMED (2 * SLOTS + 1)
#define JOINS (2 * SLOTS + 2)
#define GATING (2 * SLOTS + 3) /* The mask; one entry. */
#define GATE (2 * SLOTS + 4)
#define PLACES (2 * SLOTS + 5)
#include "memory.pml"

#define WORD(position, state) ((position) * 4 + (state))
#define WRITING_ 1
#define PUBLISHED_ 2
#define CONTENT(position) ((position) + 1)
#define JOINING 128
#define NEVER 127

/* Set when the writer claims what a gate that stands covers. */
bool evicted;

proctype writer() {
    byte position, joins, known, limit, gating, gate, given_up;
    bool gives_up, refused;
    do
    :: position < POSITIONS ->
        store(WRITER, CLAIMED, position + 1);
#ifndef BROKEN_H1
        full_fence(WRITER);
#endif
        refused = false;
        load(WRITER, JOINS, joins);
        if
#ifdef BROKEN_H1LOOK
        :: position < limit
        :: else ->
#else
        :: joins == known && position < limit
        :: else ->
#endif
            load(WRITER, JOINS, joins);
            load(WRITER, GATING, gating);
            gate = 0;
            if
            :: gating -> load(WRITER, GATE, gate)
            :: else
            fi;
            limit = NEVER;
            if
            :: gate == 0
            :: gate >= JOINING ->
                if
                :: gives_up -> given_up = gate
                :: else
                fi;
                refused = (given_up != gate);
                limit = position + 1
            :: gate > 0 && gate < JOINING && gate - 1 + SLOTS > position -> limit = gate - 1 + SLOTS
            :: gate > 0 && gate < JOINING && gate - 1 + SLOTS == position ->
                refused = !gives_up;
                evicted = evicted || gives_up;
                limit = position + 1
            :: gate > 0 && gate < JOINING && gate - 1 + SLOTS < position -> limit = position + 1
            fi;
#ifdef BROKEN_GATELOOK
            refused = false;
#endif
            if
            :: refused -> limit = 0 /* The next claim looks again. */
            :: else -> known = joins
            fi
        fi;
        if
        :: refused ->
            store_release(WRITER, CLAIMED, position);
            if
            :: gives_up = true
            :: true
            :: break /* The write is refused, and no other comes. */
            fi
        :: else ->
            gives_up = false;
            store(WRITER, GENERATION(position % SLOTS), WORD(position, WRITING_));
            release_fence(WRITER);
            store(WRITER, ONE(position % SLOTS), CONTENT(position));
            store_release(WRITER, GENERATION(position % SLOTS), WORD(position, PUBLISHED_));
            position++;
            store_release(WRITER, PUBLISHED, position)
        fi;
        joins = 0; gating = 0; gate = 0
    :: else -> break
    od
}

proctype reader() {
    byte attempt, claimed, published, cursor, first, second, word;
    do
    :: attempt < ATTEMPTS ->
        attempt++;
        /* The exchange of the mask is in memory at once, that of `joins` after all before it; without the fence,
         * what comes after may be loaded before. */
        store(READER, GATE, JOINING + attempt);
        memory[GATING] = 1;
#ifdef BROKEN_H2
        load(READER, CLAIMED, claimed);
#endif
        atomic { buffer[READER].count == 0; memory[JOINS] = memory[JOINS] + 1 }
#ifndef BROKEN_H2
        full_fence(READER);
        load(READER, CLAIMED, claimed);
#endif
        cursor = (claimed > SLOTS -> claimed - SLOTS : 0);
        /* The oldest message from there on, or the next. */
        load(READER, PUBLISHED, published);
        if
        :: published > cursor + SLOTS -> cursor = published - SLOTS
        :: else
        fi;
        do
        :: cursor < published ->
            load(READER, GENERATION(cursor % SLOTS), first);
            if
            :: first == WORD(cursor, PUBLISHED_) -> break
            :: else -> cursor++
            fi
        :: else -> break
        od;
        store_release(READER, GATE, cursor + 1);
#ifndef BROKEN_H2
        full_fence(READER);
#endif
        load(READER, CLAIMED, claimed);
        if
#ifndef BROKEN_SETTLE
        :: claimed > cursor + SLOTS -> skip /* Given up, or about to be waited for: again. */
        :: claimed <= cursor + SLOTS -> break
#else
        :: break
#endif
        fi;
        first = 0; claimed = 0; published = 0; cursor = 0
    :: attempt == ATTEMPTS -> goto out
    od;
    claimed = 0; published = 0; first = 0;
    do
    :: cursor < POSITIONS ->
        load(READER, GENERATION(cursor % SLOTS), first); /* R1 */
        if
        :: first == WORD(cursor, PUBLISHED_) ->
            load(READER, ONE(cursor % SLOTS), word);
            load(READER, GENERATION(cursor % SLOTS), second); /* R2 */
            if
            :: second == first ->
                assert(word == CONTENT(cursor));
                cursor++;
                store_release(READER, GATE, cursor + 1) /* H3 */
            :: else -> assert(evicted); break
            fi
        :: first / 4 > cursor -> assert(evicted); break
        :: else -> break /* Nothing there: it may leave as well as wait. */
        fi;
        word = 0; second = 0; first = 0
    :: else -> break
    od;
out:
    store_release(READER, GATE, 0)
}

init { atomic { run drain(WRITER); run drain(READER); run writer(); run reader() } }
