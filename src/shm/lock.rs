//! Owner locks: who is alive, as the kernel knows it.
//!
//! An open-file-description lock on one byte is released by the kernel when the last descriptor of
//! its description goes, however the process ends and in whatever pid namespace it lived.
//! See `fcntl(2)`, "Open file description locks".
//!
//! Owners lock exclusively, which takes the right to write. Whoever may read can take *shared* locks: those
//! say nothing about any owner, though they do keep an exclusive one from being had.

use super::{Segment, SysError};

/// What came of a try to become an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The lock is had.
    Had,
    /// A living owner has it.
    Owned,
    /// It has no owner, but somebody who may read the object holds shared locks on it: the pid, if it is known.
    Obstructed(u32),
}

impl Segment {
    /// Tries to take the lock on the byte at `offset`.
    ///
    /// It is released when the segment is dropped.
    pub fn try_lock(&self, offset: u64) -> Result<Lock, SysError> {
        loop {
            match self.lock_call(libc::F_OFD_SETLK, libc::F_WRLCK, offset) {
                Ok(_) => return Ok(Lock::Had),
                Err(e) if e.errno == libc::EAGAIN || e.errno == libc::EACCES => {}
                Err(e) => return Err(e),
            }
            let found = self.lock_call(libc::F_OFD_GETLK, libc::F_WRLCK, offset)?;
            match i32::from(found.l_type) {
                // It was given back meanwhile.
                libc::F_UNLCK => {}
                libc::F_WRLCK => return Ok(Lock::Owned),
                // The pid is -1 for locks of open file descriptions.
                _ => return Ok(Lock::Obstructed(u32::try_from(found.l_pid).unwrap_or(0))),
            }
        }
    }

    /// Gives back the lock on the byte at `offset`.
    pub fn unlock(&self, offset: u64) -> Result<(), SysError> {
        self.lock_call(libc::F_OFD_SETLK, libc::F_UNLCK, offset).map(|_| ())
    }

    /// Whether the byte at `offset` has an owner: another open description that holds its lock.
    ///
    /// Works on objects opened read-only.
    pub fn is_locked_elsewhere(&self, offset: u64) -> Result<bool, SysError> {
        // Asking for a shared lock: only an exclusive one is in its way.
        let found = self.lock_call(libc::F_OFD_GETLK, libc::F_RDLCK, offset)?;
        Ok(i32::from(found.l_type) != libc::F_UNLCK)
    }

    fn lock_call(
        &self,
        command: libc::c_int,
        kind: libc::c_int,
        offset: u64,
    ) -> Result<libc::flock, SysError> {
        // SAFETY: `flock` is a plain C struct for which all zeroes is a value; `l_pid` has to be zero
        // for these commands.
        let mut request: libc::flock = unsafe { std::mem::zeroed() };
        request.l_type = kind as libc::c_short;
        request.l_whence = libc::SEEK_SET as libc::c_short;
        request.l_start = offset as libc::off_t;
        request.l_len = 1;
        loop {
            // SAFETY: the descriptor is open as long as `self`, and `request` outlives the call.
            let done = unsafe { libc::fcntl(self.fd(), command, &mut request) };
            if done == 0 {
                return Ok(request);
            }
            let error = SysError::last("fcntl(F_OFD_SETLK/GETLK)");
            if error.errno != libc::EINTR {
                return Err(error);
            }
        }
    }
}
