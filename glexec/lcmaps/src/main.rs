//! `glexec-lcmaps WORD…`: asks the site's own LCMAPS whom the credential on standard input is mapped
//! to, and answers in lines `key=value`, which glexec judges again.
//!
//! Words: `library=NAME`, a path or what the dynamic linker finds; `db=FILE`, LCMAPS's database, which
//! `LCMAPS_DB_FILE` names, too; `log=FILE`, where LCMAPS's own
//! lines go as well; `attributes=believed`, where LCMAPS is not to verify VOMS attributes;
//! `only=init`, where nobody is to be mapped. What else LCMAPS is told are variables of this process,
//! which glexec makes of the configuration.
//!
//! Answers: `uid=`, `gid=` for each primary group and `group=` for each other; or `refused=lcmaps` or
//! `refused=sites`, with `detail=`; and `note=` for the log. Exit code 0 with an answer, 2 where the
//! words are no question, 1 where the answer cannot be given.
//!
//! It runs as root, because LCMAPS's gridmapdir is root's, with nothing of its caller's but the
//! credential. The library parses bytes of the caller's with root's rights, as it does everywhere: so
//! it is bounded in time and memory, and ends when it has answered.

mod database;
mod library;

use library::{Library, Mapped};
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{alarm, dup2_stdout, getgroups, getresgid, getresuid};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use system::file_trust::Trust;
use system::secure_open;
use system::text::one_line;

/// What it says of itself.
const ABOUT: about::Program = about::Program {
    name: "glexec-lcmaps",
    words: "QUESTION...",
    summary: "asks the site's LCMAPS whom a credential is mapped to",
    details: &[
        "Called by glexec, as root, where \"lcmaps\" is in `methods` and a caller names a credential. The verified credential is on standard input, the answer is lines key=value.",
        "Exit code 0 with an answer, a refusal included; 2 where the words are no question, 1 where the answer cannot be given.",
    ],
};

/// Seconds until it ends by itself, whoever waits for it: glexec gives up one later.
const SECONDS: u32 = 9;
/// The most that is read of a credential.
const MOST: u64 = 1 << 20;
/// So many of LCMAPS's own complaints are told.
const MOST_NOTES: usize = 8;

/// What is bounded, and by how much: seconds of the processor, bytes, descriptors.
const BOUNDS: [(Resource, u64); 5] = [
    (Resource::RLIMIT_CPU, 8),
    (Resource::RLIMIT_AS, 1 << 30),
    (Resource::RLIMIT_FSIZE, 1 << 30),
    (Resource::RLIMIT_NOFILE, 256),
    (Resource::RLIMIT_CORE, 0),
];

/// What is asked.
#[derive(Debug, Default)]
struct Question {
    library: String,
    database: String,
    log: Option<String>,
    believes_attributes: bool,
    only_init: bool,
}

/// Why there is no mapping, and whose move that is.
enum Refused {
    /// LCMAPS has refused: it does not say whether for a ban, a missing line, or a fault.
    ByLcmaps,
    /// The site's; the clause for the log.
    Sites(String),
}

impl Question {
    fn of(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut question = Self::default();
        for word in words {
            match word.split_once('=')? {
                ("library", name) => name.clone_into(&mut question.library),
                ("db", path) => path.clone_into(&mut question.database),
                ("log", path) => question.log = Some(path.to_owned()),
                ("attributes", "believed") => question.believes_attributes = true,
                ("only", "init") => question.only_init = true,
                _ => return None,
            }
        }
        let is_whole = !question.library.is_empty() && !question.database.is_empty();
        is_whole.then_some(question)
    }
}

fn main() -> ExitCode {
    if let Some(code) = about::answered!(ABOUT) {
        return code;
    }
    let words: Option<Vec<String>> =
        std::env::args_os().skip(1).map(|word| word.into_string().ok()).collect();
    let Some(question) = words.and_then(|words| Question::of(words.into_iter())) else {
        return ExitCode::from(2);
    };
    let Ok(mut output) = own_output() else { return ExitCode::from(1) };
    let text = match bounded().and_then(|()| own_log()) {
        Ok(log) => answer(&question, log),
        Err(error) => line("refused", "sites") + &line("detail", &format!("LCMAPS: {error}")),
    };
    ExitCode::from(u8::from(output.write_all(text.as_bytes()).is_err()))
}

