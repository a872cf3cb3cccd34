//! Shared-memory objects: open, size, map, allocate, rename, unlink.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::{SysError, TrackedFd};

/// Where Linux keeps POSIX shared-memory objects; glibc and musl use it without asking.
const DIRECTORY: &str = "/dev/shm";

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Opened `O_RDONLY`, mapped `PROT_READ`.
    Read,
    /// Opened `O_RDWR`, mapped `PROT_READ | PROT_WRITE`, though nothing is stored.
    ReadWritable,
    /// Opened `O_RDWR`, mapped `PROT_READ | PROT_WRITE`.
    ReadWrite,
}

impl Access {
    fn flags(self) -> libc::c_int {
        match self {
            Self::Read => libc::O_RDONLY,
            Self::ReadWritable | Self::ReadWrite => libc::O_RDWR,
        }
    }
}

/// How the pages behind a mapping are to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backing {
    /// Fault pages in now rather than on first use.
    pub prefault: bool,
    /// Keep pages in memory once they are there (`MLOCK_ONFAULT`).
    pub lock: bool,
    /// Ask for transparent huge pages. Advice only: the kernel may have them off.
    pub huge_pages: bool,
}

/// What the file system says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Its size.
    pub bytes: u64,
    /// Bytes of it that have memory.
    pub committed_bytes: u64,
    /// Permissions.
    pub mode: u32,
    /// User id of its owner.
    pub owner: u32,
}

/// An open shared-memory object and its mapping.
#[derive(Debug)]
pub struct Segment {
    fd: TrackedFd,
    mapping: Mapping,
}

/// Nothing is mapped if `len` is zero. (Not an `Option`, which each look at a slot would have to take apart.)
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    const NONE: Self = Self { start: NonNull::dangling(), len: 0 };
}

