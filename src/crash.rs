//! Named points at which a test kills the process: one in every step that another process could be left
//! half-way by.
//!
//! Compiled in only with `--cfg qads_crash` (`make crash`); otherwise a point is nothing. The process whose
//! environment says `QADATASWAP_CRASH_POINT=NAME` kills itself with SIGKILL when it comes to that point,
//! with `NAME:COUNT` the COUNT-th time.

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

/// A point that has been reached: the end, if it is the one that the environment names.
#[cfg(qads_crash)]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;

    use crate::sync::{AtomicU64, Ordering};

    struct Wanted {
        name: String,
        left: AtomicU64,
    }
    static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();

    assert!(POINTS.contains(&name), "{name} is not in the list of points");
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("QADATASWAP_CRASH_POINT").ok()?;
        // A name has a colon of its own, and the count, if there is one, comes after the last.
        let (name, count) = match text.rsplit_once(':') {
            Some((name, count)) if count.parse::<u64>().is_ok() => (name, count.parse().ok()?),
            _ => (text.as_str(), 1),
        };
        Some(Wanted { name: name.to_owned(), left: AtomicU64::new(count) })
    });
    if let Some(wanted) = wanted
        && wanted.name == name
        && wanted.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // SAFETY: plain system calls; the second does not return.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}
