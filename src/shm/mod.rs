//! The operating system's side: shared-memory objects, mappings, owner locks, fork.
//!
//! Nothing here knows what the bytes mean. The layers above see a [`Segment`] (an open object and
//! its mapping) and [`SysError`] (which call failed, and how).
//!
//! On Linux a POSIX shared-memory object is a file below `/dev/shm`. Objects are opened with
//! `shm_open`; only what POSIX has no call for (rename over a name, asking whether a name still
//! means the same object) goes through that path.

mod fork;
mod lock;
mod object;
mod process;

pub use fork::{TrackedFd, generation as fork_generation};
pub use lock::Lock;
pub use object::{Access, Backing, Segment, id_of, is_empty, objects_with_prefix, rename, unlink};
pub use process::{Process, random_id};

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysError {
    /// Name of the call, as in its manual page.
    pub call: &'static str,
    /// The error number it gave.
    pub errno: i32,
}

impl SysError {
    /// The error that the call just made has left in `errno`.
    fn last(call: &'static str) -> Self {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Self { call, errno }
    }
}
