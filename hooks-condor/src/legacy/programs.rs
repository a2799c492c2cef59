//! What runs as the pilot: the programs that the starter and the procd call.

use super::dialect::{self, AS_TARGET, ENTER, Glexec, Patience, SIGNAL, Sandbox, Update};
use super::holder::{ASK, HOLD, Start};
use super::request::SOCKET;
use super::timeout_io::{Patient, end_of};
use super::verdict::{After, DONE, FINAL, USED_UP, WRONG, after, pause};
use super::{OBEYED, TAKEN, UNPACKED, complain, holder, limits, target, wrapper};
use crate::archive::{LeftOut, Rules, pack, unpack};
use adapter::rehearse;
use adapter::tree::{clear, open_directory};
use contract::{Record, variables};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

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
        HOLD => holder::hold(rest),
        ASK => holder::ask(rest),
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

/// Whether a run of glexec holds this sandbox's account.
fn is_held(glexec: &Glexec) -> io::Result<bool> {
    glexec.pilots.as_deref().map_or(Ok(false), holder::is_there)
}

/// glexec with this program as the target's, which does what the words say; or who has it done by the
/// run of glexec that holds the sandbox's account.
fn call(glexec: &Glexec, words: &[&OsStr]) -> io::Result<Command> {
    let own = std::env::current_exe()?;
    if let Some(pilots) = glexec.pilots.as_deref().filter(|_| is_held(glexec).unwrap_or(true)) {
        let mut command = Command::new(own);
        command.arg(ASK).arg(pilots).args(words);
        return Ok(command);
    }
    let mut command = Command::new(&glexec.program);
    command.arg(own).arg(AS_TARGET).args(words);
    match &glexec.certificate {
        Some(path) => command.env(variables::CLIENT_CERT, path),
        // The pilot's own must not be taken for the job's.
        None => command.env_remove(variables::CLIENT_CERT),
    };
    command.env_remove(variables::CLIENT_TOKEN).env_remove(variables::BEARER_TOKEN_FILE);
    command.env(variables::TARGET_PROXY, "/dev/null");
    Ok(command)
}

/// How long the target's files may be neither taken nor sent before a move is given up.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// How long the target may take for a new proxy. The payload runs as the target, too, and can stop
/// what is called for it; the starter waits meanwhile.
const LONGEST_RENEWAL: Duration = Duration::from_secs(60);
/// How long glexec may take to say what a run would do.
const LONGEST_REHEARSAL: Duration = Duration::from_secs(60);
/// The same for a signal. It is the procd that waits, and with it all of the machine's jobs.
const LONGEST_SIGNAL: Duration = Duration::from_secs(10);

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

fn mention(left: LeftOut) {
    if !left.is_nothing() {
        complain(&left.to_string());
    }
}

/// The sandbox becomes the target's; the pilot keeps its copy of the proxy.
fn setup(glexec: &Glexec, sandbox: &Sandbox, patience: Patience) -> u8 {
    // What it could replace is an empty directory, which nobody misses.
    if let Err(error) = fs::rename(&sandbox.path, &sandbox.pilots) {
        complain(&format!("{:?} cannot be moved aside: {error}", sandbox.path));
        return FINAL;
    }
    let code = persist(patience, || settle_in(glexec, sandbox));
    if code != DONE {
        // As if nothing had been tried; where the target's half is in the way, both stay.
        let _ = fs::rename(&sandbox.pilots, &sandbox.path);
        return code;
    }
    let emptied = is_held(glexec)
        .and_then(|held| clear(open_directory(&sandbox.pilots)?.as_fd(), &sandbox.kept(held)));
    match emptied {
        Ok(()) => DONE,
        Err(error) => {
            complain(&format!("{:?} cannot be emptied: {error}", sandbox.pilots));
            FINAL
        }
    }
}

/// How many accounts the calls of a sandbox would have.
enum Accounts {
    /// The same one each time.
    One,
    /// One of a pool for each run.
    OneForEachRun,
    /// None; glexec's code and sentence.
    None(u8, String),
}

/// Without an answer nobody knows: with an account for each call, setup's would be somebody else's next,
/// and the sandbox in it.
fn accounts(glexec: &Glexec) -> io::Result<Accounts> {
    let certificate =
        glexec.certificate.as_ref().map(|path| (variables::CLIENT_CERT.into(), path.into()));
    let tokens = [variables::CLIENT_TOKEN, variables::BEARER_TOKEN_FILE];
    let none = tokens.map(|name| (name.into(), "".into()));
    let set = certificate.into_iter().chain(none).collect();
    let records = rehearse(&glexec.program, set, LONGEST_REHEARSAL)?;
    let mut known = None;
    for record in records {
        if let Record::Rehearsed { pool: true, .. } = record {
            known = Some(Accounts::OneForEachRun);
        } else if let Record::Refused { code, sentence, .. } = record {
            known = Some(Accounts::None(code, sentence));
        } else if let Record::Rehearsed { .. } = record {
            known = Some(Accounts::One);
        }
    }
    known.ok_or_else(|| io::Error::other("glexec --check does not answer"))
}

