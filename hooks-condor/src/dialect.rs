//! HTCondor's words, in and out. Pure.

use contract::variables::BEARER_TOKEN_FILE;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The job's key: both the wrapper and the hooks get it from the starter, it names one sandbox of
/// one job, and it is the directory that is handed over.
pub(crate) const KEY: &str = "_CONDOR_SCRATCH_DIR";

/// Where in a sandbox the starter keeps a job's credentials; `_CONDOR_CREDS` tells the job.
pub(crate) const CREDENTIALS: &str = ".condor_creds";

/// `HookStatusCode` from here on sends the job back to the queue; below it is held.
const IDLE: u32 = 300;

/// More of a hook's output the starter does not read (PIPE_BUFFER_MAX, 10240).
const MOST_OF_A_HOOK: usize = 10_000;

/// Whether this variable is the starter's own: session keys, sockets, where its daemons are.
pub(crate) fn is_secret(name: &OsStr) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"CONDOR_INHERIT",
        b"CONDOR_PARENT_ID",
        b"CONDOR_PROCD_ADDRESS",
        b"CONDOR_PROCD_ADDRESS_BASE",
        b"_CONDOR_EXECUTE",
        b"_CONDOR_PROCD_ADDRESS",
    ];
    let name = name.as_bytes();
    NAMES.contains(&name)
        || name.starts_with(b"CONDOR_PRIVATE_")
        || name.starts_with(b"_CONDOR_PRIVATE_")
}

/// A ClassAd string literal. What would end the line or the string is replaced.
fn literal(text: &str) -> String {
    quoted(text, &['"', '\\'])
}

/// The same for a hook's output, in which, as in the ad on its input, a backslash stands for itself
/// but before a quote within the string.
fn line_literal(text: &str) -> String {
    quoted(text, &['"'])
}

fn quoted(text: &str, special: &[char]) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            character if special.contains(&character) => out.extend(['\\', character]),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
    out + "\""
}

/// What becomes of a job before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is held, with this subcode and sentence.
    Hold(u8, String),
    /// It goes back to the queue.
    Idle(u8, String),
}

impl Fate {
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Hold(code, _) | Self::Idle(code, _) => *code,
        }
    }

    /// The lines for the hook's stdout.
    pub(crate) fn lines(&self) -> String {
        let (code, sentence) = match self {
            Self::Hold(code, sentence) => (u32::from(*code), sentence),
            Self::Idle(code, sentence) => (IDLE + u32::from(*code), sentence),
        };
        format!("HookStatusCode = {code}\nHookStatusMessage = {}\n", line_literal(sentence))
    }
}

/// The job ad as the starter writes it to a hook's stdin: lines `Name = value`.
#[derive(Debug, Default)]
pub(crate) struct Ad(Vec<(String, String)>);

impl Ad {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(" = "));
        Self(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// An attribute that is a string, without its quotes.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        Self::inner(self.value(name)?)
    }

    /// The value of every line of that name, as it stands there, but for those that have none.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(known, value)| {
            known.eq_ignore_ascii_case(name) && !value.eq_ignore_ascii_case("undefined")
        });
        named.map(|(_, value)| value.as_str())
    }

    /// The same as strings; `None` for what is none. Every line, for a line feed in another's value
    /// may begin one.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = Option<String>> {
        self.values(name).map(Self::inner)
    }

    fn inner(value: &str) -> Option<String> {
        let inner = value.strip_prefix('"')?.strip_suffix('"')?;
        let mut out = String::new();
        let mut characters = inner.chars().peekable();
        while let Some(character) = characters.next() {
            let escaped = if character == '\\' { characters.next_if_eq(&'"') } else { None };
            out.push(escaped.unwrap_or(character));
        }
        Some(out)
    }

    /// Whether it has this attribute, with a value, on any line of that name: a line feed in
    /// another's value may begin one that says "undefined".
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The job's arguments in the newer syntax, whichever it has them in; `None` where it has some
    /// that cannot be read.
    fn arguments(&self) -> Option<String> {
        if self.value("Arguments").is_some() {
            return self.text("Arguments");
        }
        let old = self.value("Args").map_or(Some(String::new()), |_| self.text("Args"))?;
        Some(old.split_whitespace().map(word).collect::<Vec<_>>().join(" "))
    }
}

