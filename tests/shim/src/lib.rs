//! Preloaded into a process under test (`LD_PRELOAD`), this library sees every write and every sync of the files that
//! matter, in their order. It records them, so that the battery can make the disk as a power cut would have left it at
//! any moment; or it lets one of them fail, as a dying disk does.
//!
//! - `LANDFALL_SHIM_FILES`: comma-separated endings of the paths that matter.
//! - `LANDFALL_SHIM_TRACE`: where to record.
//! - `LANDFALL_SHIM_NO_SYNC`: syncs do nothing and are not recorded, as if the program had forgotten them.
//! - `LANDFALL_SHIM_CLOCK`: a file with eight bytes, the seconds by which the clock on the wall is wrong now.
//! - `LANDFALL_SHIM_FAIL`: `N:ERRNO`: from the N-th operation on, all fail; `N:ERRNO:1`: that one alone, as a disk that
//!   forgets what it could not write and then works on.
//! - `LANDFALL_SHIM_SLOW`: every sync takes so many milliseconds more.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, off_t, size_t, ssize_t};

const WRITE: u8 = 1;
const SYNC: u8 = 2;
const TRUNCATE: u8 = 3;

struct Shim {
    endings: Vec<String>,
    trace: Option<Mutex<c_int>>,
    no_sync: bool,
    fail: Option<(u64, c_int, bool)>,
    slow: Option<std::time::Duration>,
    clock: Option<c_int>,
    seen: AtomicU64,
}

static SHIM: OnceLock<Shim> = OnceLock::new();

fn shim() -> &'static Shim {
    SHIM.get_or_init(|| {
        let given = |name: &str| std::env::var(name).ok();
        let trace = given("LANDFALL_SHIM_TRACE").map(|path| {
            let path = std::ffi::CString::new(path).unwrap_or_default();
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_APPEND;
            // SAFETY: the path ends with a zero byte.
            Mutex::new(unsafe { libc::open(path.as_ptr(), flags, 0o600) })
        });
        let clock = given("LANDFALL_SHIM_CLOCK").map(|path| {
            let path = std::ffi::CString::new(path).unwrap_or_default();
            // SAFETY: the path ends with a zero byte.
            unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) }
        });
        let fail = given("LANDFALL_SHIM_FAIL").and_then(|text| {
            let mut parts = text.split(':');
            let (n, errno) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some((n, errno, parts.next().is_some()))
        });
        let slow = given("LANDFALL_SHIM_SLOW").and_then(|text| text.parse().ok());
        Shim {
            endings: given("LANDFALL_SHIM_FILES")
                .map(|files| files.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            trace,
            no_sync: given("LANDFALL_SHIM_NO_SYNC").is_some(),
            fail,
            slow: slow.map(std::time::Duration::from_millis),
            clock,
            seen: AtomicU64::new(0),
        }
    })
}

/// The path behind a descriptor, if it matters.
fn matters(fd: c_int) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    let path = path.to_str()?;
    let fits = shim().endings.iter().any(|ending| path.ends_with(ending.as_str()));
    fits.then(|| path.to_owned())
}

impl Shim {
    /// Counts an operation; true if it is to fail.
    fn fails(&self) -> bool {
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fail {
            Some((from, errno, once)) if number == from || (number > from && !once) => {
                // SAFETY: the place of this thread's errno.
                unsafe { *libc::__errno_location() = errno };
                true
            }
            _ => false,
        }
    }

