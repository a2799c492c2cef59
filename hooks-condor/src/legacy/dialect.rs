//! The words with which HTCondor's starter and procd call, and those with which this program
//! calls itself as the target. Pure. (Facts 1.3, the table.)

use super::request::SOCKET;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first word of a call as the target.
pub(crate) const AS_TARGET: &str = "as-target";
/// What it says where it does for a whole sandbox what it is asked for.
pub(crate) const SERVE: &str = "serve";
/// What it says where it becomes the job.
pub(crate) const ENTER: &str = "enter";
/// What it says where it sends a signal.
pub(crate) const SIGNAL: &str = "signal";
const PREFIX: &str = "condor_glexec_";

/// Which of the programs it is, and the words for it: by the name it was called by, else by the
/// first word.
pub(crate) fn program(words: &[OsString]) -> Option<(&str, &[OsString])> {
    let (name, rest) = words.split_first()?;
    let name = Path::new(name).file_name()?.to_str().unwrap_or_default();
    let (program, rest) = match name.strip_prefix(PREFIX) {
        Some("job_wrapper") => return Some(("job_wrapper", rest)),
        Some(program) if rest.first().is_none_or(|word| word != AS_TARGET) => (program, rest),
        _ => {
            let (word, rest) = rest.split_first()?;
            let word = word.to_str()?;
            (word.strip_prefix(PREFIX).unwrap_or(word), rest)
        }
    };
    Some((program, rest))
}

/// How glexec is called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Glexec {
    pub(crate) program: PathBuf,
    /// `GLEXEC_CLIENT_CERT`; a job without a proxy has none.
    pub(crate) certificate: Option<PathBuf>,
    /// The pilot's half of the sandbox; what has no sandbox has none.
    pub(crate) pilots: Option<PathBuf>,
}

/// How often, and how long after the first error, it is called again.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) retries: u32,
    pub(crate) delay: Duration,
}

/// A sandbox and where the pilot's half of it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) path: PathBuf,
    /// `<sandbox>.condor`.
    pub(crate) pilots: PathBuf,
    /// The base name of the job's proxy.
    pub(crate) proxy: Option<OsString>,
}

impl Sandbox {
    fn read(path: &OsStr, proxy: &OsStr) -> Result<Self, String> {
        let path = absolute(path, "the sandbox")?;
        let name = proxy.as_bytes();
        if name.contains(&b'/') || name == b"." || name == b".." {
            return Err(format!("the proxy {proxy:?} is no plain file name"));
        }
        let mut pilots = path.clone().into_os_string();
        pilots.push(".condor");
        let proxy = Some(proxy.to_owned()).filter(|name| !name.is_empty());
        Ok(Self { path, pilots: pilots.into(), proxy })
    }

    /// What of its half stays the pilot's, by name: the proxy, and the socket where there is one.
    pub(crate) fn kept(&self, held: bool) -> Vec<&OsStr> {
        let socket = held.then_some(OsStr::new(SOCKET));
        self.proxy.as_deref().into_iter().chain(socket).collect()
    }

    /// The pilot's copy of the proxy.
    fn certificate(&self) -> Option<PathBuf> {
        self.proxy.as_ref().map(|name| self.pilots.join(name))
    }

    /// glexec for this sandbox.
    fn glexec(&self, program: &OsStr) -> Result<Glexec, String> {
        let program = absolute(program, "glexec")?;
        let pilots = Some(self.pilots.clone());
        Ok(Glexec { program, certificate: self.certificate(), pilots })
    }
}

fn absolute(word: &OsStr, what: &str) -> Result<PathBuf, String> {
    let path: PathBuf = Path::new(word).components().collect();
    if path.is_absolute() && path.file_name().is_some() {
        Ok(path)
    } else {
        Err(format!("{what} {word:?} is no absolute path"))
    }
}

fn number<T: std::str::FromStr>(word: &OsStr, what: &str) -> Result<T, String> {
    let plain = word.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    plain.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{what} {word:?} is no number"))
}

