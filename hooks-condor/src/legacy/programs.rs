//! What runs as the pilot: the programs that the starter and the procd call.

use super::dialect::{self, AS_TARGET, Glexec, Patience, Sandbox, Update};
use super::patient::{Patient, end_of};
use super::verdict::{After, DONE, FINAL, USED_UP, WRONG, after, pause};
use super::{TAKEN, UNPACKED, complain, target, wrapper};
use crate::freight::{LeftOut, Rules, clear, open_directory, pack, unpack};
use nix::fcntl::{RenameFlags, renameat2};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Everything that is called `condor_glexec…`: from the words of a call, its own name the first,
/// to the exit code (facts 1.3, the table).
pub fn condor_glexec(words: &[OsString]) -> u8 {
    let Some((program, rest)) = dialect::program(words) else {
        complain(
            "usage: condor_glexec setup|run|job_wrapper|kill|cleanup|update_proxy WORDS, or links \
             of the names condor_glexec_setup ...",
        );
        return WRONG;
    };
    let done = match program {
        "setup" => dialect::to_move(program, rest).map(|(g, s, p)| setup(&g, &s, p)),
        "cleanup" => dialect::to_move(program, rest).map(|(g, s, p)| cleanup(&g, &s, p)),
        "run" => dialect::to_run(rest).map(|(g, sandbox, words)| run(&g, &sandbox, words)),
        "kill" => dialect::to_kill(rest).map(|(g, aim, p)| kill(&g, &aim, p)),
        "update_proxy" => dialect::to_update(rest).map(|update| update_proxy(&update)),
        "job_wrapper" => Ok(wrapper::job_wrapper(rest)),
        AS_TARGET => target::act(rest),
        other => Err(format!("there is no condor_glexec_{other}")),
    };
    done.unwrap_or_else(|sentence| {
        complain(&sentence);
        WRONG
    })
}

/// What came of one call of glexec.
enum Attempt {
    Done,
    Again(String),
    Final(String),
}

/// Tries as often as may be: 0, 2 or 3.
fn persist(patience: Patience, mut attempt: impl FnMut() -> Attempt) -> u8 {
    let mut errors: u32 = 0;
    loop {
        match attempt() {
            Attempt::Done => return DONE,
            Attempt::Final(sentence) => {
                complain(&sentence);
                return FINAL;
            }
            Attempt::Again(sentence) => {
                complain(&sentence);
                if errors >= patience.retries {
                    complain(&format!("given up after {errors} retries"));
                    return USED_UP;
                }
                errors += 1;
                let random = RandomState::new().build_hasher().finish();
                std::thread::sleep(pause(patience.delay, errors, random));
            }
        }
    }
}

/// glexec with this program as the target's, which does what the words say.
fn call(glexec: &Glexec, words: &[&OsStr]) -> io::Result<Command> {
    let mut command = Command::new(&glexec.program);
    command.arg(std::env::current_exe()?).arg(AS_TARGET).args(words);
    match &glexec.certificate {
        Some(path) => command.env("GLEXEC_CLIENT_CERT", path),
        // The pilot's own must not be taken for the job's.
        None => command.env_remove("GLEXEC_CLIENT_CERT"),
    };
    command.env("GLEXEC_TARGET_PROXY", "/dev/null");
    Ok(command)
}

/// How long nothing may come of the target's files before cleanup is given up.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

fn judge(what: &str, status: io::Result<ExitStatus>) -> Attempt {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            return Attempt::Final(format!(
                "{what}: glexec did not start, or does not end: {error}"
            ));
        }
    };
    match after(status.code()) {
        After::Done => Attempt::Done,
        After::Again => Attempt::Again(format!("{what}: glexec ended with {status}")),
        After::Final => Attempt::Final(format!("{what}: glexec ended with {status}")),
    }
}

fn move_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    let here = nix::fcntl::AT_FDCWD;
    renameat2(here, from, here, to, RenameFlags::RENAME_NOREPLACE).map_err(io::Error::from)
}

fn mention(left: LeftOut) {
    if !left.is_nothing() {
        complain(&left.to_string());
    }
}

/// The sandbox becomes the target's; the pilot keeps its copy of the proxy.
fn setup(glexec: &Glexec, sandbox: &Sandbox, patience: Patience) -> u8 {
    if let Err(error) = move_no_replace(&sandbox.path, &sandbox.pilots) {
        complain(&format!("{:?} cannot be moved aside: {error}", sandbox.path));
        return FINAL;
    }
    let code = persist(patience, || send(glexec, sandbox));
    if code != DONE {
        // As if nothing had been tried; where the target's half is in the way, both stay.
        let _ = move_no_replace(&sandbox.pilots, &sandbox.path);
        return code;
    }
    let emptied = open_directory(&sandbox.pilots)
        .and_then(|directory| clear(directory.as_fd(), &sandbox.kept()));
    match emptied {
        Ok(()) => DONE,
        Err(error) => {
            complain(&format!("{:?} cannot be emptied: {error}", sandbox.pilots));
            FINAL
        }
    }
}