    fn record(&self, kind: u8, path: &str, offset: u64, bytes: &[u8]) {
        let Some(trace) = &self.trace else { return };
        let mut entry = vec![kind];
        entry.extend(u32::try_from(path.len()).unwrap_or(0).to_le_bytes());
        entry.extend(path.as_bytes());
        entry.extend(offset.to_le_bytes());
        entry.extend(u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
        entry.extend(bytes);
        let fd = trace.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the bytes outlive the call. Straight to the kernel, past ourselves.
        unsafe { libc::syscall(libc::SYS_write, *fd, entry.as_ptr(), entry.len()) };
    }
}

/// The function of this name that would have been called without us.
fn real(name: &CStr) -> *mut c_void {
    // SAFETY: looks a name up, and changes nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "the system has no such function");
    found
}

macro_rules! real {
    ($name:literal as $type:ty) => {{
        static REAL: OnceLock<usize> = OnceLock::new();
        let address = *REAL.get_or_init(|| real($name) as usize);
        // SAFETY: the C library's function has this signature.
        unsafe { std::mem::transmute::<usize, $type>(address) }
    }};
}

type Write = unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t;
type Pwrite = unsafe extern "C" fn(c_int, *const c_void, size_t, off_t) -> ssize_t;
type Sync = unsafe extern "C" fn(c_int) -> c_int;
type Truncate = unsafe extern "C" fn(c_int, off_t) -> c_int;

/// # Safety
/// As write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, from: *const c_void, length: size_t) -> ssize_t {
    let real = real!(c"write" as Write);
    let Some(path) = matters(fd) else {
        // SAFETY: the caller's own arguments.
        return unsafe { real(fd, from, length) };
    };
    if shim().fails() {
        return -1;
    }
    // SAFETY: asks where the descriptor stands.
    let offset = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    // SAFETY: the caller's own arguments.
    let written = unsafe { real(fd, from, length) };
    recorded(&path, offset, from, written);
    written
}

/// # Safety
/// As pwrite(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, from: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    placed(real!(c"pwrite" as Pwrite), fd, from, length, offset)
}

/// # Safety
/// As pwrite(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, from: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    placed(real!(c"pwrite64" as Pwrite), fd, from, length, offset)
}

fn placed(real: Pwrite, fd: c_int, from: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    let path = matters(fd);
    if path.is_some() && shim().fails() {
        return -1;
    }
    // SAFETY: the caller's own arguments.
    let written = unsafe { real(fd, from, length, offset) };
    if let Some(path) = path {
        recorded(&path, offset, from, written);
    }
    written
}

fn recorded(path: &str, offset: off_t, from: *const c_void, written: ssize_t) {
    let (Ok(length), Ok(offset)) = (usize::try_from(written), u64::try_from(offset)) else {
        return;
    };
    // SAFETY: so many bytes were written from there.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) };
    shim().record(WRITE, path, offset, bytes);
}

/// # Safety
/// As fsync(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    synced(real!(c"fsync" as Sync), fd)
}

/// # Safety
/// As fdatasync(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(real!(c"fdatasync" as Sync), fd)
}

fn synced(real: Sync, fd: c_int) -> c_int {
    let path = matters(fd);
    if path.is_some() {
        if shim().fails() {
            return -1;
        }
        if shim().no_sync {
            return 0;
        }
        if let Some(longer) = shim().slow {
            std::thread::sleep(longer);
        }
    }
    // SAFETY: the caller's own argument.
    let done = unsafe { real(fd) };
    if let (Some(path), 0) = (path, done) {
        shim().record(SYNC, &path, 0, &[]);
    }
    done
}

/// # Safety
/// As ftruncate(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    cut(real!(c"ftruncate" as Truncate), fd, length)
}

/// # Safety
/// As ftruncate(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    cut(real!(c"ftruncate64" as Truncate), fd, length)
}

fn cut(real: Truncate, fd: c_int, length: off_t) -> c_int {
    let path = matters(fd);
    if path.is_some() && shim().fails() {
        return -1;
    }
    // SAFETY: the caller's own arguments.
    let done = unsafe { real(fd, length) };
    if let (Some(path), 0, Ok(length)) = (path, done, u64::try_from(length)) {
        shim().record(TRUNCATE, &path, length, &[]);
    }
    done
}

type Clock = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;

/// # Safety
/// As `clock_gettime(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, to: *mut libc::timespec) -> c_int {
    let real = real!(c"clock_gettime" as Clock);
    // SAFETY: the caller's own arguments.
    let done = unsafe { real(clock, to) };
    // The standard library may want the time before there is an environment to read.
    let wrong = SHIM.get().and_then(|shim| shim.clock);
    if clock == libc::CLOCK_REALTIME
        && done == 0
        && let Some(fd) = wrong
    {
        let mut seconds = [0_u8; 8];
        // SAFETY: eight bytes into eight bytes, straight from the kernel.
        let read = unsafe { libc::syscall(libc::SYS_pread64, fd, seconds.as_mut_ptr(), 8, 0) };
        if read == 8 {
            // SAFETY: the caller's own place, filled just now.
            unsafe { (*to).tv_sec += i64::from_le_bytes(seconds) };
        }
    }
    done
}

/// Reads the environment as soon as the library is there.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = {
    extern "C" fn begin() {
        shim();
    }
    begin
};
