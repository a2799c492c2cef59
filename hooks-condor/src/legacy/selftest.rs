//! For a pilot factory, before it offers a slot: does glexec work here? (Facts 1.2, the last
//! paragraph: what glideinWMS asked.)

use crate::starter::condor_program;
use adapter::BoundedCommand;
use contract::variables;
use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DEFAULT: &str = "/usr/sbin/glexec";
const WORD: &str = "glexec works here";
/// How long HTCondor's own tool may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// `glexec-condor-selftest [GLEXEC [DIRECTORY]]`: one line for each check; 0 where all is well,
/// else 1 and a sentence that says what to do. The script of the second check is put into the
/// directory, `/tmp` without one.
pub fn selftest(words: &[OsString]) -> u8 {
    let mut out = io::stdout();
    let word = |n: usize, default: &str| words.get(n).map_or(default.into(), PathBuf::from);
    let (glexec, directory) = (word(0, DEFAULT), word(1, "/tmp"));
    let mut say = |what: &str, done: Result<String, String>| {
        let (mark, text) = match &done {
            Ok(text) => ("ok", text),
            Err(text) => ("FAILED", text),
        };
        let _ = writeln!(out, "{mark}: {what}: {text}");
        done.is_ok()
    };
    let inline = say("a shell with an inline command", try_shell(&glexec));
    let script = inline && say("a script of our own", try_script(&glexec, &directory));
    if let Some(note) = left_over() {
        let _ = writeln!(out, "note: {note}");
    }
    u8::from(!script)
}

/// What a start-up still sets and today's HTCondor does not look at.
fn left_over() -> Option<&'static str> {
    let program = condor_program(None, "condor_config_val")?;
    let asked = BoundedCommand {
        program: &program,
        words: vec!["GLEXEC_JOB".into()],
        environment: env::vars_os().collect(),
        ids: None,
        limit: PATIENCE,
        end_it: true,
    };
    let answer = asked.run().ok().filter(|answer| answer.code == Some(0))?;
    let is_set = answer.stdout.trim().eq_ignore_ascii_case("true");
    is_set.then_some(
        "GLEXEC_JOB = True has no effect from HTCondor 9.11 on: jobs run by glexec where the hooks and \
         the wrapper of docs/glideinwms.md are configured",
    )
}

fn try_shell(glexec: &Path) -> Result<String, String> {
    // The original did not like symbolic links.
    let shell = fs::canonicalize("/bin/sh").map_err(|error| format!("/bin/sh: {error}"))?;
    let text = format!("/usr/bin/id -u && echo {WORD}");
    ask(glexec, &[shell.into(), "-c".into(), text.into()])
}

fn try_script(glexec: &Path, directory: &Path) -> Result<String, String> {
    let own = directory.join(format!("glexec-selftest-{}", std::process::id()));
    let cannot = |error: io::Error| {
        format!("no script can be put into {own:?}: {error}; name a directory that is the pilot's")
    };
    fs::DirBuilder::new().mode(0o700).create(&own).map_err(cannot)?;
    let script = own.join("script");
    let text = format!("#!/bin/sh\n/usr/bin/id -u && echo {WORD}\n");
    let written = fs::write(&script, text)
        .and_then(|()| fs::set_permissions(&script, Permissions::from_mode(0o755)))
        .and_then(|()| fs::set_permissions(&own, Permissions::from_mode(0o755)))
        .map_err(cannot);
    let asked = written.and_then(|()| ask(glexec, &[script.into_os_string()]));
    let _ = fs::remove_dir_all(&own);
    asked.map_err(|text| {
        format!(
            "{text}; the inline command worked: let the target pass through {directory:?} and all \
             directories above it (chmod a+x), and mount it without noexec"
        )
    })
}

/// Runs the words by glexec; its answer is a uid and the fixed text.
fn ask(glexec: &Path, words: &[OsString]) -> Result<String, String> {
    let mut command = Command::new(glexec);
    command.args(words).env_clear().stdin(Stdio::null()).env(variables::TARGET_PROXY, "/dev/null");
    if let Some(proxy) = env::var_os("X509_USER_PROXY").filter(|path| !path.is_empty()) {
        command.env(variables::CLIENT_CERT, proxy);
    }
    let ended = command.output().map_err(|error| {
        format!("{glexec:?} cannot be started: {error}; install glexec, or name the right path")
    })?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&ended.stderr).trim().replace('\n', "; ");
    if !ended.status.success() {
        return Err(format!("{}: {complaint}", advice(ended.status.code())));
    }
    let lines: Vec<&str> = said.lines().collect();
    let (uid, last) = match lines.as_slice() {
        [.., uid, last] => (*uid, *last),
        _ => ("", ""),
    };
    if last != WORD {
        return Err(format!("its last line is {last:?}: something else writes to its output"));
    }
    let own = nix::unistd::getuid().as_raw();
    match uid.parse::<u32>() {
        Ok(uid) if uid != own => Ok(format!("as uid {uid}, the pilot has {own}")),
        Ok(_) => Err(format!("it ran as the pilot, uid {own}: map the pilot to another account")),
        Err(_) => Err(format!("{uid:?} is no uid: something else writes to its output")),
    }
}

/// What to do about an exit status.
fn advice(code: Option<i32>) -> String {
    match code {
        Some(201) => "glexec wants something else of the pilot (201); do what it says".to_owned(),
        Some(202) => {
            "glexec is not set up (202); ask the site's administrator to run `glexec-admin \
                      check`"
                .to_owned()
        }
        Some(203) => "glexec refuses the pilot (203); ask the site's administrator to put its \
                      account on user_white_list and to map it"
            .to_owned(),
        Some(code) => format!("exit status {code}; see glexec's log"),
        None => "glexec was killed; see its log".to_owned(),
    }
}