fn words<'a, const N: usize>(all: &'a [OsString], usage: &str) -> Result<[&'a OsStr; N], String> {
    let all: Vec<&OsStr> = all.iter().map(OsString::as_os_str).collect();
    all.try_into().map_err(|_| format!("usage: {PREFIX}{usage}"))
}

fn patience(retries: &OsStr, delay: &OsStr) -> Result<Patience, String> {
    let delay: u32 = number(delay, "the delay")?;
    let retries = number(retries, "the number of retries")?;
    Ok(Patience { retries, delay: Duration::from_secs(delay.into()) })
}

/// `setup` and `cleanup`: glexec, proxy, sandbox, retries, delay.
pub(crate) fn to_move(
    program: &str,
    all: &[OsString],
) -> Result<(Glexec, Sandbox, Patience), String> {
    let usage = format!("{program} GLEXEC PROXY SANDBOX RETRIES DELAY");
    let [glexec, proxy, sandbox, retries, delay] = words(all, &usage)?;
    let sandbox = Sandbox::read(sandbox, proxy)?;
    let glexec = sandbox.glexec(glexec)?;
    Ok((glexec, sandbox, patience(retries, delay)?))
}

/// `run`: glexec, proxy, sandbox, then the wrapper and its words, which are the target's.
pub(crate) fn to_run(all: &[OsString]) -> Result<(Glexec, PathBuf, &[OsString]), String> {
    let usage = "usage: condor_glexec_run GLEXEC PROXY SANDBOX WRAPPER IN OUT ERR COMMAND [ARG...]";
    let ([glexec, proxy, sandbox], rest) = match all {
        [a, b, c, rest @ ..] if rest.len() >= 5 => ([a, b, c], rest),
        _ => return Err(usage.to_owned()),
    };
    let sandbox = Sandbox::read(sandbox, proxy)?;
    let glexec = sandbox.glexec(glexec)?;
    Ok((glexec, sandbox.path, rest))
}

/// `kill`: glexec, the full path of the proxy, pid, signal, retries, delay.
pub(crate) fn to_kill(all: &[OsString]) -> Result<(Glexec, [OsString; 2], Patience), String> {
    let usage = "kill GLEXEC PROXYPATH PID SIGNAL RETRIES DELAY";
    let [glexec, proxy, pid, signal, retries, delay] = words(all, usage)?;
    aim(pid, signal)?;
    // A job without a proxy: `<sandbox>.condor/`.
    let is_file = !proxy.is_empty() && !proxy.as_bytes().ends_with(b"/");
    let certificate = if is_file { Some(absolute(proxy, "the proxy")?) } else { None };
    let within = |path: &PathBuf| path.parent().map(Path::to_owned);
    let pilots = certificate.as_ref().and_then(within);
    let pilots = pilots.or_else(|| absolute(proxy, "the proxy's directory").ok());
    let glexec = Glexec { program: absolute(glexec, "glexec")?, certificate, pilots };
    Ok((glexec, [pid.to_owned(), signal.to_owned()], patience(retries, delay)?))
}

/// A pid that is one process, and a signal; 0 and 1, and all that kill(2) takes for many, are
/// refused.
pub(crate) fn aim(pid: &OsStr, signal: &OsStr) -> Result<(i32, i32), String> {
    let pid: i32 = number(pid, "the pid")?;
    let signal: i32 = number(signal, "the signal")?;
    if pid > 1 && (0..=64).contains(&signal) {
        Ok((pid, signal))
    } else {
        Err(format!("signal {signal} to pid {pid} is refused"))
    }
}

/// `update_proxy`: the new proxy, the sandbox, and glexec where the sandbox is the target's.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) new: PathBuf,
    pub(crate) sandbox: Sandbox,
    pub(crate) name: OsString,
    pub(crate) glexec: Option<Glexec>,
}