/// One try at setup.
fn send(glexec: &Glexec, sandbox: &Sandbox) -> Attempt {
    let start = call(glexec, &["unpack".as_ref(), sandbox.path.as_os_str()])
        .and_then(|mut call| call.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn());
    let mut child = match start {
        Ok(child) => child,
        Err(error) => return judge("setup", Err(error)),
    };
    let sent = write_sandbox(&mut child, sandbox);
    // Its end of input: with the stream cut short the target removes what it has made.
    drop(child.stdin.take());
    let unpacked = heard(&mut child, UNPACKED);
    let status = child.wait();
    match (sent, unpacked) {
        // Also where glexec says otherwise, as it does after a failed epilogue: a second time
        // could not do better.
        (Ok(left), true) => {
            mention(left);
            Attempt::Done
        }
        (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => {
            Attempt::Final(format!("the sandbox cannot be read: {error}"))
        }
        _ => match judge("setup", status) {
            Attempt::Done => Attempt::Final("setup: the target has not taken it all".to_owned()),
            other @ (Attempt::Again(_) | Attempt::Final(_)) => other,
        },
    }
}

fn write_sandbox(child: &mut Child, sandbox: &Sandbox) -> io::Result<LeftOut> {
    let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut out = BufWriter::new(pipe);
    let left = pack(open_directory(&sandbox.pilots)?.as_fd(), &mut out, &[])?;
    out.flush()?;
    Ok(left)
}

/// Whether this is what it said.
fn heard(child: &mut Child, word: &[u8]) -> bool {
    let mut said = Vec::new();
    let out = child.stdout.take();
    let read = out.map(|out| out.take(64).read_to_end(&mut said));
    matches!(read, Some(Ok(_))) && said == word
}

/// The sandbox becomes the pilot's again, with all that is in it.
fn cleanup(glexec: &Glexec, sandbox: &Sandbox, patience: Patience) -> u8 {
    if persist(patience, || fetch(glexec, sandbox)) != DONE {
        return WRONG;
    }
    match move_no_replace(&sandbox.pilots, &sandbox.path) {
        Ok(()) => DONE,
        Err(error) => {
            complain(&format!("{:?} cannot be moved back: {error}", sandbox.pilots));
            WRONG
        }
    }
}

/// One try at cleanup. The target removes its files when it has been told that they are here.
fn fetch(glexec: &Glexec, sandbox: &Sandbox) -> Attempt {
    let proxy = sandbox.proxy.clone().unwrap_or_default();
    let words = ["hand-back".as_ref(), sandbox.path.as_os_str(), proxy.as_os_str()];
    let start = open_directory(&sandbox.pilots).and_then(|directory| {
        // What an earlier try has left.
        clear(directory.as_fd(), &sandbox.kept())?;
        let child = call(glexec, &words)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok((directory, child))
    });
    let (directory, mut child) = match start {
        Ok(both) => both,
        Err(error) => return Attempt::Final(format!("cleanup cannot begin: {error}")),
    };
    let pipe = child.stdout.take();
    let kept = sandbox.kept();
    let rules = Rules { skip: &kept, inside: Some(&sandbox.path) };
    let taken = pipe.ok_or(io::Error::from(io::ErrorKind::BrokenPipe)).and_then(|pipe| {
        let mut input = BufReader::new(Patient(pipe, LONGEST_SILENCE));
        let left = unpack(directory.as_fd(), &mut input, rules)?;
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(TAKEN))?;
        Ok(left)
    });
    drop(child.stdin.take());
    let status = end_of(&mut child, LONGEST_SILENCE);
    match taken {
        Ok(left) if !sandbox.path.exists() => {
            mention(left);
            Attempt::Done
        }
        Ok(_) => Attempt::Final("cleanup: the target's files are here, and not gone there".into()),
        Err(error) => match judge("cleanup", status) {
            Attempt::Again(sentence) => Attempt::Again(sentence),
            Attempt::Final(sentence) => Attempt::Final(format!("{sentence}; {error}")),
            Attempt::Done => Attempt::Final(format!("cleanup: the files cannot be read: {error}")),
        },
    }
}

/// Becomes glexec, which becomes the wrapper in the sandbox.
fn run(glexec: &Glexec, sandbox: &Path, words: &[OsString]) -> u8 {
    let all = ["enter".as_ref(), sandbox.as_os_str()].into_iter();
    let all: Vec<&OsStr> = all.chain(words.iter().map(OsString::as_os_str)).collect();
    let error = match call(glexec, &all) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    };
    complain(&format!("{:?} cannot be started: {error}", glexec.program));
    FINAL
}

/// One signal to one of the target's processes.
fn kill(glexec: &Glexec, [pid, signal]: &[OsString; 2], patience: Patience) -> u8 {
    persist(patience, || {
        let words = ["signal".as_ref(), pid.as_os_str(), signal.as_os_str()];
        judge("kill", call(glexec, &words).and_then(|mut call| call.stdin(Stdio::null()).status()))
    })
}

/// A renewed proxy, for the target and for the pilot.
fn update_proxy(update: &Update) -> u8 {
    let done = replace_proxy(update);
    if let Err(sentence) = done {
        complain(&sentence);
        let _ = fs::remove_file(&update.new);
        return WRONG;
    }
    DONE
}

fn replace_proxy(update: &Update) -> Result<(), String> {
    let Update { new, sandbox, name, glexec } = update;
    let cannot = |error: io::Error| format!("{new:?} cannot take the old one's place: {error}");
    let Some(glexec) = glexec else {
        return fs::rename(new, sandbox.path.join(name)).map_err(cannot);
    };
    let words = ["receive".as_ref(), sandbox.path.as_os_str(), name.as_os_str()];
    let status = fs::File::open(new)
        .and_then(|file| call(glexec, &words)?.stdin(Stdio::from(file)).status());
    match judge("update_proxy", status) {
        Attempt::Done => fs::rename(new, sandbox.pilots.join(name)).map_err(cannot),
        Attempt::Again(sentence) | Attempt::Final(sentence) => Err(sentence),
    }
}
