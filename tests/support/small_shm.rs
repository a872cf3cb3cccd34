//! A `/dev/shm` of one process's own, as small as a test wants it.
//!
//! A child gets a mount namespace of its own with a fresh tmpfs on `/dev/shm`; nothing outside it
//! changes. That takes root, or a kernel that lets anybody make user namespaces.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;

use super::{Child, command};

/// Starts `role` in a process that sees an empty `/dev/shm` of `bytes` bytes. `None`, said on the
/// terminal, where that is not permitted.
pub fn spawn(role: &str, arguments: &[&str], bytes: u64) -> Option<Child> {
    let mount = Mount::new(bytes);
    let mut command = command(role, arguments);
    // SAFETY: the closure runs between fork and exec and makes only system calls on memory that was
    // prepared before the fork.
    unsafe { command.pre_exec(move || mount.enter()) };
    match Child::start(command) {
        Ok(child) => Some(child),
        Err(error) => {
            println!("skipped: no /dev/shm of one's own to be had here ({error})");
            None
        }
    }
}

/// Everything that is needed after the fork, where nothing may be allocated.
struct Mount {
    size: CString,
    user_map: Option<[(CString, String); 3]>,
}

impl Mount {
    fn new(bytes: u64) -> Self {
        // SAFETY: a plain system call without arguments.
        let user = unsafe { libc::geteuid() };
        // SAFETY: as above.
        let group = unsafe { libc::getegid() };
        let file = |name: &str| CString::new(format!("/proc/self/{name}")).expect("no NUL");
        let user_map = (user != 0).then(|| {
            [
                (file("setgroups"), "deny".to_owned()),
                (file("uid_map"), format!("0 {user} 1")),
                (file("gid_map"), format!("0 {group} 1")),
            ]
        });
        Self { size: CString::new(format!("size={bytes}")).expect("no NUL"), user_map }
    }

    fn enter(&self) -> io::Result<()> {
        let user = if self.user_map.is_some() { libc::CLONE_NEWUSER } else { 0 };
        // SAFETY: a plain system call in a process of one thread.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS | user) })?;
        for (path, text) in self.user_map.iter().flatten() {
            // SAFETY: the path is NUL-terminated and outlives the call.
            let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
            check(fd)?;
            // SAFETY: the descriptor is open, and the text outlives the call.
            let done = unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
            check(done as libc::c_int)?;
        }
        let none = c"none".as_ptr();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: all strings are NUL-terminated and static; nothing is read from the null pointers.
        check(unsafe {
            libc::mount(none, c"/".as_ptr(), std::ptr::null(), private, std::ptr::null())
        })?;
        let (tmpfs, target) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        // SAFETY: all strings are NUL-terminated and outlive the call.
        check(unsafe { libc::mount(tmpfs, target, tmpfs, flags, self.size.as_ptr().cast()) })
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
