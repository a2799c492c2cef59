//! A root file system of one's own: the host's, with everything that is written going to memory,
//! in a mount namespace that a small holder process keeps open.

use crate::raw;
use anyhow::{Context as _, Result, bail};
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, chdir, pipe2, pivot_root};
use std::ffi::CString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::PoisonError;

/// When nobody holds the other end of its stdin any more, the holder ends whatever is left in
/// the namespace: also where the test program was killed.
const HOLDER: &str = "exec >/dev/null 2>&1; read -r end; me=$(readlink /proc/self/ns/mnt)
[ -n \"$me\" ] || exit 1
for round in 1 2 3; do for p in /proc/[0-9]*; do
[ \"$p\" = /proc/$$ ] || [ \"$(readlink $p/ns/mnt 2>/dev/null)\" != \"$me\" ] || kill -9 ${p#/proc/}
done; done";

/// Device nodes that programs may expect.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Makes the namespace; gives the holder and the pipe that keeps it alive. `base` is a directory
/// of the host with the sockets `log` and `journal` in it.
pub(crate) fn make(base: &Path) -> Result<(Pid, OwnedFd)> {
    let (stdin, keep) = pipe2(OFlag::O_CLOEXEC)?;
    let (answer, tell) = pipe2(OFlag::O_CLOEXEC)?;
    let argv = ["sh", "-c", HOLDER].map(|word| CString::new(word).unwrap_or_default());
    let argv = raw::Block::new(argv.to_vec());
    let environment = raw::Block::new(vec![c"PATH=/usr/bin:/bin".to_owned()]);
    let shell = c"/bin/sh".to_owned();
    let _alone = raw::FORKING.write().unwrap_or_else(PoisonError::into_inner);
    let pid = raw::fork(|| {
        let told = match furnish(base) {
            Ok(()) => {
                let _ = raw::put(stdin.as_raw_fd(), 0);
                format!("holder: {}", raw::exec(&shell, &argv, &environment))
            }
            Err(error) => format!("{error:#}"),
        };
        let _ = fs::File::from(tell.try_clone().unwrap_or_else(|_| raw::adopt(2)))
            .write_all(told.as_bytes());
        1
    })?;
    drop((stdin, tell));
    let mut trouble = String::new();
    fs::File::from(answer).read_to_string(&mut trouble)?;
    if !trouble.is_empty() {
        let _ = nix::sys::wait::waitpid(pid, None);
        bail!("no private mount namespace: {trouble}");
    }
    Ok((pid, keep))
}

/// In the holder, before its exec.
fn furnish(base: &Path) -> Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("private /")?;
    let memory = base.join("fs");
    memory_at(&memory, "0755").context("memory")?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| memory.join(name));
    for directory in [&upper, &work, &root] {
        make_directory(directory, 0o755)?;
    }
    let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
        .context("overlay over / (the kernel needs overlayfs)")?;
    for tree in ["proc", "sys"] {
        bind(Path::new("/").join(tree).as_path(), &root.join(tree), true)?;
    }
    let dev = root.join("dev");
    memory_at(&dev, "0755").context("/dev")?;
    for node in NODES {
        fs::write(dev.join(node), "")?;
        bind(&Path::new("/dev").join(node), &dev.join(node), false)?;
    }
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(to, dev.join(name))?;
    }
    make_directory(&dev.join("pts"), 0o755)?;
    bind(Path::new("/dev/pts"), &dev.join("pts"), true)?;
    for (path, mode) in [("dev/shm", "1777"), ("tmp", "1777"), ("run", "0755"), ("var/tmp", "1777")]
    {
        make_directory(&root.join(path), 0o755)?;
        memory_at(&root.join(path), mode).context(path)?;
    }
    make_directory(&root.join("run/systemd/journal"), 0o755)?;
    for (socket, path) in [("log", "dev/log"), ("journal", "run/systemd/journal/socket")] {
        fs::write(root.join(path), "")?;
        bind(&base.join(socket), &root.join(path), false)?;
    }
    chdir(&root).context("new root")?;
    pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).context("leaving the old root")?;
    chdir("/").context("new root")
}

fn memory_at(path: &Path, mode: &str) -> Result<()> {
    let options = format!("mode={mode},size=512m");
    let name = Some("tmpfs");
    mount(name, path, name, MsFlags::empty(), Some(options.as_str())).context("tmpfs")
}

fn bind(from: &Path, onto: &Path, all: bool) -> Result<()> {
    const NONE: Option<&str> = None;
    let flags = if all { MsFlags::MS_BIND | MsFlags::MS_REC } else { MsFlags::MS_BIND };
    mount(Some(from), onto, NONE, flags, NONE)
        .with_context(|| format!("binding {}", from.display()))
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}
