//! Whether accounts are more than what stands in the files.

use crate::decide::database;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read as _;

/// Whether nsswitch.conf(5) names more than files and systemd. It is read as the C library reads
/// it, links followed: some distributions keep it elsewhere, and only root can change what
/// `/etc` says. Without it, the files are all there is.
pub(crate) fn needs_helper() -> bool {
    const MOST: u64 = 1 << 20;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut text = Vec::with_capacity(2048);
    let read = open("/etc/nsswitch.conf", flags, Mode::empty())
        .ok()
        .and_then(|file| File::from(file).take(MOST).read_to_end(&mut text).ok());
    read.is_some() && database::needs_helper(&text)
}