/// The answer's descriptor for this program alone: what the library prints goes nowhere.
fn own_output() -> std::io::Result<File> {
    let output = std::io::stdout();
    let own = output.as_fd().try_clone_to_owned()?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(File::from(own))
}

fn bounded() -> std::io::Result<()> {
    for (resource, most) in BOUNDS {
        setrlimit(resource, most, most)?;
    }
    alarm::set(SECONDS);
    Ok(())
}

/// What LCMAPS says is kept in memory, under the number that `LCMAPS_LOG_FILE` names: its answers
/// have no reasons.
fn own_log() -> std::io::Result<File> {
    const NUMBER: i32 = 63;
    let log = memfd_create(c"log", MFdFlags::MFD_CLOEXEC)?;
    let number = fcntl(&log, FcntlArg::F_DUPFD_CLOEXEC(NUMBER))?;
    if number == NUMBER {
        return Ok(File::from(log));
    }
    Err(std::io::Error::other(format!("descriptor {NUMBER} is taken")))
}

fn answer(question: &Question, mut log: File) -> String {
    let found = mapped(question);
    let mut bytes = Vec::new();
    let read = log.rewind().and_then(|()| log.take(MOST).read_to_end(&mut bytes));
    // A name in a certificate need not be UTF-8, and what LCMAPS says of it is worth more than none.
    let said = String::from_utf8_lossy(&bytes);
    let mut text = String::new();
    if read.is_err() {
        text += &line("note", "what LCMAPS has said cannot be read");
    }
    if let Some(Err(why)) = question.log.as_ref().map(|path| keep(path, &said)) {
        text += &line("note", &format!("lcmaps_log_file: {why}"));
    }
    let refused = found.is_err();
    let complaints: Vec<&str> = said.lines().filter_map(|line| complaint(line, refused)).collect();
    match found {
        Ok(Some(Mapped { uid, primary, secondary })) => {
            text += &line("uid", &uid.to_string());
            text.extend(primary.iter().map(|gid| line("gid", &gid.to_string())));
            text.extend(secondary.iter().map(|gid| line("group", &gid.to_string())));
        }
        Ok(None) => text += &line("initialised", "yes"),
        Err(Refused::ByLcmaps) => text += &line("refused", "lcmaps"),
        Err(Refused::Sites(why)) => text += &(line("refused", "sites") + &line("detail", &why)),
    }
    text.extend(
        complaints.iter().take(MOST_NOTES).map(|why| line("note", &format!("LCMAPS: {why}"))),
    );
    text
}

fn line(key: &str, value: &str) -> String {
    format!("{key}={}\n", one_line(value))
}

/// Loads the library and asks it; `None` where nobody was to be mapped.
fn mapped(question: &Question) -> Result<Option<Mapped>, Refused> {
    let site = |what: &str, why: String| Refused::Sites(format!("{what}: {why}"));
    let database = &question.database;
    database::is_trusted(database).map_err(|why| site("lcmaps_db_file", why))?;
    let name = &question.library;
    let load = || {
        if name.starts_with('/') {
            let trusted = secure_open::resolve(name, SFlag::S_IFREG, &Trust::default());
            trusted.map_err(|untrusted| format!("{name}: {}", untrusted.clause()))?;
        }
        Library::load(name)
    };
    let library = load().map_err(|why| {
        let cure = "install LCMAPS (Debian: liblcmaps0), or name its file in `library`";
        site("LCMAPS cannot be loaded", format!("{why}; {cure}"))
    })?;
    let unusable = |why| site("LCMAPS cannot be used", why);
    let (major, minor) = library.version().map_err(unusable)?;
    if (major, minor) < (1, 5) {
        return Err(unusable(format!("{name} is version {major}.{minor}, and 1.5 is needed")));
    }
    if question.believes_attributes {
        library.believe_attributes().map_err(unusable)?;
    }
    if !library.init().map_err(unusable)? {
        let why = "it or a plug-in that it names cannot be used; the notes say which";
        return Err(site("LCMAPS cannot be initialised", format!("{database}: {why}")));
    }
    if question.only_init {
        return Ok(None);
    }
    let credential = credential().map_err(unusable)?;
    let before = ids();
    let answer = library.map(&credential).map_err(unusable)?;
    if ids() != before {
        let why = "a plug-in has changed the ids of its process (lcmaps_posix_enf does); take it out of the policy, for glexec changes them itself";
        return Err(site("lcmaps_db_file", format!("{database}: {why}")));
    }
    answer.map(Some).ok_or(Refused::ByLcmaps)
}

