//! What of the caller's environment a payload may see.

use super::config::{Config, JobEnvironment, Kept};
use super::facts::Account;
use super::names::never_kept;
use super::payload_copy::ProxyCopy;
use contract::variables::{
    EPILOGUE_PREFIX, JOB_ENVIRONMENT, PREFIX, STACK_LIMIT, TMPDIR, UNLIMITED,
};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

/// The caller's environment, read once: names with values, no name twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environ {
    entries: Vec<Variable>,
    /// Entries without `=`, with an empty name, or with a name that was there already.
    pub dropped: usize,
}

/// `NAME=value`, and where the `=` is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    entry: CString,
    at: usize,
}

impl Variable {
    /// `None` without a `=`, or without a name.
    fn read(entry: CString) -> Option<Self> {
        let at = memchr::memchr(b'=', entry.as_bytes()).filter(|at| *at > 0)?;
        Some(Self { entry, at })
    }

    fn name(&self) -> &[u8] {
        self.entry.as_bytes().get(..self.at).unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        self.entry.as_bytes().get(self.at + 1..).unwrap_or_default()
    }
}

impl Environ {
    /// Reads raw entries. Of a name given twice the first counts.
    pub fn read(raw: Vec<CString>) -> Self {
        let all = raw.len();
        let mut entries: Vec<Variable> = raw.into_iter().filter_map(Variable::read).collect();
        // Sorted, and not hashed: a hash that nobody can foresee asks the kernel for a secret. Of equal
        // names the first comes first.
        let mut order: Vec<usize> = (0..entries.len()).collect();
        let name = |at: &usize| entries.get(*at).map(Variable::name);
        order.sort_unstable_by(|a, b| name(a).cmp(&name(b)).then(a.cmp(b)));
        let mut again = vec![false; entries.len()];
        for pair in order.windows(2) {
            if let [one, next] = pair {
                if name(one) == name(next) {
                    again.get_mut(*next).into_iter().for_each(|is| *is = true);
                }
            }
        }
        let mut again = again.into_iter();
        entries.retain(|_| !again.next().unwrap_or_default());
        let dropped = all - entries.len();
        Self { entries, dropped }
    }

    /// A variable's value; empty means unset.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.entries.iter().find(|variable| variable.name() == name.as_bytes());
        found.map(Variable::value).filter(|value| !value.is_empty())
    }
}

/// `NAME=value` as exec wants it. A NUL cannot be in either: both came through exec or from a
/// configuration that refuses it; should one be there all the same, the entry is left out.
pub fn entry(name: &[u8], value: &[u8]) -> Option<CString> {
    CString::new([name, b"=", value].concat()).ok()
}

/// The variables that name an account: HOME, USER, LOGNAME, SHELL.
pub fn of_account(account: &Account) -> Vec<CString> {
    let name = account.name.as_bytes();
    [
        (&b"HOME"[..], account.home.as_bytes()),
        (b"USER", name),
        (b"LOGNAME", name),
        (b"SHELL", account.shell.as_bytes()),
    ]
    .into_iter()
    .filter_map(|(name, value)| entry(name, value))
    .collect()
}

/// Nobody else's is the payload's; nor PATH, unless it is the job's own.
const TARGETS: [&[u8]; 5] = [b"HOME", b"USER", b"LOGNAME", b"SHELL", b"TMPDIR"];

/// What the caller says is the job's own.
///
/// The caller chooses the payload's command and its words, so it gains nothing by what it tells the
/// payload's loader or shell. It would by telling it to what is not the payload: so such variables
/// need an epilogue that has none of them.
enum JobsOwn<'e> {
    All,
    /// In their order.
    Named(Vec<&'e [u8]>),
}

impl<'e> JobsOwn<'e> {
    fn read(environ: &'e Environ, rule: JobEnvironment) -> Self {
        let said = environ.get(JOB_ENVIRONMENT).filter(|_| rule == JobEnvironment::All);
        match said {
            Some(b"*") => Self::All,
            said => {
                let mut names: Vec<_> = said.unwrap_or_default().split(|b| *b == b' ').collect();
                names.sort_unstable();
                Self::Named(names)
            }
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.binary_search(&name).is_ok(),
        }
    }
}

