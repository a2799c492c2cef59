//! `glexec-admin check --as USER`: what a run of somebody's would do, asked of glexec itself as
//! that user.

use adapter::{Answer, BoundedCommand, rehearse};
use contract::{ADMIN_MUST_ACT, Reason, Record};
use nix::unistd::{User, initgroups, setgid, setuid};
use serde::Serialize;
use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

/// Where glexec is installed.
pub(super) const PROGRAM: &str = "/usr/sbin/glexec";
/// A rehearsal reads files and, at most, asks the account helper, which has limits of its own.
const LIMIT: Duration = Duration::from_secs(20);
/// The subcommand by which this program becomes the user.
pub(super) const AS_USER: &str = "rehearse-as";

/// Why there is no answer says nothing of the configuration, which `check` has looked at itself: a
/// user who has as many processes as a user may have cannot even be rehearsed for.
const NO_ANSWER: &str = "no-answer";

/// That the user may not even execute it, which is the installation's fault.
const NOT_EXECUTABLE: &str = "not-executable";

/// What glexec answered.
#[derive(Debug, Serialize)]
pub(super) struct Rehearsal {
    /// As a run would: 0, or 201, 202, 203.
    code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

/// Whom the payload would run as.
#[derive(Debug, Serialize)]
struct Target {
    name: String,
    uid: u32,
    gid: u32,
    pool: bool,
}

impl Rehearsal {
    fn failed(sentence: String) -> Self {
        let reason = Some(NO_ANSWER.to_owned());
        Self { code: ADMIN_MUST_ACT.into(), reason, sentence: Some(sentence), target: None }
    }

    /// What the site has to mend before anybody's run can work, where that is what was answered.
    pub(super) fn site_fault(&self) -> Option<String> {
        let passing = [Reason::TooManyRuns, Reason::NoFreeAccount, Reason::EpilogueIdentity];
        let word = self.reason.as_deref().unwrap_or_default();
        let of_one = word == NO_ANSWER || passing.iter().any(|reason| reason.word() == word);
        (self.code == i32::from(ADMIN_MUST_ACT) && !of_one)
            .then(|| format!("{} ({word})", self.sentence.as_deref().unwrap_or("no sentence")))
    }

    /// For a person, as one line.
    pub(super) fn text(&self) -> String {
        format!("{:<12} {}\n", "rehearsal", self.told())
    }

    /// Code, target or sentence, and the reason.
    pub(super) fn told(&self) -> String {
        let Self { code, reason, sentence, target } = self;
        let said = match (target, sentence) {
            (Some(target), _) => {
                format!("-> {} (uid {}, gid {})", target.name, target.uid, target.gid)
            }
            (None, Some(sentence)) => sentence.clone(),
            (None, None) => "no answer".to_owned(),
        };
        let reason = reason.as_ref().map(|word| format!(" ({word})")).unwrap_or_default();
        format!("{code}: {said}{reason}")
    }
}

/// Rehearses a run of `user`, a name or a uid. Needs root's rights to become that user.
pub(super) fn as_user(user: &str) -> Rehearsal {
    let tool = BoundedCommand {
        program: Path::new("/proc/self/exe"),
        words: vec![AS_USER.into(), user.into()],
        environment: Vec::new(),
        ids: None,
        limit: LIMIT,
        end_it: true,
    };
    match tool.run() {
        Ok(answer) if answer.late => {
            Rehearsal::failed(format!("{PROGRAM} --check has not ended in {} s", LIMIT.as_secs()))
        }
        Ok(answer) => read(&answer),
        Err(error) => Rehearsal::failed(format!("glexec-admin cannot start itself: {error}")),
    }
}

fn read(answer: &Answer) -> Rehearsal {
    let records = answer.stdout.lines().filter_map(|line| Record::parse(line).ok());
    for record in records {
        if let Record::Rehearsed { target: name, uid, gid, pool } = record {
            let target = Some(Target { name, uid, gid, pool });
            return Rehearsal { code: 0, reason: None, sentence: None, target };
        } else if let Record::Refused { code, reason, sentence } = record {
            let (reason, sentence) = (Some(reason), Some(sentence));
            return Rehearsal { code: code.into(), reason, sentence, target: None };
        }
    }
    let said = answer.stderr.lines().next().unwrap_or("it said nothing");
    Rehearsal::failed(format!("{PROGRAM} --check gave no answer: {said}"))
}

/// In a child: becomes the user for good.
///
/// # Errors
/// A sentence.
pub(super) fn become_account(user: &str) -> Result<(), String> {
    let account = match user.parse() {
        Ok(uid) => User::from_uid(nix::unistd::Uid::from_raw(uid)),
        Err(_) => User::from_name(user),
    };
    let account = match account {
        Ok(Some(account)) => account,
        Ok(None) => return Err(format!("there is no account {user} here")),
        Err(errno) => return Err(format!("account {user} cannot be looked up: {}", errno.desc())),
    };
    let name = CString::new(account.name.clone()).unwrap_or_default();
    let become_it = || {
        initgroups(&name, account.gid)?;
        setgid(account.gid)?;
        setuid(account.uid)
    };
    become_it().map_err(|errno| format!("cannot become {user} (root can): {}", errno.desc()))
}

/// In the child: becomes the user and asks; the records as lines.
///
/// # Errors
/// A sentence.
pub(super) fn become_user(user: &str) -> Result<String, String> {
    become_account(user)?;
    let records = rehearse(Path::new(PROGRAM), Vec::new(), LIMIT);
    let records = match records {
        Ok(records) => records,
        // The user's own limits.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) => {
            return Err(format!("{PROGRAM} cannot be started: {error}"));
        }
        Err(error) => vec![Record::Refused {
            code: ADMIN_MUST_ACT,
            reason: NOT_EXECUTABLE.to_owned(),
            sentence: format!(
                "{PROGRAM} cannot be executed by {user}: {error}; chmod 4755 it, and a+x every directory above it"
            ),
        }],
    };
    Ok(records.iter().map(Record::line).collect())
}