fn credential() -> Result<CString, String> {
    let mut text = Vec::new();
    let read = std::io::stdin().lock().take(MOST + 1).read_to_end(&mut text);
    read.map_err(|error| format!("the credential cannot be read: {error}"))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
        return Err(format!("the credential is larger than {MOST} bytes"));
    }
    CString::new(text).map_err(|_| "the credential has a NUL in it".to_owned())
}

/// Every id of this process, as text.
fn ids() -> String {
    format!("{:?} {:?} {:?}", getresuid(), getresgid(), getgroups())
}

/// Appends what LCMAPS has said to the site's file, root's own.
fn keep(path: &str, said: &str) -> Result<(), String> {
    let trust = Trust::default();
    let clause = |untrusted: secure_open::Untrusted| untrusted.clause().to_owned();
    let (directory, name) = secure_open::open_parent(path, &trust).map_err(clause)?;
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file: OwnedFd = openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| format!("{path}: {}", errno.desc()))?;
    secure_open::judge(&file, path, SFlag::S_IFREG, &trust).map_err(clause)?;
    File::from(file).write_all(said.as_bytes()).map_err(|error| format!("{path}: {error}"))
}

/// What is told of a line of LCMAPS's, `lcmaps[PID]   LOG_ERR: TIME: text`: errors and warnings, and
/// where nobody is mapped notices, which have the plug-ins' reasons.
fn complaint(line: &str, refused: bool) -> Option<&str> {
    let levels = ["LOG_ERR: ", "LOG_WARNING: ", "LOG_NOTICE: "];
    let mut told = levels.iter().take(if refused { 3 } else { 2 });
    let (_, rest) = told.find_map(|level| line.split_once(level))?;
    Some(rest.split_once(": ").map_or(rest, |(_, text)| text).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lcmaps_complains_of_is_told_and_nothing_else() {
        let said = "lcmaps[7]    LOG_INFO: 2026-11-23.13:38:46Z: all is well\n\
            lcmaps[7]     LOG_ERR: 2026-11-23.13:38:46Z: lcmaps_x.mod: no such file\n\
            lcmaps[7] LOG_WARNING: 2026-11-23.13:38:46Z: beware\nLOG_ERR: odd\n\
            lcmaps[7]  LOG_NOTICE: 2026-11-23.13:38:46Z: no match\n";
        let told = |refused| said.lines().filter_map(|line| complaint(line, refused)).collect();
        let usual: Vec<&str> = told(false);
        assert_eq!(usual, ["lcmaps_x.mod: no such file", "beware", "odd"]);
        let refused: Vec<&str> = told(true);
        assert_eq!(refused.last(), Some(&"no match"));
    }

    #[test]
    fn words_are_a_question_or_none() {
        let of = |words: &str| Question::of(words.split(' ').map(str::to_owned));
        let asked = of("library=x db=/d log=/l attributes=believed only=init").unwrap();
        assert!(asked.believes_attributes && asked.only_init && asked.log.is_some());
        for bad in
            ["", "library=x", "library= db=/d", "library=x db=/d y=z", "library=x db=/d only=map"]
        {
            assert!(of(bad).is_none(), "{bad}");
        }
    }
}
