//! Memory for a process that lives for one run: what is asked for is cut from one piece, and most
//! of it is given back only by the process's end.
//!
//! A general allocator spends more than a third of a launch's instructions on keeping order among
//! some thousand small pieces that all die together. What does not fit any more, as in a run that
//! lingers for days, comes from the C library's allocator and goes back to it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes. A launch with an epilogue asks for 60 KiB where account files and environment are small,
/// and for each of them once. Pages that are never touched cost nothing but what a kernel promises
/// that never gives more than it has (`vm.overcommit_memory` = 2).
const SIZE: usize = 256 * 1024;

#[repr(align(4096))]
struct Memory(UnsafeCell<[MaybeUninit<u8>; SIZE]>);

// SAFETY: it is touched by one thread alone, the first that has asked for any: see `used`.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([MaybeUninit::uninit(); SIZE]));
/// Whether some thread has it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The program's allocator: `#[global_allocator] static ARENA: Arena = Arena;`. Whoever has one, it is
/// the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arena;

/// How much of the piece a thread has given away, where the piece is its own.
#[derive(Clone, Copy)]
enum Share {
    /// This thread has not asked yet.
    Unknown,
    /// It is another thread's.
    None,
    /// So many bytes are gone.
    Used(usize),
}

thread_local! {
    static SHARE: Cell<Share> = const { Cell::new(Share::Unknown) };
}

impl Arena {
    /// Whether something lies in it.
    pub fn holds<T>(thing: &T) -> bool {
        offset(std::ptr::from_ref(thing).addr()).is_some()
    }
}

/// How many bytes are gone; `None` for a thread that has nothing of it.
fn used() -> Option<usize> {
    match SHARE.get() {
        Share::Used(used) => Some(used),
        Share::None => None,
        Share::Unknown => {
            let taken = TAKEN.swap(true, Ordering::Relaxed);
            SHARE.set(if taken { Share::None } else { Share::Used(0) });
            (!taken).then_some(0)
        }
    }
}

/// Gives the offset of an address from the start of the piece; `None` for one outside of it.
fn offset(address: usize) -> Option<usize> {
    address.checked_sub(MEMORY.0.get().addr()).filter(|offset| *offset < SIZE)
}

/// Cuts off room for this; null where there is none.
fn cut(layout: Layout) -> *mut u8 {
    let Some(used) = used() else { return std::ptr::null_mut() };
    // The piece begins with a page, so an offset is aligned as its address is.
    let align = layout.align();
    if align > 4096 {
        return std::ptr::null_mut();
    }
    let offset = used.wrapping_add(align - 1) & !(align - 1);
    let end = offset.wrapping_add(layout.size());
    if end > SIZE || end < offset {
        return std::ptr::null_mut();
    }
    SHARE.set(Share::Used(end));
    MEMORY.0.get().cast::<u8>().wrapping_add(offset)
}

// SAFETY: `cut` gives each byte away once, aligned, and never outside the piece; a byte is given
// away again only after it was the last that was given away and has come back. All else is System's.
//
// None of it is copied to where it is called: that would make the program a third larger.
unsafe impl GlobalAlloc for Arena {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let cut = cut(layout);
        if !cut.is_null() {
            return cut;
        }
        // SAFETY: the caller's promises are those of System.
        unsafe { System.alloc(layout) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match (offset(pointer.addr()), used()) {
            (Some(offset), Some(used)) if offset + layout.size() == used => {
                SHARE.set(Share::Used(offset));
            }
            (Some(_), _) => {}
            // SAFETY: what is not of the piece came from System, with this layout.
            (None, _) => unsafe { System.dealloc(pointer, layout) },
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = offset(pointer.addr()) else {
            // SAFETY: what is not of the piece came from System, with this layout.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        let is_last = used().is_some_and(|used| offset + layout.size() == used);
        if is_last && size <= SIZE - offset {
            SHARE.set(Share::Used(offset + size));
            return pointer;
        }
        if size <= layout.size() {
            return pointer;
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
            return std::ptr::null_mut();
        };
        // SAFETY: its size is not 0, as it is larger than another.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: both are this long at least, and the new one is nobody else's.
            unsafe { pointer.copy_to_nonoverlapping(new, layout.size()) };
        }
        new
    }
}
