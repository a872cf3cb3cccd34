//! Owner locks: who is alive, as the kernel knows it.
//!
//! An open-file-description lock on one byte is released by the kernel when the last descriptor of
//! its description goes, however the process ends and in whatever pid namespace it lived.
//! See `fcntl(2)`, "Open file description locks".

use super::{Segment, SysError};

impl Segment {
    /// Takes the lock on the byte at `offset`; `false` if another open description holds it.
    ///
    /// The lock is released when the segment is dropped.
    pub fn try_lock(&self, offset: u64) -> Result<bool, SysError> {
        match self.lock_call(libc::F_OFD_SETLK, libc::F_WRLCK, offset) {
            Ok(_) => Ok(true),
            Err(e) if e.errno == libc::EAGAIN || e.errno == libc::EACCES => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Gives back the lock on the byte at `offset`.
    pub fn unlock(&self, offset: u64) -> Result<(), SysError> {
        self.lock_call(libc::F_OFD_SETLK, libc::F_UNLCK, offset).map(|_| ())
    }

    /// Whether another open description holds the lock on the byte at `offset`.
    ///
    /// Works on objects opened read-only.
    pub fn is_locked_elsewhere(&self, offset: u64) -> Result<bool, SysError> {
        let found = self.lock_call(libc::F_OFD_GETLK, libc::F_WRLCK, offset)?;
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