/// One word in the raw syntax of `Arguments`: blanks between words, quoted by `'`.
fn word(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '\'');
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// The lines that make the job run `wrapper` with `command` and the job's arguments behind it.
///
/// # Errors
/// Why the starter would not get the arguments as they are.
pub(crate) fn rewritten(ad: &Ad, wrapper: &str, command: &str) -> Result<String, String> {
    let arguments = ad.arguments().ok_or("its arguments cannot be read")?;
    let arguments = format!("{} {arguments}", word(command));
    let lines = format!(
        "Cmd = {}\nArguments = {}\nTransferExecutable = false\n",
        line_literal(wrapper),
        line_literal(arguments.trim_end())
    );
    if lines.len() > MOST_OF_A_HOOK {
        Err("its arguments are too long".to_owned())
    } else if arguments.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        Err("its arguments are no plain UTF-8 text".to_owned())
    } else {
        Ok(lines)
    }
}

/// Whether the job's command is a file that this machine has, and not one that is sent: `Cmd` then
/// names it as it is.
pub(crate) fn runs_a_file_of_this_machine(ad: &Ad) -> bool {
    let not_sent = |value: &str| value.eq_ignore_ascii_case("false");
    let mut said = ad.values("TransferExecutable").peekable();
    if said.peek().is_some() {
        return said.all(not_sent);
    }
    let mut files = ad.texts("ShouldTransferFiles").peekable();
    // With IF_NEEDED what was needed is here, and is found first.
    let may_share = |text: Option<String>| {
        text.is_some_and(|text| ["NO", "IF_NEEDED"].iter().any(|w| text.eq_ignore_ascii_case(w)))
    };
    files.peek().is_some() && files.all(may_share)
}

/// The variables of the job that are glexec's own: what it will be asked for when the job runs. An
/// environment that cannot be read has none; the run meets it.
pub(crate) fn own_of_glexec(ad: &Ad) -> Vec<(OsString, OsString)> {
    let text = ad.text("Environment").unwrap_or_default();
    let all = crate::environment::parse(text.as_bytes()).unwrap_or_default().into_iter();
    let own = all.filter(|(name, _)| name.starts_with(contract::variables::PREFIX.as_bytes()));
    own.map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value))).collect()
}

/// Where the starter puts the job's proxy, where it has one: under its own name in the sandbox.
pub(crate) fn proxy(ad: &Ad, sandbox: &Path) -> Option<PathBuf> {
    let path = ad.text("x509userproxy")?;
    Some(sandbox.join(Path::new(&path).file_name()?))
}

/// The token of a job that asks for credentials (`use_oauth_services`): this file of those that the
/// starter keeps for it in this directory.
pub(crate) fn token(ad: &Ad, credentials: &Path, name: &str) -> Option<PathBuf> {
    ad.text("OAuthServicesNeeded").map(|_| credentials.join(name))
}

/// Whether the job itself says where its token is (WLCG Bearer Token Discovery). What a starter has
/// besides is a pilot's own.
pub(crate) fn names_a_token(ad: &Ad) -> bool {
    let own = jobs_own(ad);
    own.as_bytes().split(|byte| *byte == b' ').any(|name| name == BEARER_TOKEN_FILE.as_bytes())
}

/// The names of the variables that are the job's own, with blanks between them: what its ad sets, and its
/// proxy where it has one. A starter may give a job its own environment besides, a pilot's with all
/// that is the pilot's alone.
pub(crate) fn jobs_own(ad: &Ad) -> OsString {
    let text = ad.text("Environment").unwrap_or_default();
    let all = crate::environment::parse(text.as_bytes()).unwrap_or_default();
    let mut names: Vec<Vec<u8>> = all.into_keys().collect();
    // The older syntax: entries with one byte between them.
    let delimiter = ad.text("EnvDelim").and_then(|text| text.bytes().next()).unwrap_or(b';');
    let old = ad.text("Env").unwrap_or_default();
    let old = old.as_bytes().split(|byte| *byte == delimiter);
    names.extend(
        old.filter_map(|entry| entry.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec)),
    );
    if ad.has("x509userproxy") {
        names.push(b"X509_USER_PROXY".to_vec());
    }
    // The starter's word, which no list of the site's can have: other variables of python's lead it to
    // files.
    names.push(b"PYTHON_CPU_COUNT".to_vec());
    names.retain(|name| !name.is_empty() && !name.contains(&b' '));
    OsString::from_vec(names.join(&b' '))
}

