//! A name service's own library, asked without the C library between: that one passes over a
//! service that fails as if it knew nothing. The only unsafe code of this program, which has
//! nothing of root's.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::mem::{MaybeUninit, transmute};
use std::ptr::slice_from_raw_parts;

/// What a service says (nss.h, `enum nss_status`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said<T> {
    Knows(T),
    NotFound,
    /// It cannot answer, now or at all; the clause says it.
    Fails(String),
}

/// What is looked up, and by what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GateOpener<'k> {
    Name(&'k CStr),
    Id(u32),
}

/// The loaded library `libnss_<name>.so.2`, which stays loaded.
#[derive(Debug)]
pub(crate) struct Module {
    name: String,
    library: *mut c_void,
}

const TRY_AGAIN: c_int = -2;
const UNAVAILABLE: c_int = -1;
const NOT_FOUND: c_int = 0;
const SUCCESS: c_int = 1;
/// The largest entry that is read: a group with all its members.
const MOST: usize = 64 << 20;

type ByName<T> =
    unsafe extern "C" fn(*const c_char, *mut T, *mut c_char, usize, *mut c_int) -> c_int;
type ById<T> = unsafe extern "C" fn(u32, *mut T, *mut c_char, usize, *mut c_int) -> c_int;
type Next = unsafe extern "C" fn(*mut libc::group, *mut c_char, usize, *mut c_int) -> c_int;
type Begin = unsafe extern "C" fn(c_int) -> c_int;
type End = unsafe extern "C" fn() -> c_int;
type InitGroups = unsafe extern "C" fn(
    *const c_char,
    libc::gid_t,
    *mut c_long,
    *mut c_long,
    *mut *mut libc::gid_t,
    c_long,
    *mut c_int,
) -> c_int;