/// `update_proxy`: glexec or `-`, new proxy, proxy, sandbox.
pub(crate) fn to_update(all: &[OsString]) -> Result<Update, String> {
    let usage = "update_proxy GLEXEC|- NEWPROXY PROXY SANDBOX";
    let [glexec, new, proxy, sandbox] = words(all, usage)?;
    let sandbox = Sandbox::read(sandbox, proxy)?;
    let name = sandbox.proxy.clone().ok_or("the proxy has no name")?;
    let glexec = if glexec == "-" { None } else { Some(sandbox.glexec(glexec)?) };
    Ok(Update { new: new.into(), sandbox, name, glexec })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<OsString> {
        text.split(' ').map(|word| if word == "''" { "" } else { word }.into()).collect()
    }

    #[test]
    fn the_name_or_the_first_word_says_which_program_it_is() {
        let name =
            |text: &str| program(&all(text)).map(|(name, rest)| (name.to_owned(), rest.len()));
        let is = |name: &str, rest| Some((name.to_owned(), rest));
        assert_eq!(name("/x/condor_glexec_setup a b"), is("setup", 2));
        assert_eq!(name("condor_glexec setup a b"), is("setup", 2));
        assert_eq!(name("condor_glexec condor_glexec_kill a"), is("kill", 1));
        assert_eq!(name("/x/condor_glexec_setup as-target unpack /d"), is("as-target", 2));
        assert_eq!(name("condor_glexec_job_wrapper as-target - - cmd"), is("job_wrapper", 4));
        assert_eq!(name("condor_glexec"), None);
        assert_eq!(program(&[]), None);
    }

    #[test]
    fn a_sandbox_has_a_pilots_half_and_perhaps_a_proxy() {
        let (glexec, sandbox, patience) = to_move("setup", &all("/g x509 /e/dir_7 3 5")).unwrap();
        assert_eq!(sandbox.pilots, Path::new("/e/dir_7.condor"));
        assert_eq!(glexec.certificate.unwrap(), Path::new("/e/dir_7.condor/x509"));
        assert_eq!(patience, Patience { retries: 3, delay: Duration::from_secs(5) });
        let (glexec, ..) = to_move("setup", &all("/g '' /e/dir_7/ 3 5")).unwrap();
        assert_eq!(glexec.certificate, None);
    }

    #[test]
    fn wrong_words_are_told() {
        for bad in [
            "/g x /e/d 3",
            "/g x /e/d 3 5 6",
            "g x /e/d 3 5",
            "/g a/b /e/d 3 5",
            "/g .. /e/d 3 5",
            "/g x e/d 3 5",
            "/g x / 3 5",
            "/g x /e/d -1 5",
            "/g x /e/d 3 +5",
            "/g x /e/d 3 99999999999",
        ] {
            assert!(to_move("setup", &all(bad)).is_err(), "{bad}");
        }
        assert!(to_run(&all("/g x /e/d /w - - -")).is_err());
        assert!(to_run(&all("/g x /e/d /w - - - cmd")).is_ok());
        assert!(to_update(&all("- /new '' /e/d")).is_err());
    }

    #[test]
    fn a_signal_goes_to_one_process() {
        for (pid, signal) in
            [("-1", "9"), ("0", "9"), ("1", "9"), ("7", "65"), ("7", "-9"), ("x", "9")]
        {
            assert!(aim(OsStr::new(pid), OsStr::new(signal)).is_err(), "{pid} {signal}");
        }
        assert_eq!(aim(OsStr::new("7"), OsStr::new("15")), Ok((7, 15)));
        let (glexec, ..) = to_kill(&all("/g /e/d.condor/ 7 15 3 5")).unwrap();
        assert_eq!(glexec.certificate, None);
        assert_eq!(glexec.pilots.unwrap(), Path::new("/e/d.condor"));
        let (glexec, ..) = to_kill(&all("/g /e/d.condor/p 7 15 3 5")).unwrap();
        assert_eq!(glexec.certificate.unwrap(), Path::new("/e/d.condor/p"));
        assert_eq!(glexec.pilots.unwrap(), Path::new("/e/d.condor"));
        let (glexec, ..) = to_kill(&all("/g '' 7 15 3 5")).unwrap();
        assert_eq!(glexec.pilots, None);
    }
}
