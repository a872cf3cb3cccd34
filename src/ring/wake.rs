//! Sleeping and waking without a lost wake-up, and without a lasting cost if a sleeper dies.
//!
//! The futex word is `wake_sequence` in the data segment, which readers can wait on with a read-only
//! mapping. Whether a wake-up call is worth making is told by `waiters` in the control segment.
//!
//! ```text
//! reader                                        writer
//!   token = wake_sequence       (Acquire)         published = p + 1
//!   waiters = 1                 (Relaxed)         fence(SeqCst)                    // W4
//!   fence(SeqCst)               // R4             if waiters == 0: done
//!   a message there after all?  -> take it        waiters = 0           (Relaxed)
//!   FUTEX_WAIT(wake_sequence, token)              wake_sequence += 1    (Release)  // W5
//!                                                 FUTEX_WAKE(all)
//! ```
//!
//! *Nobody sleeps through a message.* By W4/R4 either the reader sees the message when it looks again,
//! or the writer sees `waiters` raised. In the second case the writer moves `wake_sequence` on and
//! wakes: a reader that is asleep is woken, one that has not yet called FUTEX_WAIT finds the word
//! changed. What remains is a reader whose `waiters = 1` is overwritten by a `waiters = 0` that
//! belongs to an *earlier* message. If its token is the number from before that wake, FUTEX_WAIT
//! refuses; if it is the number from after, then it read what the writer stored after `waiters = 0`
//! (W5/R5), so its own `waiters = 1` came later and was not overwritten.
//!
//! *A dead sleeper costs one wake-up call.* The writer lowers the word itself, so a reader killed in
//! its sleep leaves nothing raised after the next message. A counter would stay raised for ever.

use super::consume::{Cursor, Look};
use crate::crash;
use crate::layout::{Live, SlotTable, Waiters};
use crate::sync::{Ordering, Point, at, fence, is_missing, load_at_u32};

/// Reader: says that it is about to sleep. Returns the value to wait on; the caller looks for a
/// message once more before it does.
#[inline]
pub fn announce(live: &Live, waiters: &Waiters) -> u32 {
    let token = load_at_u32(Point::R5, &live.wake_sequence); // R5, pairs with W5
    // Relaxed: ordered against the second look by the fence.
    waiters.word.store(1, Ordering::Relaxed);
    crash::point("sleep: waiters raised");
    fence(Point::R4, Ordering::SeqCst); // R4, pairs with W4
    token
}

/// Reader: whether there still is nothing at the cursor, after [`announce`]; only then may it sleep.
#[inline]
pub fn may_sleep<T: SlotTable>(table: &T, cursor: &mut Cursor) -> bool {
    matches!(cursor.look(table), Look::Nothing) || is_missing(Point::R4Look)
}

/// Writer: whether a wake-up call has to be made after a publish. If so, the word to be woken on has
/// been moved.
#[inline]
pub fn must_wake(live: &Live, waiters: &Waiters) -> bool {
    fence(Point::W4, Ordering::SeqCst); // W4, pairs with R4
    // Relaxed: ordered after the publish by the fence.
    if waiters.word.load(Ordering::Relaxed) == 0 {
        return false;
    }
    // Relaxed: the Release store below makes it visible to whoever reads the new number.
    waiters.word.store(0, Ordering::Relaxed);
    crash::point("wake: waiters lowered");
    if !is_missing(Point::W5Move) {
        move_on(live);
    }
    crash::point("wake: futex word moved");
    true
}

/// Writer: moves the futex word without asking whether anyone sleeps; for news that is not a message.
pub fn move_on(live: &Live) {
    // Relaxed load: the writer is the only one to store here.
    let sequence = live.wake_sequence.load(Ordering::Relaxed);
    live.wake_sequence.store(sequence.wrapping_add(1), at(Point::W5, Ordering::Release)); // W5, pairs with R5
}