impl Module {
    /// # Errors
    /// What the dynamic linker says.
    pub(crate) fn load(name: &str) -> Result<Self, String> {
        let file = CString::new(format!("libnss_{name}.so.2")).map_err(|e| e.to_string())?;
        // SAFETY: a NUL-ended name; the initialisers that run are those that the C library runs
        // for every look-up of this process.
        let library = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return Err(format!("its library cannot be loaded: {}", said_by_linker()));
        }
        Ok(Self { name: name.to_owned(), library })
    }

    /// systemd's service says in this way that nothing on this machine serves accounts to it, as in
    /// a container without systemd: that is no failure.
    fn fails<T>(&self, status: c_int, errno: c_int) -> Said<T> {
        match (status, errno, self.name.as_str()) {
            (UNAVAILABLE, libc::ESRCH, "systemd") => Said::NotFound,
            _ => Said::Fails(clause(status, errno)),
        }
    }

    fn symbol(&self, function: &str) -> Option<*mut c_void> {
        let symbol = CString::new(format!("_nss_{}_{function}", self.name)).ok()?;
        // SAFETY: an open library and a NUL-ended name.
        let found = unsafe { libc::dlsym(self.library, symbol.as_ptr()) };
        (!found.is_null()).then_some(found)
    }

    /// Whether it knows an account or group by this function; one that has no such function knows
    /// none.
    pub(crate) fn knows(&self, function: &str, key: GateOpener<'_>) -> Said<()> {
        let Some(found) = self.symbol(function) else { return Said::NotFound };
        // A record of either kind, which is not looked at.
        let mut record = MaybeUninit::<[u64; 64]>::zeroed();
        let mut room: Vec<c_char> = vec![0; 1 << 16];
        loop {
            let mut errno = 0;
            let record = record.as_mut_ptr();
            let status = match key {
                GateOpener::Name(name) => {
                    // SAFETY: nss(5) fixes the type of the function by its name.
                    let ask = unsafe { transmute::<*mut c_void, ByName<[u64; 64]>>(found) };
                    // SAFETY: every pointer is valid; the record has room for either kind.
                    unsafe {
                        ask(name.as_ptr(), record, room.as_mut_ptr(), room.len(), &raw mut errno)
                    }
                }
                GateOpener::Id(id) => {
                    // SAFETY: as above; uid_t and gid_t are both u32.
                    let ask = unsafe { transmute::<*mut c_void, ById<[u64; 64]>>(found) };
                    // SAFETY: as above.
                    unsafe { ask(id, record, room.as_mut_ptr(), room.len(), &raw mut errno) }
                }
            };
            match status {
                TRY_AGAIN if errno == libc::ERANGE && room.len() < MOST => {
                    room.resize(room.len() * 4, 0);
                }
                SUCCESS => return Said::Knows(()),
                NOT_FOUND => return Said::NotFound,
                failed => return self.fails(failed, errno),
            }
        }
    }

    /// The groups that list this account, its primary one left out or not.
    pub(crate) fn groups_of(&self, user: &CStr, primary: u32) -> Said<Vec<u32>> {
        let Some(found) = self.symbol("initgroups_dyn") else { return self.by_listing(user) };
        // SAFETY: nss(5) fixes the type of the function by its name.
        let ask = unsafe { transmute::<*mut c_void, InitGroups>(found) };
        let (mut count, mut room, mut errno): (c_long, c_long, c_int) = (0, 64, 0);
        // SAFETY: no arguments but a size; the module may realloc(3) it, so it is malloc(3)'s.
        let mut list: *mut libc::gid_t =
            unsafe { libc::calloc(64, size_of::<libc::gid_t>()) }.cast();
        if list.is_null() {
            return Said::Fails("there is no memory".to_owned());
        }
        let (counted, roomed, listed) = (&raw mut count, &raw mut room, &raw mut list);
        // SAFETY: every pointer is valid; `list` has room for `room` ids, 0 is no limit.
        let status =
            unsafe { ask(user.as_ptr(), primary, counted, roomed, listed, 0, &raw mut errno) };
        let length = usize::try_from(count.clamp(0, room.max(0))).unwrap_or(0);
        let gids = match list.is_null() {
            true => Vec::new(),
            // SAFETY: the module has written `count` ids, not more than it says there is room for.
            false => unsafe { &*slice_from_raw_parts(list, length) }.to_vec(),
        };
        // SAFETY: malloc(3)'s, or null; used no more.
        unsafe { libc::free(list.cast()) };
        match status {
            SUCCESS => Said::Knows(gids),
            NOT_FOUND => Said::NotFound,
            failed => self.fails(failed, errno),
        }
    }

    /// The same of a module without that function: as the C library does it, by every group there
    /// is. One that cannot list groups has none.
    fn by_listing(&self, user: &CStr) -> Said<Vec<u32>> {
        let Some(next) = self.symbol("getgrent_r") else { return Said::NotFound };
        if let Some(begin) = self.symbol("setgrent") {
            // SAFETY: nss(5) fixes the type of the function by its name.
            let begin = unsafe { transmute::<*mut c_void, Begin>(begin) };
            // SAFETY: a plain value.
            let status = unsafe { begin(0) };
            if status != SUCCESS {
                return Said::Fails(clause(status, 0));
            }
        }
        // SAFETY: as above.
        let next = unsafe { transmute::<*mut c_void, Next>(next) };
        let mut gids = Vec::new();
        let mut room: Vec<c_char> = vec![0; 1 << 16];
        let failed = loop {
            let (mut errno, mut group) = (0, MaybeUninit::<libc::group>::zeroed());
            // SAFETY: every pointer is valid for what it says.
            let status =
                unsafe { next(group.as_mut_ptr(), room.as_mut_ptr(), room.len(), &raw mut errno) };
            match status {
                // SAFETY: the module has filled it.
                SUCCESS => gids.extend(listed(unsafe { group.assume_init_ref() }, user)),
                TRY_AGAIN if errno == libc::ERANGE && room.len() < MOST => {
                    room.resize(room.len() * 4, 0);
                }
                NOT_FOUND => break None,
                failed => break Some(clause(failed, errno)),
            }
        };
        if let Some(end) = self.symbol("endgrent") {
            // SAFETY: as above.
            let end = unsafe { transmute::<*mut c_void, End>(end) };
            // SAFETY: no arguments. What it says of its own end matters to nobody.
            let _: c_int = unsafe { end() };
        }
        match failed {
            Some(why) => Said::Fails(why),
            None if gids.is_empty() => Said::NotFound,
            None => Said::Knows(gids),
        }
    }
}

/// The group's id, where the account is a member.
fn listed(group: &libc::group, user: &CStr) -> Option<u32> {
    let mut at = group.gr_mem;
    while !at.is_null() {
        // SAFETY: a null-ended array of pointers to NUL-ended strings.
        let member = unsafe { *at };
        if member.is_null() {
            return None;
        }
        // SAFETY: as above.
        if unsafe { CStr::from_ptr(member) } == user {
            return Some(group.gr_gid);
        }
        // SAFETY: the end of the array was not reached.
        at = unsafe { at.add(1) };
    }
    None
}

fn clause(status: c_int, errno: c_int) -> String {
    let what = match status {
        TRY_AGAIN => "it asks to try again later",
        UNAVAILABLE => "it is not available",
        _ => "it gives no answer that there is",
    };
    match errno {
        0 => what.to_owned(),
        errno => format!("{what} ({})", nix::errno::Errno::from_raw(errno).desc()),
    }
}

fn said_by_linker() -> String {
    // SAFETY: the text belongs to the linker and is copied at once.
    let text = unsafe { libc::dlerror() };
    match text.is_null() {
        true => "no reason is told".to_owned(),
        // SAFETY: a NUL-ended string.
        false => unsafe { CStr::from_ptr(text.cast_const()) }.to_string_lossy().into_owned(),
    }
}