/// One try at setup: an account that stays the sandbox's, where each run has another, and the files.
fn settle_in(glexec: &Glexec, sandbox: &Sandbox) -> Attempt {
    match accounts(glexec) {
        Ok(Accounts::One) => return send(glexec, sandbox, false),
        Ok(Accounts::OneForEachRun) => {}
        Ok(Accounts::None(code, sentence)) => {
            let told = format!("setup: glexec would end with {code}: {sentence}");
            return match after(Some(code.into())) {
                After::Again => Attempt::Again(told),
                After::Done | After::Final => Attempt::Final(told),
            };
        }
        Err(error) => return judge("setup", Err(error)),
    }
    let attempt = match holder::start(glexec, &sandbox.path, LONGEST_SILENCE) {
        Start::Ready => send(glexec, sandbox, true),
        Start::Ended(status) => match judge("setup", status) {
            Attempt::Done => Attempt::Final("setup: no run holds an account".to_owned()),
            other @ (Attempt::Again(_) | Attempt::Final(_)) => other,
        },
    };
    if !matches!(attempt, Attempt::Done) {
        holder::end(&sandbox.pilots, LONGEST_SILENCE);
    }
    attempt
}

/// The sandbox's files go to the target; with `held` to the run that holds its account.
fn send(glexec: &Glexec, sandbox: &Sandbox, held: bool) -> Attempt {
    let start = call(glexec, &["unpack".as_ref(), sandbox.path.as_os_str()])
        .and_then(|mut call| call.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn());
    let mut child = match start {
        Ok(child) => child,
        Err(error) => return judge("setup", Err(error)),
    };
    let sent = write_sandbox(&mut child, sandbox, held);
    // Its end of input: with the stream cut short the target removes what it has made.
    drop(child.stdin.take());
    let unpacked = heard(&mut child, UNPACKED, LONGEST_SILENCE);
    let status = end_of(&mut child, LONGEST_SILENCE);
    match (sent, unpacked) {
        // Also where glexec says otherwise, as it does after a failed epilogue: a second time
        // could not do better.
        (Ok(left), true) => {
            mention(left);
            Attempt::Done
        }
        (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => {
            Attempt::Final(format!("the sandbox cannot be sent: {error}"))
        }
        _ => match judge("setup", status) {
            Attempt::Done => Attempt::Final("setup: the target has not taken it all".to_owned()),
            other @ (Attempt::Again(_) | Attempt::Final(_)) => other,
        },
    }
}

fn write_sandbox(child: &mut Child, sandbox: &Sandbox, held: bool) -> io::Result<LeftOut> {
    let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut out = BufWriter::new(Patient(pipe, LONGEST_SILENCE));
    let socket: &[&OsStr] = if held { &[OsStr::new(SOCKET)] } else { &[] };
    let left = pack(open_directory(&sandbox.pilots)?.as_fd(), &mut out, socket)?;
    out.flush()?;
    Ok(left)
}

/// Whether this is what it said.
fn heard(child: &mut Child, word: &[u8], limit: Duration) -> bool {
    let mut said = vec![0; word.len()];
    let out = child.stdout.take();
    let read = out.map(|out| Patient(out, limit).read_exact(&mut said));
    matches!(read, Some(Ok(()))) && said == word
}

/// A call for one thing. Where the target says that it is done it is not done again: glexec may
/// say otherwise because of an epilogue.
fn errand(what: &str, call: io::Result<Command>, limit: Duration) -> Attempt {
    let mut child = match call.and_then(|mut call| call.stdout(Stdio::piped()).spawn()) {
        Ok(child) => child,
        Err(error) => return judge(what, Err(error)),
    };
    let begun = Instant::now();
    let obeyed = heard(&mut child, OBEYED, limit);
    match judge(what, end_of(&mut child, limit.saturating_sub(begun.elapsed()))) {
        _ if obeyed => Attempt::Done,
        Attempt::Done => Attempt::Final(format!("{what}: the target has not done it")),
        other @ (Attempt::Again(_) | Attempt::Final(_)) => other,
    }
}

/// The sandbox becomes the pilot's again, with all that is in it.
fn cleanup(glexec: &Glexec, sandbox: &Sandbox, patience: Patience) -> u8 {
    let held = match is_held(glexec) {
        Ok(held) => held,
        Err(error) => {
            complain(&format!("{:?} cannot be looked at: {error}", sandbox.pilots));
            return WRONG;
        }
    };
    let ended = if held { holder::end_job(&sandbox.pilots, LONGEST_SILENCE) } else { Ok(()) };
    if let Err(error) = ended {
        complain(&format!(
            "the run of glexec that held this sandbox's account is gone, and its files with it: {error}"
        ));
        return WRONG;
    }
    if persist(patience, || fetch(glexec, sandbox, held)) != DONE {
        return WRONG;
    }
    if held {
        holder::end(&sandbox.pilots, LONGEST_SILENCE);
    }
    match fs::rename(&sandbox.pilots, &sandbox.path) {
        Ok(()) => DONE,
        Err(error) => {
            complain(&format!("{:?} cannot be moved back: {error}", sandbox.pilots));
            WRONG
        }
    }
}

/// One try at cleanup. The target removes its files when it has been told that they are here.
fn fetch(glexec: &Glexec, sandbox: &Sandbox, held: bool) -> Attempt {
    let proxy = sandbox.proxy.clone().unwrap_or_default();
    let kept = sandbox.kept(held);
    let words = ["hand-back".as_ref(), sandbox.path.as_os_str(), proxy.as_os_str()];
    let start = open_directory(&sandbox.pilots).and_then(|directory| {
        // What an earlier try has left.
        clear(directory.as_fd(), &kept)?;
        let child = call(glexec, &words)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok((directory, child))
    });
    let (directory, mut child) = match start {
        Ok(both) => both,
        Err(error) => return Attempt::Final(format!("cleanup cannot begin: {error}")),
    };
    let pipe = child.stdout.take();
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
        Err(error) => {
            // The files are the target's still; half of them here may have filled the disk.
            let _ = clear(directory.as_fd(), &kept);
            match judge("cleanup", status) {
                Attempt::Again(sentence) => Attempt::Again(sentence),
                Attempt::Final(sentence) => Attempt::Final(format!("{sentence}; {error}")),
                Attempt::Done => {
                    Attempt::Final(format!("cleanup: the files cannot be read: {error}"))
                }
            }
        }
    }
}

