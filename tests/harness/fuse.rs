//! A file system that a user serves and that never answers glexec's FLUSH: where glexec closes a
//! file of it, it waits until it is gone (linux/fuse.h, fuse(4)).

use crate::site::Site;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::pipe2;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// The length of `struct fuse_in_header`.
const HEADER: usize = 40;

/// Such a file system, with one file `f` that everybody may write and read. It ends with this value, and
/// nobody waits for it any more.
#[derive(Debug)]
pub struct Sleepy {
    flushes: Arc<AtomicU32>,
    server: Option<(OwnedFd, JoinHandle<()>)>,
}

impl Sleepy {
    /// Mounts one at this directory of the site, which is made.
    pub fn mount(site: &Site, directory: &str) -> Self {
        site.directory(directory, (0, 0), 0o755);
        Self::of(site, directory, 0)
    }

    /// Mounts one at a directory that is there or is made, as this user's.
    pub fn of(site: &Site, directory: &str, owner: u32) -> Self {
        if !site.path(directory).exists() {
            site.directory(directory, (owner, owner), 0o755);
        }
        let namespace = site.namespace().try_clone().expect("a copy");
        let flushes = Arc::new(AtomicU32::new(0));
        let (counted, place) = (Arc::clone(&flushes), directory.to_owned());
        let (end, stop) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let (mounted, told) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
            let device = device.expect("/dev/fuse");
            // This thread alone goes over into the site.
            unshare(CloneFlags::CLONE_FS).expect("a directory of its own");
            setns(&namespace, CloneFlags::CLONE_NEWNS).expect("the site's namespace");
            let options = format!(
                "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
                device.as_raw_fd()
            );
            let (from, kind) = (Some("sleepy"), Some("fuse"));
            mount(from, place.as_str(), kind, MsFlags::empty(), Some(options.as_str()))
                .expect("a FUSE mount");
            mounted.send(()).expect("a test");
            serve(device, &end, (&counted, owner));
        });
        told.recv_timeout(Duration::from_secs(30)).expect("a FUSE mount");
        Self { flushes, server: Some((stop, server)) }
    }

    /// Waits until so many have asked for a FLUSH, and wait for it.
    pub fn is_waited_for(&self, flushes: u32) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.flushes.load(Ordering::SeqCst) < flushes {
            assert!(Instant::now() < deadline, "nobody closes a file");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sleepy {
    fn drop(&mut self) {
        if let Some((stop, server)) = self.server.take() {
            drop(stop);
            let _ = server.join();
        }
    }
}

/// Until `end` ends. What is not answered by then fails, for the connection ends with `device`.
fn serve(mut device: File, end: &OwnedFd, (flushes, owner): (&AtomicU32, u32)) {
    let mut room = vec![0u8; 1 << 20];
    loop {
        let mut ready = [
            PollFd::new(device.as_fd(), PollFlags::POLLIN),
            PollFd::new(end.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut ready, PollTimeout::NONE);
        if ready[1].any() == Some(true) {
            return;
        }
        let Ok(length) = device.read(&mut room) else { return };
        let request = &room[..length];
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let two = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        let (opcode, unique, node) = (word(4), two(8), two(16));
        let (error, body) = match opcode {
            FORGET | BATCH_FORGET | INTERRUPT => continue,
            FLUSH if of_glexec(word(32)) => {
                flushes.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            FLUSH => (0, Vec::new()),
            INIT => {
                let mut out = [0u8; 64];
                out[..4].copy_from_slice(&7u32.to_ne_bytes());
                out[4..8].copy_from_slice(&31u32.to_ne_bytes());
                out[20..24].copy_from_slice(&4096u32.to_ne_bytes());
                (0, out.to_vec())
            }
            LOOKUP if &request[HEADER..] == b"f\0" => {
                let mut out = vec![0u8; 40];
                out[..8].copy_from_slice(&2u64.to_ne_bytes());
                out.extend(attributes(2, owner));
                (0, out)
            }
            LOOKUP => (-libc::ENOENT, Vec::new()),
            GETATTR | SETATTR => (0, [vec![0u8; 16], attributes(node, owner)].concat()),
            OPEN => (0, vec![0u8; 16]),
            WRITE => {
                let mut out = vec![0u8; 8];
                out[..4].copy_from_slice(&request[HEADER + 16..HEADER + 20]);
                (0, out)
            }
            STATFS => (0, vec![0u8; 80]),
            RELEASE => (0, Vec::new()),
            _ => (-libc::ENOSYS, Vec::new()),
        };
        let mut answer = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        let _ = device.write(&answer);
    }
}

/// Whether a process is glexec, by its name: a shell that lays its descriptors out closes some, too.
fn of_glexec(pid: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim() == "glexec"
}

/// `struct fuse_attr` of the top directory (1) or of its file.
fn attributes(node: u64, owner: u32) -> Vec<u8> {
    let mut out = node.to_ne_bytes().to_vec();
    out.resize(60, 0);
    let mode = if node == 1 { 0o40755u32 } else { 0o100_666 };
    out.extend(mode.to_ne_bytes());
    out.extend(1u32.to_ne_bytes());
    out.extend(owner.to_ne_bytes());
    out.extend(owner.to_ne_bytes());
    out.resize(88, 0);
    out
}
