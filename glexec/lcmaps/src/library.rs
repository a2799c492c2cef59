//! The functions of LCMAPS that are used (lcmaps_basic.h, lcmaps_return_account_from_pem.h,
//! `lcmaps_account.h` of LCMAPS 1.6), loaded at run time. The only unsafe code of this program, which
//! has one thread, calls each function once and ends.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_ushort, c_void};
use std::mem::{MaybeUninit, transmute};
use std::ptr::{null_mut, slice_from_raw_parts};

/// The loaded library, which stays loaded: its plug-ins refer to it.
#[derive(Debug)]
pub(crate) struct Library {
    handle: *mut c_void,
    name: String,
}

/// Whom LCMAPS maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) uid: u32,
    /// Primary gids, in LCMAPS's order.
    pub(crate) primary: Vec<u32>,
    pub(crate) secondary: Vec<u32>,
}

/// `lcmaps_account_info_t`.
#[repr(C)]
struct AccountInfo {
    uid: u32,
    primary: *mut u32,
    primaries: c_int,
    secondary: *mut u32,
    secondaries: c_int,
    poolindex: *mut c_char,
}

type Number = unsafe extern "C" fn() -> c_int;
type Nothing = unsafe extern "C" fn();
type Init = unsafe extern "C" fn(*mut c_char, *mut c_void, c_ushort) -> c_int;
type OfAccount = unsafe extern "C" fn(*mut AccountInfo) -> c_int;
type Map = unsafe extern "C" fn(*mut c_char, c_int, *mut AccountInfo) -> c_int;

/// No number of a mapping is asked for (lcmaps_return_account_from_pem.h).
const NO_COUNTER: c_int = -1;
/// `DO_USRLOG`: to the file that `LCMAPS_LOG_FILE` names, and to no other.
const TO_FILE: c_ushort = 1;
/// More groups than a process may have.
const MOST_GROUPS: usize = 65_536;

impl Library {
    /// # Errors
    /// What the dynamic linker says, which names the file.
    pub(crate) fn load(name: &str) -> Result<Self, String> {
        let file = CString::new(name).map_err(|_| "its name has a NUL".to_owned())?;
        // Plug-ins have undefined symbols that are the library's: they must find them.
        let how = libc::RTLD_NOW | libc::RTLD_GLOBAL;
        // SAFETY: a NUL-ended name. Its initialisers are the site's code, as its plug-ins are.
        let handle = unsafe { libc::dlopen(file.as_ptr(), how) };
        if handle.is_null() {
            return Err(said_by_linker());
        }
        Ok(Self { handle, name: name.to_owned() })
    }

    fn symbol(&self, function: &CStr) -> Result<*mut c_void, String> {
        // SAFETY: an open library and a NUL-ended name.
        let found = unsafe { libc::dlsym(self.handle, function.as_ptr()) };
        let missing = || format!("{} has no function {}", self.name, function.to_string_lossy());
        (!found.is_null()).then_some(found).ok_or_else(missing)
    }

    /// Major and minor.
    pub(crate) fn version(&self) -> Result<(i32, i32), String> {
        let number = |name: &CStr| {
            // SAFETY: lcmaps_basic.h: `int f(void)`.
            let ask = unsafe { transmute::<*mut c_void, Number>(self.symbol(name)?) };
            // SAFETY: no arguments.
            Ok::<i32, String>(unsafe { ask() })
        };
        Ok((number(c"lcmaps_get_major_version")?, number(c"lcmaps_get_minor_version")?))
    }

    /// Has it believe VOMS attributes that it has not verified.
    pub(crate) fn believe_attributes(&self) -> Result<(), String> {
        let symbol = self.symbol(c"lcmaps_disable_voms_attributes_verification")?;
        // SAFETY: lcmaps_basic.h: `void f(void)`.
        let tell = unsafe { transmute::<*mut c_void, Nothing>(symbol) };
        // SAFETY: no arguments.
        unsafe { tell() };
        Ok(())
    }

    /// Reads the database and loads the plug-ins; whether that was done. The library itself aborts
    /// where this fails within [`Library::map`], so it is called before.
    pub(crate) fn init(&self) -> Result<bool, String> {
        let symbol = self.symbol(c"lcmaps_init_and_logfile")?;
        // SAFETY: lcmaps_basic.h: `int f(char *, FILE *, unsigned short)`.
        let init = unsafe { transmute::<*mut c_void, Init>(symbol) };
        // SAFETY: both pointers may be null (lcmaps_basic.h).
        Ok(unsafe { init(null_mut(), null_mut(), TO_FILE) } == 0)
    }

    /// Whom the credential is mapped to; `None` where LCMAPS refuses. It must have been initialised.
    pub(crate) fn map(&self, credential: &CStr) -> Result<Option<Mapped>, String> {
        let (begin, map) = (c"lcmaps_account_info_init", c"lcmaps_return_account_from_pem");
        // SAFETY: lcmaps_account.h: `int f(lcmaps_account_info_t *)`.
        let begin = unsafe { transmute::<*mut c_void, OfAccount>(self.symbol(begin)?) };
        // SAFETY: lcmaps_return_account_from_pem.h: `int f(char *, int, lcmaps_account_info_t *)`.
        let map = unsafe { transmute::<*mut c_void, Map>(self.symbol(map)?) };
        let mut info = MaybeUninit::<AccountInfo>::zeroed();
        let room = info.as_mut_ptr();
        // SAFETY: room for one such structure.
        if unsafe { begin(room) } != 0 {
            return Err(format!("{} cannot begin an answer", self.name));
        }
        // It is read only: the library copies it.
        let text = credential.as_ptr().cast_mut();
        // SAFETY: a NUL-ended text, and a structure that was begun.
        if unsafe { map(text, NO_COUNTER, room) } != 0 {
            return Ok(None);
        }
        // SAFETY: begun by the library, and filled.
        let info = unsafe { info.assume_init() };
        let primary = copied(info.primary, info.primaries);
        let secondary = copied(info.secondary, info.secondaries);
        // The lists are the library's and stay: this process ends.
        Ok(Some(Mapped { uid: info.uid, primary: primary?, secondary: secondary? }))
    }
}

/// A list of the library's.
fn copied(list: *const u32, count: c_int) -> Result<Vec<u32>, String> {
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST_GROUPS);
    let count = count.ok_or("LCMAPS answers with a list that has no length")?;
    if list.is_null() {
        return if count == 0 { Ok(Vec::new()) } else { Err("LCMAPS answers with no list".into()) };
    }
    // SAFETY: malloc(3)'s by the library, with so many ids in it (lcmaps_account.h).
    Ok(unsafe { &*slice_from_raw_parts(list, count) }.to_vec())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn an_account_is_laid_out_as_lcmaps_has_it() {
        let offsets = [
            offset_of!(AccountInfo, uid),
            offset_of!(AccountInfo, primary),
            offset_of!(AccountInfo, primaries),
            offset_of!(AccountInfo, secondary),
            offset_of!(AccountInfo, secondaries),
            offset_of!(AccountInfo, poolindex),
            size_of::<AccountInfo>(),
        ];
        assert_eq!(offsets, [0, 8, 16, 24, 32, 40, 48]);
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let why = Library::load("libnone-such.so.0").unwrap_err();
        assert!(why.contains("libnone-such.so.0"), "{why}");
        let libc = Library::load("libc.so.6").unwrap();
        let why = libc.version().unwrap_err();
        assert_eq!(why, "libc.so.6 has no function lcmaps_get_major_version");
    }
}
