/*
 * Publishing beside a reader that copies and may be lapped. Positions may be passed over (as if leased). With KILL the
 * writer is killed between any two of its steps, and another takes over.
 *
 * Checked: what the reader believes is one message, whole, and the one of its position and number; consumed and
 * lost make up everything that was published; no position is published twice; no reader waits for what is past.
 *
 * Also checked with: -DKILL -DPOSITIONS=3
 */
#define SLOTS 2
#ifdef BROKEN_RECOVERWRITING
#define KILL
#define POSITIONS 3
#endif
#ifndef POSITIONS
#define POSITIONS 4
#endif
#define THREADS 2
#define WRITER 0
#define READER 1 /* Stores nothing. */
/* Of slot s: generation, two words of payload, sequence. */
#define GENERATION(s) (s)
#define ONE(s) (SLOTS + (s))
#define TWO(s) (2 * SLOTS + (s))
#define SEQUENCE(s) (3 * SLOTS + (s))
#define PUBLISHED (4 * SLOTS)
#define MESSAGES (4 * SLOTS + 1)
#define PLACES (4 * SLOTS + 2)
#include "memory.pml"

#define WORD(position, state) ((position) * 4 + (state))
#define WRITING_ 1
#define PUBLISHED_ 2
#define SKIPPED_ 3
/* What a message's words are: its number, and who wrote it. */
#define CONTENT(sequence) ((sequence) * 2 + 2 + taken_over)

byte messages; /* Published in the end. */
#ifdef KILL
bool killed_;
proctype killer() { killed_ = true }
#endif
bool ended, issued[POSITIONS], taken_over;

inline issue() {
    assert(!issued[position]);
    issued[position] = true
}

inline take() {
    store(WRITER, GENERATION(position % SLOTS), WORD(position, WRITING_));
#ifndef BROKEN_W1
    release_fence(WRITER);
#endif
    skip
}

/* From `position` on to the end. */
inline write() {
    do
    :: position < POSITIONS ->
        if
        :: take();
            store(WRITER, SEQUENCE(position % SLOTS), sequence);
            store(WRITER, ONE(position % SLOTS), CONTENT(sequence));
            store(WRITER, TWO(position % SLOTS), CONTENT(sequence));
            atomic {
#ifdef BROKEN_W2
                store(WRITER, GENERATION(position % SLOTS), WORD(position, PUBLISHED_));
#else
                store_release(WRITER, GENERATION(position % SLOTS), WORD(position, PUBLISHED_));
#endif
                issue()
            };
            sequence++
        :: position > 0 && position + 1 < POSITIONS ->
#ifndef BROKEN_SKIPWRITING
            take();
#endif
            store(WRITER, SEQUENCE(position % SLOTS), sequence);
            atomic {
                store_release(WRITER, GENERATION(position % SLOTS), WORD(position, SKIPPED_));
                issue()
            }
        fi;
        position++;
#ifdef BROKEN_W3
        store(WRITER, MESSAGES, sequence);
        store(WRITER, PUBLISHED, position)
#else
        store_release(WRITER, MESSAGES, sequence);
        store_release(WRITER, PUBLISHED, position)
#endif
    :: else -> break
    od
}

/* One slot's part in finding the place: after what is published or skipped, or at what is being written. */
inline recover(s) {
    load(WRITER, GENERATION(s), word);
    if
    :: word % 4 == WRITING_ && word / 4 >= position ->
#ifdef BROKEN_RECOVERWRITING
        position = word / 4 + 1
#else
        position = word / 4
#endif
    :: word % 4 >= PUBLISHED_ && word / 4 + 1 > position -> position = word / 4 + 1
    :: else
    fi
}

