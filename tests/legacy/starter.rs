//! The starter's side of `GLEXEC_JOB`, as HTCondor 7.1.3 to 8.8 played it.

use harness::accounts::PILOT;
use harness::{Call, GLEXEC, LIBEXEC, Ran, Running, Site, raw};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use std::fs::File;
use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

pub(crate) const EXECUTE: &str = "/var/lib/condor/execute";
pub(crate) const SANDBOX: &str = "/var/lib/condor/execute/dir_4711";
pub(crate) const PILOTS: &str = "/var/lib/condor/execute/dir_4711.condor";

/// A site with a job's sandbox as the starter has filled it.
pub(crate) fn site_with(lines: &str) -> Site {
    let site = Site::with(lines);
    fill(&site);
    site
}

pub(crate) fn fill(site: &Site) {
    site.directory(EXECUTE, (0, 0), 0o1777);
    site.directory(SANDBOX, (PILOT, PILOT), 0o755);
    put(site, "x509", "the proxy\n", 0o600);
    put(site, "input", "six\n", 0o600);
}

pub(crate) fn put(site: &Site, name: &str, text: &str, mode: u32) {
    let path = format!("{SANDBOX}/{name}");
    site.file(&path, text, mode);
    site.own(&path, (PILOT, PILOT));
}

/// One of the programs.
pub(crate) fn program<'s>(site: &'s Site, name: &str, words: &[&str]) -> Call<'s> {
    let path = format!("{LIBEXEC}/condor_glexec_{name}");
    site.program([path.as_str()]).words(words.iter().copied())
}

/// `setup` or `cleanup`, with two retries and no delay.
pub(crate) fn moving(site: &Site, name: &str) -> Ran {
    program(site, name, &[GLEXEC, "x509", SANDBOX, "2", "0"]).run()
}

/// Owner and permissions, no link followed.
pub(crate) fn look(site: &Site, inside: &str) -> (u32, u32) {
    let meta =
        std::fs::symlink_metadata(site.path(inside)).unwrap_or_else(|e| panic!("{inside}: {e}"));
    (meta.uid(), meta.mode() & 0o7777)
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

/// A run whose wrapper is at the other end of the socket.
pub(crate) struct Run<'s> {
    pub(crate) glexec: Running<'s>,
    socket: File,
}

impl<'s> Run<'s> {
    /// `run` with these words after the wrapper.
    pub(crate) fn start(site: &'s Site, words: &[&str]) -> Self {
        Self::with_wrapper(site, &format!("{LIBEXEC}/condor_glexec_job_wrapper"), words)
    }

    pub(crate) fn with_wrapper(site: &'s Site, wrapper: &str, words: &[&str]) -> Self {
        let call = program(site, "run", &[GLEXEC, "x509", SANDBOX, wrapper]);
        Self::by(call.words(words.iter().copied()))
    }

    /// A call of `run`.
    pub(crate) fn by(call: Call<'s>) -> Self {
        let (ours, theirs) = pair();
        let glexec = call.stdin_from(theirs).start();
        let socket = File::from(ours);
        let long = nix::sys::time::TimeVal::new(10, 0);
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &long)
            .unwrap();
        Self { glexec, socket }
    }

    /// Whether the wrapper said hello; else it hung up.
    pub(crate) fn hello(&mut self) -> bool {
        let mut hello = [0; 4];
        match self.socket.read_exact(&mut hello) {
            Ok(()) => {
                assert_eq!(u32::from_ne_bytes(hello), 0xdead_beef);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
                false
            }
        }
    }

    pub(crate) fn length(&mut self, length: i32) {
        self.socket.write_all(&length.to_ne_bytes()).unwrap();
    }

    pub(crate) fn environment(&mut self, text: &str) {
        self.length(i32::try_from(text.len()).unwrap() + 1);
        self.socket.write_all(format!("{text}\0").as_bytes()).unwrap();
    }

    pub(crate) fn pass(&self, file: &OwnedFd) {
        let fds = [file.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &rights,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
    }

    /// The fresh socket, over which a failure is told, or nothing.
    pub(crate) fn change(&mut self) {
        let (ours, theirs) = pair();
        self.pass(&theirs);
        drop(theirs);
        self.socket = File::from(ours);
    }

    /// All that comes until the wrapper hangs up: nothing, or a text with its NUL.
    pub(crate) fn answer(&mut self) -> String {
        let mut text = Vec::new();
        self.socket.read_to_end(&mut text).unwrap();
        assert!(text.len() <= 255, "{text:?}");
        assert!(text.is_empty() || text.iter().position(|b| *b == 0) == Some(text.len() - 1));
        text.pop();
        String::from_utf8(text).unwrap()
    }

    /// The whole of it, with named streams only.
    pub(crate) fn talk(&mut self, environment: &str) -> String {
        assert!(self.hello());
        self.environment(environment);
        self.change();
        self.answer()
    }
}

/// A job with these shell commands, its streams named files.
pub(crate) fn job<'s>(site: &'s Site, script: &str) -> Run<'s> {
    let mut run = Run::start(site, &["input", "_out", "_err", "/bin/sh", "-c", script]);
    assert_eq!(run.talk("A=1"), "", "{:?}", site.log());
    run
}

/// Waits for a file that a job writes, and reads it.
pub(crate) fn wait_for(site: &Site, inside: &str) -> String {
    let deadline = raw::now_ns() + 10_000_000_000;
    loop {
        let text = site.read(inside);
        if text.ends_with('\n') {
            return text.trim().to_owned();
        }
        assert!(raw::now_ns() < deadline, "{inside} never came; {:?}", site.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}
