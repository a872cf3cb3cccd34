//! Named points at which a test kills the process: one in every step that another process could be left
//! half-way by.
//!
//! Compiled in only with `--cfg qads_crash` (`make crash`); otherwise a point is nothing. The process whose
//! environment says `QADATASWAP_CRASH_POINT=NAME` kills itself with SIGKILL when it comes to that point,
//! with `NAME:COUNT` the COUNT-th time. [`arm`] says so later, when what leads there has been done; [`arm_stop`]
//! has it stop there instead, so that others can act in between, until somebody sends it SIGCONT.

/// The points, by what has just been done.
#[cfg(qads_crash)]
pub const POINTS: &[&str] = &[
    "create: object made",
    "create: object locked",
    "create: control segment made",
    "create: header stored",
    "create: ready",
    "take over: locked",
    "take over: place found",
    "take over: owner stored",
    "take over: position announced",
    "take over: opened",
    "claim: claimed stored",
    "claim: gates passed",
    "claim: writing stored",
    "skip: sequence stored",
    "skip: skipped stored",
    "payload: half stored",
    "publish: payload stored",
    "publish: head stored",
    "publish: published stored",
    "publish: announced",
    "wake: waiters lowered",
    "wake: futex word moved",
    "wait for gate: blocked stored",
    "reclaim: entry locked",
    "reclaim: entry cleared",
    "roll over: gates passed",
    "roll over: object made",
    "roll over: messages carried over",
    "roll over: ready",
    "roll over: renamed",
    "roll over: marked",
    "end: state stored",
    "remove: control segment removed",
    "register: entry taken",
    "register: filled in",
    "register: entry cleared",
    "join: joining stored",
    "join: bit raised",
    "join: joins moved",
    "settle: gate stored",
    "gate: moved",
    "leave: gate withdrawn",
    "lease: announced",
    "lease: stored",
    "lease: confirmed",
    "lease: released",
    "consume: copied",
    "sleep: waiters raised",
];

/// A point that has been reached.
#[cfg(not(qads_crash))]
#[inline(always)]
pub fn point(_name: &'static str) {}

#[cfg(qads_crash)]
mod armed {
    use std::sync::OnceLock;

    use super::POINTS;
    use crate::sync::{AtomicU64, Ordering};

    /// Where this process is to end.
    struct Wanted {
        name: String,
        left: AtomicU64,
        signal: libc::c_int,
    }

    impl Wanted {
        /// From `NAME` or `NAME:COUNT`. (A name has a colon of its own.)
        fn parse(text: &str, signal: libc::c_int) -> Self {
            let count = text.rsplit_once(':').and_then(|(name, count)| {
                let count = count.parse().ok()?;
                Some((name, count))
            });
            let (name, count) = count.unwrap_or((text, 1));
            check(name);
            Self { name: name.to_owned(), left: AtomicU64::new(count), signal }
        }

        fn meet(&self, name: &str) {
            if self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                // To this thread, which gets it before it goes on.
                // SAFETY: a plain system call; at SIGKILL it does not return.
                unsafe { libc::raise(self.signal) };
            }
        }
    }

    static FROM_ENVIRONMENT: OnceLock<Option<Wanted>> = OnceLock::new();
    static ARMED: OnceLock<Wanted> = OnceLock::new();

    fn check(name: &str) {
        assert!(POINTS.contains(&name), "{name} is not in the list of points");
    }

    /// Has this process end at a point, `NAME` or `NAME:COUNT`, that it comes to from now on.
    ///
    /// # Panics
    /// If there is no such point, or the second time.
    pub fn arm(point: &str) {
        assert!(ARMED.set(Wanted::parse(point, libc::SIGKILL)).is_ok(), "armed already");
    }

    /// [`arm`], but it stops there as if by SIGSTOP.
    ///
    /// # Panics
    /// As [`arm`].
    pub fn arm_stop(point: &str) {
        assert!(ARMED.set(Wanted::parse(point, libc::SIGSTOP)).is_ok(), "armed already");
    }

    /// A point that has been reached: the end, if it is the one that was named.
    pub fn point(name: &'static str) {
        check(name);
        let from_environment = FROM_ENVIRONMENT.get_or_init(|| {
            let text = std::env::var("QADATASWAP_CRASH_POINT").ok()?;
            Some(Wanted::parse(&text, libc::SIGKILL))
        });
        for wanted in from_environment.iter().chain(ARMED.get()) {
            wanted.meet(name);
        }
    }
}
#[cfg(qads_crash)]
pub use armed::{arm, arm_stop, point};
