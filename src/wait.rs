//! Waiting: how long, by which means, and the two futex calls.

use std::time::{Duration, Instant};

use crate::sync::AtomicU32;

/// How a reader waits for the next message.
///
/// ```
/// use qadataswap::{ReaderOptions, WaitStrategy};
///
/// // A core of its own: never give it up.
/// let options = ReaderOptions::new().wait(WaitStrategy::Spin);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStrategy {
    /// Poll until the message comes. Lowest latency; takes a whole core.
    Spin,
    /// Poll for this long, then sleep. The default, with 50 us.
    SpinThenSleep(Duration),
    /// Poll, and offer the core to whoever else is ready after each look. For processes that share cores and all wait
    /// so; beside one that never waits it may have to do without the core for some milliseconds at a time.
    Yield,
    /// Sleep at once. Takes no processor time while waiting; a wake-up costs some microseconds.
    Sleep,
}

impl Default for WaitStrategy {
    fn default() -> Self {
        Self::SpinThenSleep(Duration::from_micros(50))
    }
}

/// How long one sleep may last, whoever is expected to end it: the reader then looks for what nobody
/// wakes it for (a writer that was killed in the middle of a rollover, a removed ring).
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// Sleeps of a reader that cannot ask to be woken: from the first to the last in powers of two.
const FIRST_BLIND_SLEEP: Duration = Duration::from_micros(50);
const LONGEST_BLIND_SLEEP: Duration = Duration::from_millis(1);
/// Polls between two looks at the clock.
pub(crate) const POLLS_PER_CLOCK: u32 = 64;

/// What a waiting reader should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look again at once, and up to [`POLLS_PER_CLOCK`] times.
    Poll,
    /// Look again, and at what changes rarely too.
    PollAll,
    /// Offer the core to others, then the same.
    Yield,
    /// Sleep for at most this long.
    Sleep(Duration),
    /// The time is up.
    Expired,
}

/// One wait: from the first look that found nothing to the message or the time limit.
#[derive(Debug)]
pub(crate) struct Wait {
    strategy: WaitStrategy,
    timeout_ms: u64,
    /// Whether the last step was [`Step::Poll`].
    has_polled: bool,
    /// Set at the first step that needs the time.
    started: Option<Instant>,
    blind_sleep: Duration,
}

impl Wait {
    pub(crate) fn new(strategy: WaitStrategy, timeout_ms: u64) -> Self {
        Self {
            strategy,
            timeout_ms,
            has_polled: false,
            started: None,
            blind_sleep: FIRST_BLIND_SLEEP,
        }
    }

    /// Decides on the next step after a look that found nothing.
    #[inline]
    pub(crate) fn step(&mut self, can_be_woken: bool) -> Step {
        if self.timeout_ms == 0 {
            return Step::Expired;
        }
        self.has_polled ^= true;
        let gives_way = matches!(self.strategy, WaitStrategy::Yield | WaitStrategy::Sleep);
        if self.has_polled && !gives_way {
            return Step::Poll;
        }
        let waited = self.started.get_or_insert_with(Instant::now).elapsed();
        let left = match Duration::from_millis(self.timeout_ms).checked_sub(waited) {
            None | Some(Duration::ZERO) => return Step::Expired,
            Some(left) => left,
        };
        match self.strategy {
            WaitStrategy::Spin => Step::PollAll,
            WaitStrategy::Yield => Step::Yield,
            WaitStrategy::SpinThenSleep(spin) if waited < spin => Step::PollAll,
            _ if can_be_woken => Step::Sleep(left.min(LONGEST_SLEEP)),
            _ => {
                let sleep = self.blind_sleep;
                self.blind_sleep = (sleep * 2).min(LONGEST_BLIND_SLEEP);
                Step::Sleep(left.min(sleep))
            }
        }
    }
}

/// Sleeps until woken, for at most `limit`, if `word` still is `expected`. May return early.
///
/// The word may lie in a read-only mapping. Time is CLOCK_MONOTONIC: steps of the wall clock change
/// nothing.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, limit: Duration) {
    let timeout = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: limit.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the word is mapped as long as the reference lives, the timeout outlives the call, and
    // the kernel only reads both. Whatever it returns (woken, changed, time up, signal), the caller
    // looks again. Not FUTEX_PRIVATE: the waker is another process.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        )
    };
}

/// Wakes everybody who sleeps on `word`, in all processes.
pub(crate) fn futex_wake_all(word: &AtomicU32) {
    // SAFETY: the word is mapped as long as the reference lives; the call touches no memory.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
