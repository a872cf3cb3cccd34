/*
 * A reader that leases messages, and may keep one while it goes on to others, beside a writer that overwrites them,
 * passes over them, or is refused one and asks for it again. The reader says from which position on it may lease, and
 * the writer keeps what it read of that. What an earlier owner of the reader's entry said still stands there.
 *
 * Checked: what is read under a lease is the message that was found, until the lease has ended.
 *
 * Also checked with: -DSLOTS=1 -DLOOKS=4
 * Also checked with: -DSLOTS=3 -DPOSITIONS=5
 * Also checked with: -DPOSITIONS=5
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef POSITIONS
#define POSITIONS 4
#endif
#ifndef LOOKS
#define LOOKS 3
#endif
#define THREADS 2
#define WRITER 0
#define READER 1
/* Of slot s: generation, two words of payload. */
#define GENERATION(s) (s)
#define ONE(s) (SLOTS + (s))
#define TWO(s) (2 * SLOTS + (s))
#define CLAIMED (3 * SLOTS)
#define JOINS (3 * SLOTS + 1)
#define LEASING (3 * SLOTS + 2) /* The mask; one entry, with two leases. */
#define FROM (3 * SLOTS + 3)
#define LEASE(n) (3 * SLOTS + 4 + (n))
#define PLACES (3 * SLOTS + 6)
#include "memory.pml"

#define WORD(position, state) ((position) * 4 + (state))
#define WRITING_ 1
#define PUBLISHED_ 2
#define SKIPPED_ 3
#define CONTENT(position) ((position) + 1)
#define LAST 255

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

/* Whether the entry leases the slot. */
inline look_at_leases() {
    load(WRITER, LEASE(0), word);
    leased = (word == position % SLOTS + 1);
    load(WRITER, LEASE(1), word);
    leased = leased || word == position % SLOTS + 1;
    word = 0
}

/* Whether the entry may lease the slot, and up to which position that need not be asked again unless it joins. */
inline look() {
    load(WRITER, JOINS, joins);
    load(WRITER, LEASING, word);
    if
    :: word ->
        load(WRITER, FROM, word);
#ifdef BROKEN_LEASEFROMLOOK
        limit = word + SLOTS
#else
        may = (word + SLOTS <= position);
#ifdef BROKEN_LOOKAGAIN
        /* As if a position was claimed but once. */
        limit = (may -> position + 1 : word + SLOTS)
#else
        limit = (may -> position : word + SLOTS)
#endif
#endif
    :: else -> limit = LAST
    fi;
    word = 0
}

proctype writer() {
    byte position, joins, limit, word;
    bit may, leased, refused;
    do
    :: position < POSITIONS ->
        store(WRITER, CLAIMED, position + 1);
#ifndef BROKEN_H1
        full_fence(WRITER);
#endif
        load(WRITER, JOINS, word);
        if
        :: word != joins || position >= limit -> word = 0; look()
        :: else -> word = 0
        fi;
        if
        :: !may -> take(); publish(); position++
        :: else ->
            look_at_leases();
            if
            :: leased -> take(); pass_over(); position++
            :: leased && !refused ->
                /* The write is refused, and the next one claims the same position. */
                refused = 1;
                store_release(WRITER, CLAIMED, position) /* H1Back */
            :: !leased ->
                take();
#ifndef BROKEN_L1
                full_fence(WRITER);
#endif
#ifndef BROKEN_L1LOOK
                look_at_leases();
#endif
                if
                :: leased -> pass_over()
                :: else -> publish()
                fi;
                position++
            fi
        fi;
        may = 0; leased = 0
    :: else -> break
    od
}

/* What is read under the lease must be the message. */
inline check(where, position) {
    load(READER, where, word);
    assert(word == CONTENT(position));
    word = 0
}

inline begin_leasing() {
#ifndef BROKEN_LEASEFROMZERO
    store(READER, FROM, 0);
#endif
    /* An exchange is in memory at once; one that releases comes after what was stored before. */
    memory[LEASING] = 1;
#ifdef BROKEN_H2LEASE
    /* Without the fence, what comes after may be loaded before. */
    load(READER, CLAIMED, word);
#endif
#ifndef BROKEN_LEASEJOINS
#ifdef BROKEN_JOINSRELEASE
    memory[JOINS] = memory[JOINS] + 1;
#else
    atomic { buffer[READER].count == 0; memory[JOINS] = memory[JOINS] + 1 };
#endif
#endif
#ifndef BROKEN_H2LEASE
    full_fence(READER);
    load(READER, CLAIMED, word);
#endif
#ifdef BROKEN_LEASEFLOOR
    word = 0;
#endif
    floor = (word > SLOTS -> word - SLOTS : 0);
    word = 0
}

/* The message is read once more, and then its lease ends. */
inline end_lease(which, message) {
#ifdef BROKEN_H3
    /* Without the release the last read may be made after the lease has ended. */
    store(READER, LEASE(which), 0);
    check(ONE((message / 4) % SLOTS), message / 4)
#else
#ifdef BROKEN_H3FROM
    /* The same with what is said of the next one. */
    if
    :: !kept || kept == message -> store(READER, FROM, message / 4 + 1)
    :: else
    fi;
#endif
    check(ONE((message / 4) % SLOTS), message / 4);
    store_release(READER, LEASE(which), 0)
#endif
}

proctype reader() {
    byte looks, s, first, second, floor, cursor, word;
    byte kept; /* The message that is, by the other lease. */
    bit number; /* Of the lease that comes next. */
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
        :: first % 4 == PUBLISHED_ && first / 4 >= floor && first / 4 >= cursor ->
            cursor = first / 4;
#ifdef BROKEN_LEASEFROMHELD
            /* Said too early: an earlier message is leased. */
            store_release(READER, FROM, cursor);
#else
            word = (kept -> kept / 4 : cursor);
            store_release(READER, FROM, word);
            word = 0;
#endif
            store_release(READER, LEASE(number), s + 1);
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
                check(ONE(s), first / 4);
                check(TWO(s), first / 4);
                if
                :: !kept -> kept = first; number = !number
                :: end_lease(number, first)
                fi
#ifndef BROKEN_L2LOOK
            :: else -> store_release(READER, LEASE(number), 0)
#endif
            fi
        :: first % 4 == PUBLISHED_ && first / 4 < floor ->
            /* A claim was under way when leasing began: another look at how far it has got. */
            begin_leasing()
        :: else
        fi;
        first = 0; second = 0; s = 0;
        if
        :: kept -> end_lease(!number, kept); kept = 0
        :: !kept || looks < LOOKS
        fi
    :: else -> break
    od
}

init {
    atomic {
        memory[FROM] = POSITIONS;
        run drain(WRITER); run drain(READER); run writer(); run reader()
    }
}