/// The payload's environment: what of the caller's is allowed or the job's own, then the target's.
pub fn compose(
    environ: &Environ,
    config: &Config,
    account: &Account,
    copy: Option<&ProxyCopy>,
) -> Vec<CString> {
    let own = JobsOwn::read(environ, config.job_environment);
    let kept = environ.entries.iter().filter(|variable| {
        let (name, value) = (variable.name(), variable.value());
        if TARGETS.contains(&name)
            || copy.is_some_and(|copy| name == copy.told_in.as_bytes())
            || [JOB_ENVIRONMENT.as_bytes(), STACK_LIMIT.as_bytes()].contains(&name)
            || name.starts_with(EPILOGUE_PREFIX.as_bytes())
        {
            return false;
        }
        let listed = || name != b"PATH" && is_allowed(name, &config.preserve);
        own.has(name) || (listed() && is_harmless(name, value))
    });
    let mut out: Vec<CString> = kept.map(|variable| variable.entry.clone()).collect();
    out.extend(of_account(account));
    if !out.iter().any(|entry| entry.as_bytes().starts_with(b"PATH=")) {
        out.extend(entry(b"PATH", config.path.as_bytes()));
    }
    let tmpdir = environ.get(TMPDIR).filter(|dir| dir.starts_with(b"/"));
    out.extend(tmpdir.and_then(|dir| entry(b"TMPDIR", dir)));
    out.extend(copy.and_then(|copy| entry(copy.told_in.as_bytes(), copy.target.to_bytes())));
    out
}

/// What the caller says of the payload's stack, in bytes; what is no number says nothing.
pub fn stack_limit(environ: &Environ) -> Option<u64> {
    let said = std::str::from_utf8(environ.get(STACK_LIMIT)?).ok()?;
    if said == UNLIMITED { Some(u64::MAX) } else { said.parse().ok() }
}

fn is_allowed(name: &[u8], preserve: &[Kept]) -> bool {
    let is_listed = |kept: &Kept| match kept {
        Kept::Name(listed) => listed.as_bytes() == name,
        Kept::Prefix(prefix) => name.starts_with(prefix.as_bytes()),
    };
    !never_kept(name) && (name.starts_with(PREFIX.as_bytes()) || preserve.iter().any(is_listed))
}