// SAFETY: a mapping is an address range, usable from any thread; what is stored through it is the
// business of `layout`, which gives out atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; `Mapping` itself has no interior state.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: the range came from mmap and nothing derived from it outlives its owner (the views
        // borrow the Segment).
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Segment {
    /// Creates the object, for its owner alone until [`set_mode`](Self::set_mode); `errno` is `EEXIST` if the
    /// name is taken. Not mapped yet, size zero.
    pub fn create(object: &str) -> Result<Self, SysError> {
        let path = c_string(&format!("/{object}"));
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        let fd = TrackedFd::open("shm_open", || {
            // SAFETY: `path` is a NUL-terminated string that outlives the call.
            unsafe { libc::shm_open(path.as_ptr(), flags, 0o600) }
        })?;
        Ok(Self { fd, mapping: Mapping::NONE })
    }

    /// Sets who may open the object. (The process's umask does not apply to what the user asked for by number.)
    pub fn set_mode(&self, mode: u32) -> Result<(), SysError> {
        // SAFETY: the descriptor is open.
        check("fchmod", unsafe { libc::fchmod(self.fd(), mode as libc::mode_t) })
    }

    /// Opens an existing object. Not mapped yet.
    pub fn open(object: &str, access: Access) -> Result<Self, SysError> {
        let path = c_string(&format!("/{object}"));
        // O_NONBLOCK means nothing to a shared-memory object; a pipe that someone put in its place would
        // otherwise be waited for.
        let fd = TrackedFd::open("shm_open", || {
            // SAFETY: `path` is a NUL-terminated string that outlives the call.
            unsafe {
                libc::shm_open(
                    path.as_ptr(),
                    access.flags() | libc::O_CLOEXEC | libc::O_NONBLOCK,
                    0,
                )
            }
        })?;
        Ok(Self { fd, mapping: Mapping::NONE })
    }

    /// The descriptor, for calls of this layer.
    pub(super) fn fd(&self) -> RawFd {
        self.fd.raw()
    }

    fn stat(&self) -> Result<libc::stat, SysError> {
        // SAFETY: `stat` is a plain C struct for which all zeroes is a value.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `stat` outlives the call.
        check("fstat", unsafe { libc::fstat(self.fd(), &mut stat) })?;
        Ok(stat)
    }

    /// What the file system says of the object.
    pub fn facts(&self) -> Result<ObjectFacts, SysError> {
        let stat = self.stat()?;
        Ok(ObjectFacts {
            bytes: stat.st_size as u64,
            // In blocks of 512 bytes, whatever the file system's own are.
            committed_bytes: stat.st_blocks as u64 * 512,
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
        })
    }

    /// Size in bytes.
    pub fn size(&self) -> Result<u64, SysError> {
        Ok(self.stat()?.st_size as u64)
    }

    /// Whether the object has lost its name: it was unlinked, or another was renamed over it.
    pub fn is_unlinked(&self) -> Result<bool, SysError> {
        Ok(self.stat()?.st_nlink == 0)
    }

    /// What tells this object from all others: device and inode.
    pub fn id(&self) -> Result<(u64, u64), SysError> {
        self.stat().map(|own| (own.st_dev, own.st_ino))
    }

    /// Whether `object` is at this moment the name of this very object.
    pub fn is_named(&self, object: &str) -> Result<bool, SysError> {
        Ok(id_of(object) == Some(self.id()?))
    }

    /// Sets the size; new bytes read as zero and take no memory yet.
    pub fn set_size(&self, bytes: u64) -> Result<(), SysError> {
        // Past RLIMIT_FSIZE the kernel sends SIGXFSZ, which kills, before it reports anything.
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` outlives the call.
        check("getrlimit", unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) })?;
        if limit.rlim_cur != libc::RLIM_INFINITY && bytes > limit.rlim_cur {
            return Err(SysError { call: "ftruncate", errno: libc::EFBIG });
        }
        // SAFETY: the descriptor is open.
        check("ftruncate", unsafe { libc::ftruncate(self.fd(), bytes as libc::off_t) })
    }

    /// Gives the byte range real memory, so that storing to it cannot fail later.
    pub fn allocate(&self, offset: u64, bytes: u64) -> Result<(), SysError> {
        loop {
            // SAFETY: the descriptor is open.
            let done = unsafe {
                libc::fallocate(self.fd(), 0, offset as libc::off_t, bytes as libc::off_t)
            };
            match check("fallocate", done) {
                Err(e) if e.errno == libc::EINTR => continue,
                result => return result,
            }
        }
    }

    /// The first byte at or after `offset` that has memory behind it, if any.
    pub fn next_data(&self, offset: u64) -> Result<Option<u64>, SysError> {
        // SAFETY: the descriptor is open.
        let at = unsafe { libc::lseek(self.fd(), offset as libc::off_t, libc::SEEK_DATA) };
        if at >= 0 {
            return Ok(Some(at as u64));
        }
        match SysError::last("lseek(SEEK_DATA)") {
            e if e.errno == libc::ENXIO => Ok(None),
            e => Err(e),
        }
    }

    /// Maps the first `len` bytes; replaces an earlier mapping.
    pub fn map(&mut self, len: usize, access: Access) -> Result<(), SysError> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWritable | Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // A mapping keeps the description it was made from alive, and a forked child inherits mappings: made
        // from the one that has the locks, it would keep them held after this process has died.
        let path = c_string(&format!("/proc/self/fd/{}", self.fd()));
        let unlocked = TrackedFd::open("open", || {
            // SAFETY: a NUL-terminated string that outlives the call.
            unsafe { libc::open(path.as_ptr(), access.flags() | libc::O_CLOEXEC) }
        });
        let fd = match &unlocked {
            Ok(unlocked) => unlocked.raw(),
            // No /proc here: all is well but for what forked children keep alive.
            Err(error) if error.errno == libc::ENOENT => self.fd(),
            Err(error) => return Err(*error),
        };
        // SAFETY: a fresh mapping at an address of the kernel's choice replaces no other memory.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(SysError::last("mmap"));
        }
        let Some(start) = NonNull::new(start.cast::<u8>()) else {
            return Err(SysError { call: "mmap", errno: libc::ENOMEM });
        };
        self.mapping = Mapping { start, len };
        Ok(())
    }

    /// The mapped range: its first byte and its length in bytes (zero before [`map`](Self::map)).
    #[inline(always)]
    pub fn mapped(&self) -> (NonNull<u8>, usize) {
        (self.mapping.start, self.mapping.len)
    }

    /// Applies `backing` to the mapping.
    ///
    /// A writer that prefaults gets the whole mapping, which it must have [allocated](Self::allocate)
    /// before; a reader only what has memory already: it must not fill the holes of a sparse segment.
    pub fn apply(&self, backing: Backing, access: Access) -> Result<(), SysError> {
        let (start, len) = self.mapped();
        if backing.huge_pages {
            // Advice: a kernel without transparent huge pages answers EINVAL, and nothing is lost.
            // SAFETY: the range is this segment's mapping; the advice changes no contents.
            unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        }
        if backing.lock {
            // SAFETY: as above; locking changes no contents.
            let done =
                unsafe { libc::mlock2(start.as_ptr().cast(), len, libc::MLOCK_ONFAULT as _) };
            check("mlock2", done)?;
        }
        if backing.prefault {
            match access {
                Access::ReadWrite => self.populate(0, len, libc::MADV_POPULATE_WRITE)?,
                Access::Read | Access::ReadWritable => {
                    let mut at = 0;
                    while let Some((data, hole)) = self.next_extent(at, len as u64)? {
                        self.populate(data as usize, hole as usize, libc::MADV_POPULATE_READ)?;
                        at = hole;
                    }
                }
            }
        }
        Ok(())
    }

    /// The next range at or after `offset` and before `end` that has memory behind it.
    fn next_extent(&self, offset: u64, end: u64) -> Result<Option<(u64, u64)>, SysError> {
        let Some(data) = self.next_data(offset)?.filter(|data| *data < end) else {
            return Ok(None);
        };
        // SAFETY: the descriptor is open.
        let hole = unsafe { libc::lseek(self.fd(), data as libc::off_t, libc::SEEK_HOLE) };
        let hole = if hole < 0 { end } else { (hole as u64).min(end) };
        Ok((hole > data).then_some((data, hole)))
    }

    /// Faults in the pages of `from..to`, offsets within the mapping.
    fn populate(&self, from: usize, to: usize, advice: libc::c_int) -> Result<(), SysError> {
        let (start, len) = self.mapped();
        let (from, to) = (from.min(len), to.min(len));
        // SAFETY: `from <= len`, so the address is inside the mapping or one past its end.
        let at = unsafe { start.add(from) };
        // SAFETY: the range is inside the mapping; faulting pages in changes no contents.
        let done = unsafe { libc::madvise(at.as_ptr().cast(), to - from, advice) };
        match check("madvise", done) {
            // Kernels before 5.14 do not know the advice: pages are then faulted in on use.
            Err(e) if e.errno == libc::EINVAL => Ok(()),
            result => result,
        }
    }
}

/// [`Segment::id`] of the object that has this name, if there is one.
pub fn id_of(object: &str) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path_of(object)).ok()?;
    Some((found.dev(), found.ino()))
}

/// Removes the name; the memory lives on until the last mapping goes.
pub fn unlink(object: &str) -> Result<(), SysError> {
    let path = c_string(&format!("/{object}"));
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check("shm_unlink", unsafe { libc::shm_unlink(path.as_ptr()) })
}

/// Gives the object `from` the name `to` in one step; an object that had it loses it.
pub fn rename(from: &str, to: &str) -> Result<(), SysError> {
    std::fs::rename(path_of(from), path_of(to))
        .map_err(|e| SysError { call: "rename", errno: e.raw_os_error().unwrap_or(libc::EIO) })
}

/// Whether the object is there and has no size yet. Asks by name, which takes no right to open it.
pub fn is_empty(object: &str) -> bool {
    std::fs::metadata(path_of(object)).is_ok_and(|found| found.len() == 0)
}

/// Names of all objects that begin with `prefix`, in no order.
pub fn objects_with_prefix(prefix: &str) -> Result<Vec<String>, SysError> {
    let failed = |e: std::io::Error| SysError {
        call: "readdir",
        errno: e.raw_os_error().unwrap_or(libc::EIO),
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(DIRECTORY).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string()
            && name.starts_with(prefix)
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn path_of(object: &str) -> PathBuf {
    Path::new(DIRECTORY).join(object)
}

/// Names are checked long before they come here; one with a NUL inside gives an object that does not
/// exist rather than a panic.
fn c_string(text: &str) -> CString {
    CString::new(std::ffi::OsStr::new(text).as_bytes()).unwrap_or_default()
}

fn check(call: &'static str, result: libc::c_int) -> Result<(), SysError> {
    if result == 0 { Ok(()) } else { Err(SysError::last(call)) }
}