/// The `KEY=VALUE` by which glexec finds the runs of this job.
pub(crate) fn key_word(scratch: &OsStr) -> OsString {
    let mut word = OsString::from(format!("{KEY}="));
    word.push(scratch);
    word
}

/// A sandbox as a log names it: `dir_7`, and `dir_7/scratch` of HTCondor 25.
pub(crate) fn short(sandbox: &Path) -> &Path {
    let nested = sandbox.file_name() == Some(OsStr::new("scratch"));
    let above = sandbox.ancestors().nth(if nested { 2 } else { 1 });
    above.and_then(|above| sandbox.strip_prefix(above).ok()).unwrap_or(sandbox)
}

/// An attribute of the job's ad and its value, an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

impl Attribute {
    pub(crate) fn text(name: &'static str, text: &str) -> Self {
        Self { name, value: literal(text) }
    }

    pub(crate) fn number(name: &'static str, number: u64) -> Self {
        Self { name, value: number.to_string() }
    }

    /// What takes an attribute's value away.
    pub(crate) fn none(name: &'static str) -> Self {
        Self { name, value: "undefined".to_owned() }
    }

    /// Microseconds as seconds.
    pub(crate) fn seconds(name: &'static str, microseconds: u64) -> Self {
        let (whole, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
        Self { name, value: format!("{whole}.{rest:06}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_has_the_jobs_own_wishes_and_no_more() {
        let ad = Ad::parse("Environment = \"PATH=/evil 'GLEXEC_TARGET_USER=a b' LD_PRELOAD=/x\"\n");
        let own = own_of_glexec(&ad);
        assert_eq!(own, [(OsString::from("GLEXEC_TARGET_USER"), OsString::from("a b"))]);
        assert!(own_of_glexec(&Ad::parse("Environment = \"'open\"\n")).is_empty());
    }
    use proptest::prelude::*;

    #[test]
    fn a_jobs_proxy_is_in_the_sandbox_under_its_own_name() {
        let of = |ad: &str| proxy(&Ad::parse(ad), Path::new("/s"));
        assert_eq!(of("x509userproxy = \"/tmp/x509up_u1\"\n"), Some("/s/x509up_u1".into()));
        assert_eq!(of("x509userproxy = \"p\"\n"), Some("/s/p".into()));
        for none in ["", "x509userproxy = \"/\"\n", "x509userproxy = \"..\"\n"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_jobs_token_is_the_starters_file_for_it_or_what_the_job_names() {
        let of = |ad: &str| token(&Ad::parse(ad), Path::new("/s/.condor_creds"), "scitokens.use");
        let needed = "OAuthServicesNeeded = \"scitokens\"\n";
        assert_eq!(of(needed), Some("/s/.condor_creds/scitokens.use".into()));
        assert_eq!(of("Cmd = \"x\"\n"), None);
        let names = |ad: &str| names_a_token(&Ad::parse(ad));
        assert!(names("Environment = \"A=1 BEARER_TOKEN_FILE=/t\"\n"));
        for none in ["Environment = \"XBEARER_TOKEN_FILE=/t\"\n", needed, ""] {
            assert!(!names(none), "{none}");
        }
    }

    #[test]
    fn the_jobs_own_variables_are_named_in_either_syntax() {
        for (ad, names) in [
            ("Environment = \"A=1 'B=a b' LD_PRELOAD=/x\"\n", "A B LD_PRELOAD PYTHON_CPU_COUNT"),
            ("Env = \"A=1;B=2\"\n", "A B PYTHON_CPU_COUNT"),
            ("Env = \"A=1|B=;\"\nEnvDelim = \"|\"\n", "A B PYTHON_CPU_COUNT"),
            ("x509userproxy = \"/home/other/p\"\n", "X509_USER_PROXY PYTHON_CPU_COUNT"),
            ("Environment = \"'open\"\n", "PYTHON_CPU_COUNT"),
            ("", "PYTHON_CPU_COUNT"),
        ] {
            assert_eq!(jobs_own(&Ad::parse(ad)), *names, "{ad}");
        }
    }

    #[test]
    fn the_starters_own_is_known_and_the_jobs_is_not() {
        for name in [
            "CONDOR_INHERIT",
            "CONDOR_PRIVATE_INHERIT",
            "CONDOR_PRIVATE_SHARED_PORT_COOKIE",
            "_CONDOR_PRIVATE_SHARED_PORT_COOKIE",
            "_CONDOR_EXECUTE",
        ] {
            assert!(is_secret(OsStr::new(name)), "{name}");
        }
        for name in [KEY, "_CONDOR_ANCESTOR_7", "CONDOR_CONFIG", "_CONDOR_JOB_AD", "PATH"] {
            assert!(!is_secret(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_log_has_what_tells_one_sandbox_from_another() {
        for (sandbox, name) in [
            ("/var/lib/condor/execute/dir_7", "dir_7"),
            ("/var/lib/condor/execute/dir_7/scratch", "dir_7/scratch"),
            ("/scratch", "/scratch"),
            ("", ""),
        ] {
            assert_eq!(short(Path::new(sandbox)), Path::new(name));
        }
    }

    #[test]
    fn held_and_idle_are_told_by_the_number() {
        let held = Fate::Hold(203, "no \"mapping\"\nfor you".to_owned());
        assert_eq!(
            held.lines(),
            "HookStatusCode = 203\nHookStatusMessage = \"no \\\"mapping\\\" for you\"\n"
        );
        assert!(Fate::Idle(202, String::new()).lines().starts_with("HookStatusCode = 502\n"));
    }

    #[test]
    fn a_rewritten_job_has_its_words_one_by_one() {
        let new = Ad::parse("Cmd = \"/x/a b\"\nArguments = \"-c 'exit 7'\"\n");
        assert_eq!(
            rewritten(&new, "/w", "/x/a b").unwrap(),
            "Cmd = \"/w\"\nArguments = \"'/x/a b' -c 'exit 7'\"\nTransferExecutable = false\n"
        );
        let old = Ad::parse("Cmd = \"c\"\nArgs = \"a it's\"\n");
        assert_eq!(
            rewritten(&old, "/w", "/c").unwrap(),
            "Cmd = \"/w\"\nArguments = \"/c a 'it''s'\"\nTransferExecutable = false\n"
        );
        let none = Ad::parse("Cmd = \"c\"\n");
        assert_eq!(
            rewritten(&none, "/w", "/c").unwrap(),
            "Cmd = \"/w\"\nArguments = \"/c\"\nTransferExecutable = false\n"
        );
    }

    #[test]
    fn a_backslash_in_the_arguments_stands_for_itself() {
        let ad = Ad::parse("Arguments = \"a\\b 'c\\\\d' e\\\"f g\\\"\n");
        assert_eq!(ad.text("Arguments").unwrap(), "a\\b 'c\\\\d' e\"f g\\");
        let lines = rewritten(&ad, "/w", "/c").unwrap();
        assert!(lines.contains("Arguments = \"/c a\\b 'c\\\\d' e\\\"f g\\\"\n"), "{lines}");
        // What condor_chirp is given is an expression.
        assert_eq!(Attribute::text("A", "a\\b\"").value, "\"a\\\\b\\\"\"");
    }

    #[test]
    fn arguments_that_would_not_arrive_are_not_rewritten() {
        let long = format!("Arguments = \"{}\"\n", "x".repeat(10_000));
        let odd = ["Arguments = \"a\nb\"\n", "Args = 7\n", "Arguments = \"a\tb\u{fffd}\"\n", &long];
        for text in odd {
            assert!(rewritten(&Ad::parse(text), "/w", "/c").is_err(), "{text:.40}");
        }
    }

    #[test]
    fn seconds_have_their_fraction() {
        assert_eq!(Attribute::seconds("A", 1_000_042).value, "1.000042");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_second_line(text in ".*") {
            let lines = Fate::Hold(201, text.clone()).lines();
            prop_assert_eq!(lines.lines().count(), 2);
            let back = Ad::parse(&lines).text("HookStatusMessage").unwrap();
            let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            prop_assert_eq!(back, clean);
        }
    }
}