/// Becomes glexec, which becomes the wrapper in the sandbox.
fn run(glexec: &Glexec, sandbox: &Path, words: &[OsString]) -> u8 {
    let become_it = || {
        // The job of a run of its own has the limits of this process; one that is asked for has not.
        let limits = if is_held(glexec)? { limits::own()? } else { String::new() };
        let all = [ENTER.as_ref(), limits.as_ref(), sandbox.as_os_str()].into_iter();
        let all: Vec<&OsStr> = all.chain(words.iter().map(OsString::as_os_str)).collect();
        Ok::<_, io::Error>(call(glexec, &all)?.exec())
    };
    let error = become_it().unwrap_or_else(|error| error);
    complain(&format!("{:?} cannot be started: {error}", glexec.program));
    FINAL
}

/// One signal to one of the job's processes.
fn kill(glexec: &Glexec, [pid, signal]: &[OsString; 2], patience: Patience) -> u8 {
    // What the starter takes for the job is glexec, where that lingers, or who has asked for the job:
    // the pilot can signal it, and the target cannot. Root could signal anything.
    let ours = dialect::aim(pid, signal).ok().filter(|_| !nix::unistd::geteuid().is_root());
    let signal_ours = || ours.is_some_and(|(pid, signal)| target::send_signal(pid, signal).is_ok());
    let held = is_held(glexec).unwrap_or(true);
    if !held && signal_ours() {
        return DONE;
    }
    let attempt = || {
        let words = [SIGNAL.as_ref(), pid.as_os_str(), signal.as_os_str()];
        let call = call(glexec, &words).map(|mut call| {
            call.stdin(Stdio::null());
            call
        });
        errand("kill", call, LONGEST_SIGNAL)
    };
    if held {
        // Who holds the account knows the job by who has asked for it, and can suspend it, too.
        return match attempt() {
            Attempt::Done => DONE,
            Attempt::Again(_) | Attempt::Final(_) if signal_ours() => DONE,
            Attempt::Again(sentence) | Attempt::Final(sentence) => {
                complain(&sentence);
                FINAL
            }
        };
    }
    persist(patience, attempt)
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
    let call = fs::File::open(new).and_then(|file| {
        let mut call = call(glexec, &words)?;
        call.stdin(file);
        Ok(call)
    });
    match errand("update_proxy", call, LONGEST_RENEWAL) {
        Attempt::Done => fs::rename(new, sandbox.pilots.join(name)).map_err(cannot),
        Attempt::Again(sentence) | Attempt::Final(sentence) => Err(sentence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> io::Result<Command> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        Ok(command)
    }

    /// The payload can stop what is called as its account.
    #[test]
    fn a_target_that_is_stopped_does_not_stop_who_waits_for_it() {
        let begun = Instant::now();
        let stopped = errand("kill", shell("kill -STOP $$"), Duration::from_millis(100));
        assert!(matches!(stopped, Attempt::Final(_)));
        let late = errand("kill", shell("echo obeyed; exec sleep 60"), Duration::from_millis(100));
        assert!(matches!(late, Attempt::Done));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_the_target_says_counts_before_what_glexec_says() {
        let ended = |text: &str| errand("kill", shell(text), Duration::from_secs(30));
        assert!(matches!(ended("echo obeyed; exit 202"), Attempt::Done));
        assert!(matches!(ended("exit 202"), Attempt::Again(_)));
        assert!(matches!(ended("exit 1"), Attempt::Final(_)));
        assert!(matches!(ended("exit 0"), Attempt::Final(_)));
    }
}