proctype writer() {
    byte position, sequence;
#ifdef KILL
    byte word;
    {
        write()
    } unless { killed_ };
    /* The kernel's lock: what the dead writer stored is there. */
    full_fence(WRITER);
    taken_over = true;
    position = 0; sequence = 0;
    recover(0);
    recover(1);
    if
    :: position > 0 ->
        load(WRITER, GENERATION((position - 1) % SLOTS), word);
        load(WRITER, SEQUENCE((position - 1) % SLOTS), sequence);
        sequence = sequence + (word == WORD(position - 1, PUBLISHED_))
    :: else
    fi;
    word = 0;
    store_release(WRITER, MESSAGES, sequence);
    store_release(WRITER, PUBLISHED, position);
#endif
    write();
    messages = sequence;
    full_fence(WRITER);
    ended = true
}

/* Reads a slot: generation, then the words in any order, then the generation again. The words mean nothing
 * unless `first` is `second`. */
#ifdef BROKEN_R2LOOK
#define INTACT true
#else
#define INTACT (first == second)
#endif
inline look(s) {
    first = 0; second = 0; one = 0; two = 0; number = 0; seen = 0;
    do
#ifdef BROKEN_R1
    :: !(seen & 1) -> load(READER, GENERATION(s), first); seen = seen | 1
#define AFTER_FIRST true
#else
    :: seen == 0 -> load(READER, GENERATION(s), first); seen = 1
#define AFTER_FIRST (seen & 1)
#endif
    :: AFTER_FIRST && !(seen & 2) -> load(READER, ONE(s), one); seen = seen | 2
    :: AFTER_FIRST && !(seen & 4) -> load(READER, TWO(s), two); seen = seen | 4
    :: AFTER_FIRST && !(seen & 8) -> load(READER, SEQUENCE(s), number); seen = seen | 8
    /* The generation's two loads are of one place and stay in order. */
#ifdef BROKEN_R2
    :: (seen & 1) && !(seen & 16) -> load(READER, GENERATION(s), second); seen = seen | 16
#else
    :: seen == 15 -> load(READER, GENERATION(s), second); seen = seen | 16
#endif
    :: seen == 31 -> break
    od
}

proctype reader() {
    byte cursor, expected, consumed, lost;
    byte first, second, one, two, number, seen, published, target, found;
    bool was_ended;
    do
    :: cursor == POSITIONS -> break
    :: cursor < POSITIONS ->
        was_ended = ended;
        look(cursor % SLOTS);
        if
        :: first == WORD(cursor, PUBLISHED_) && INTACT ->
            assert(one == two);
            assert(one / 2 == number + 1);
            assert(number == expected);
            consumed++; expected++; cursor++
        :: first == WORD(cursor, SKIPPED_) -> cursor++
        :: first / 4 > cursor || (first == WORD(cursor, PUBLISHED_) && !INTACT) ->
            /* Lapped: to one slot behind the writer. */
            load(READER, PUBLISHED, published); /* R3: loads that follow are made after it. */
            target = (published > cursor + 1 -> published - 1 : cursor);
            found = 0;
            if
            :: target == published -> skip
            :: else ->
                look(target % SLOTS);
                if
                :: first / 4 == target && first % 4 >= PUBLISHED_ && INTACT -> found = 1
                :: else ->
                    target = published;
                    if
                    :: published <= cursor -> skip
                    :: else ->
                        look(target % SLOTS);
                        if
                        :: first / 4 == target && first % 4 >= PUBLISHED_ && INTACT -> found = 1
                        :: else ->
                            load(READER, GENERATION(target % SLOTS), first);
                            load(READER, MESSAGES, number);
                            load(READER, GENERATION(target % SLOTS), second);
                            found = (first == WORD(target, WRITING_) && INTACT)
                        fi
                    fi
                fi
            fi;
            if
            :: found ->
                assert(number >= expected);
                assert(number - expected <= target - cursor);
                lost = lost + number - expected;
                expected = number; cursor = target
            :: else -> assert(!was_ended)
            fi
        :: else -> assert(!was_ended) /* Nothing yet. */
        fi;
        first = 0; second = 0; one = 0; two = 0; number = 0; seen = 0; published = 0; target = 0; found = 0
    od;
    ended;
    assert(consumed + lost == messages)
}

init {
    atomic {
#ifdef KILL
        run killer();
#endif
        run drain(WRITER);
        run writer();
        run reader()
    }
}