/// Values that a shell, a formatter or a path lookup of the payload would be fooled by
/// (CVE-2014-6271, CVE-2014-9680 and their like).
fn is_harmless(name: &[u8], value: &[u8]) -> bool {
    if value.starts_with(b"()") {
        return false;
    }
    let has = |needle: &[u8]| memchr::memmem::find(value, needle).is_some();
    let words = [&b"LANG"[..], b"LANGUAGE", b"TERM", b"COLORTERM"];
    if words.contains(&name) || name.starts_with(b"LC_") {
        return !has(b"/") && !has(b"%") && !has(b"\n");
    }
    if name == b"TZ" {
        return !value.starts_with(b"/") && !value.starts_with(b":") && !has(b"..") && !has(b"%");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Syntax;
    use nix::unistd::{Gid, Uid};
    use proptest::prelude::*;

    fn composed(raw: &[&str], preserve: &str) -> Vec<String> {
        with_rule(raw, &format!("preserve_env_variables = [{preserve}]"))
    }

    fn with_rule(raw: &[&str], lines: &str) -> Vec<String> {
        let raw = raw.iter().map(|e| CString::new(*e).unwrap()).collect();
        let text = format!("[glexec]\n{lines}\n");
        let config = Config::parse(text.as_bytes(), Syntax::Toml).unwrap();
        let account = Account {
            name: "p1".to_owned(),
            uid: Uid::from_raw(1000),
            gid: Gid::from_raw(1000),
            home: "/home/p1".into(),
            shell: "/bin/sh".into(),
        };
        let out = compose(&Environ::read(raw), &config, &account, None);
        out.into_iter().map(|e| e.into_string().unwrap()).collect()
    }

    const OF_TARGET: [&str; 5] = [
        "HOME=/home/p1",
        "USER=p1",
        "LOGNAME=p1",
        "SHELL=/bin/sh",
        "PATH=/usr/local/bin:/usr/bin:/bin",
    ];

    #[test]
    fn nothing_of_the_callers_is_kept_but_glexec_names_and_what_the_site_lists() {
        let hostile = [
            "HOME=/evil",
            "PATH=/evil",
            "LD_PRELOAD=/x",
            "PYTHONPATH=/x",
            "A=1",
            "FOO=2",
            "GLEXEC_X=3",
            "GLEXEC_EPILOG_TARGET_RC=0",
            "LISTEN_FDS=3",
            "=x",
            "noequals",
            "A=2",
        ];
        let mut want = vec!["A=1", "GLEXEC_X=3"];
        want.extend(OF_TARGET);
        assert_eq!(composed(&hostile, "\"A\", \"HOME\""), want);
    }

    #[test]
    fn values_that_fool_a_shell_or_a_lookup_are_dropped() {
        let raw = [
            "FOO=() { :;}",
            "LANG=../../tmp/x",
            "TERM=%s",
            "TZ=:/tmp/evil",
            "LC_ALL=a\nb",
            "COLORTERM=truecolor",
        ];
        let names = "\"FOO\",\"LANG\",\"TERM\",\"TZ\",\"LC_*\",\"COLORTERM\"";
        let mut want = vec!["COLORTERM=truecolor"];
        want.extend(OF_TARGET);
        assert_eq!(composed(&raw, names), want);
        for zone in ["/tmp/evil", "Europe/../../../tmp/evil", "%s"] {
            assert_eq!(composed(&[&format!("TZ={zone}")], names), OF_TARGET, "{zone}");
        }
        let fine = composed(&["TZ=Europe/Amsterdam", "LANG=C.UTF-8"], names);
        assert_eq!(
            fine.get(..2),
            Some(&["TZ=Europe/Amsterdam".to_owned(), "LANG=C.UTF-8".to_owned()][..])
        );
    }

    #[test]
    fn what_is_the_jobs_own_passes_as_it_is_where_the_site_says_so() {
        let all = "job_environment = \"all\"";
        let raw = [
            "LD_LIBRARY_PATH=/sw",
            "F=() { :;}",
            "PATH=/sw/bin",
            "HOME=/evil",
            "USER=evil",
            "TMPDIR=/evil",
            "GLEXEC_EPILOG_TARGET_RC=0",
            "OTHER=1",
            "GLEXEC_NOTE=1",
        ];
        let with = |names: &str, lines: &str| {
            let named = format!("GLEXEC_JOB_ENVIRONMENT={names}");
            with_rule(&[&raw[..], &[named.as_str()]].concat(), lines)
        };
        let [home, user, logname, shell, path] = OF_TARGET;
        let of_target = [home, user, logname, shell];
        let own = ["LD_LIBRARY_PATH=/sw", "F=() { :;}", "PATH=/sw/bin"];
        let named = with("F HOME LD_LIBRARY_PATH PATH USER TMPDIR GLEXEC_EPILOG_TARGET_RC", all);
        assert_eq!(named, [&own[..], &["GLEXEC_NOTE=1"], &of_target].concat());
        let every = with("*", all);
        assert_eq!(every, [&own[..], &["OTHER=1", "GLEXEC_NOTE=1"], &of_target].concat());
        for (names, lines) in [("*", ""), ("*", "job_environment = \"listed\""), ("", all)] {
            let want = [&["GLEXEC_NOTE=1"][..], &of_target, &[path]].concat();
            assert_eq!(with(names, lines), want, "{names:?} {lines}");
        }
    }

    #[test]
    fn a_stack_is_a_number_or_unlimited() {
        let said = |text: &str| {
            let entry = CString::new(format!("GLEXEC_STACK_LIMIT={text}")).unwrap();
            stack_limit(&Environ::read(vec![entry]))
        };
        assert_eq!([said("unlimited"), said("16777216")], [Some(u64::MAX), Some(1 << 24)]);
        for odd in ["", "-1", "8M", "99999999999999999999", "Unlimited"] {
            assert_eq!(said(odd), None, "{odd}");
        }
        assert!(!composed(&["GLEXEC_STACK_LIMIT=1"], "").iter().any(|e| e.contains("STACK")));
    }

    #[test]
    fn an_absolute_glexec_tmpdir_becomes_tmpdir() {
        let out = composed(&["GLEXEC_TMPDIR=/scratch"], "");
        assert!(out.contains(&"TMPDIR=/scratch".to_owned()));
        assert!(
            !composed(&["GLEXEC_TMPDIR=x", "TMPDIR=/y"], "\"TMPDIR\"")
                .iter()
                .any(|e| e.starts_with("TMPDIR"))
        );
    }

    proptest! {
        #[test]
        fn no_variable_outside_the_allow_list_ever_survives(raw in prop::collection::vec("[ -~]{0,12}", 0..20)) {
            let raw: Vec<&str> = raw.iter().map(String::as_str).collect();
            for entry in composed(&raw, "\"KEPT_*\"") {
                let ours = OF_TARGET.contains(&entry.as_str());
                prop_assert!(ours || entry.starts_with("GLEXEC_") || entry.starts_with("KEPT_") || entry.starts_with("TMPDIR=/"));
            }
        }
    }
}
