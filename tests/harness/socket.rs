//! The other end of /dev/log and of the journal's socket: a datagram socket that is always read.

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, poll};
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug)]
struct Shared {
    socket: UnixDatagram,
    got: Mutex<Vec<Vec<u8>>>,
    paused: AtomicBool,
    done: AtomicBool,
}

/// Everything that was sent to one socket, in order.
#[derive(Debug)]
pub(crate) struct Collector {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Listens at `path`, for everybody.
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        socket.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            socket,
            got: Mutex::default(),
            paused: AtomicBool::new(false),
            done: AtomicBool::new(false),
        });
        let reader = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !reader.done.load(Ordering::SeqCst) {
                if reader.paused.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                } else {
                    let mut ready = [PollFd::new(reader.socket.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut ready, 20u8);
                    reader.take();
                }
            }
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What has arrived, everything that was sent before this call included.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        if !self.shared.paused.load(Ordering::SeqCst) {
            self.shared.take();
        }
        self.shared.got.lock().unwrap().clone()
    }

    /// Stops reading, so that the queue fills up, or goes on.
    pub(crate) fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::SeqCst);
    }
}

impl Shared {
    /// Takes what is there; taking and keeping are one step.
    fn take(&self) {
        let mut bytes = vec![0u8; 262_144];
        let mut got = self.got.lock().unwrap();
        while let Ok(length) = self.socket.recv(&mut bytes) {
            got.push(bytes.get(..length).unwrap_or_default().to_vec());
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
