//! `glexec-admin map`: whom a subject, a credential or a token is mapped to, as a run would be.

use act::gridmapdir::{Gridmapdir, Wanted};
use act::root::Root;
use contract::Reason;
use decide::config::{Config, GridmapRule};
use decide::credential::{Credential, Mapped, read_answer};
use decide::gridmapdir::lease_name;
use decide::policy::{Granted, TargetGroups};
use decide::refusal::Refusal;
use nix::unistd::Uid;
use observe::accounts::{AccountFiles, Lookups};
use observe::config_file::{self, Etc};
use observe::credential::{Rules, SiteFiles};
use observe::lcmaps;
use serde::Serialize;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What is asked about.
pub(super) enum About {
    /// A subject, as grid-mapfiles have it.
    Subject(String),
    /// A credential in a file, as its owner would present it.
    Credential(std::path::PathBuf),
    /// A token in a file, as its owner would present it.
    Token(std::path::PathBuf),
}

/// What was found out, as JSON has it.
#[derive(Serialize)]
struct Told {
    subject: String,
    /// Seconds since 1970 until which a credential is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    warnings: Vec<String>,
    /// The first of them unless the caller picks another.
    accounts: Vec<Target>,
}

#[derive(Serialize)]
struct Target {
    name: String,
    uid: u32,
    gid: u32,
}

/// Why there is no account, as JSON has it.
#[derive(Serialize)]
struct NotMapped<'s> {
    code: u8,
    reason: &'static str,
    sentence: &'s str,
    detail: Option<&'s str>,
}

/// Prints the answer; 0 where there is an account, else 1.
pub(super) fn run(about: &About, json: bool) -> u8 {
    let (text, code) = match answer(about) {
        Ok(told) if json => (serde_json::to_string(&told).unwrap_or_default() + "\n", 0),
        Ok(told) => (told.text(), 0),
        Err(stop) => (not_mapped(&stop, json), 1),
    };
    u8::from(!report::print(&text)).max(code)
}

fn not_mapped(stop: &Refusal, json: bool) -> String {
    let (reason, code) = (stop.reason.word(), stop.exit_code());
    let (sentence, detail) = (stop.sentence.as_str(), stop.detail.as_deref());
    if json {
        let told = NotMapped { code, reason, sentence, detail };
        return serde_json::to_string(&told).unwrap_or_default() + "\n";
    }
    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{:<12} {code} {reason}: {sentence}{detail}\n", "refused")
}

impl Told {
    fn text(&self) -> String {
        let line = |name: &str, value: &str| format!("{name:<12} {value}\n");
        let mut text = line("subject", &self.subject);
        text.extend(self.until.map(|until| line("until", &format!("{until} s after 1970"))));
        text.extend(self.warnings.iter().map(|warning| line("WARNING", warning)));
        text.extend(self.accounts.iter().map(|Target { name, uid, gid }| {
            line("account", &format!("{name} (uid {uid}, gid {gid})"))
        }));
        text
    }
}

fn answer(about: &About) -> Result<Told, Refusal> {
    let config = config_file::read()?;
    let (rules, what) = match about {
        About::Token(_) => (
            Rules::of(&config.mapping, true),
            "this site maps nobody by token: \"token\" is not in `methods`",
        ),
        About::Subject(_) | About::Credential(_) => (
            Rules::of(&config.mapping, false),
            "this site maps nobody by credential: neither \"gridmap\" nor \"lcmaps\" is in `methods`",
        ),
    };
    let rules = rules.ok_or_else(|| Refusal::new(Reason::NotAvailable, what))?;
    let root = Root::of_this_process().ok_or_else(|| {
        Refusal::new(
            Reason::Usage,
            "whom a credential is mapped to is for root only; call it as root",
        )
    })?;
    let files = SiteFiles::open(&root, rules)?;
    let credential = match about {
        About::Subject(subject) => {
            let told = files.told_of(None, &format!("subject={subject}"))?;
            read_answer(&told, "the question", &[])?
        }
        About::Credential(path) | About::Token(path) => presented(&files, path)?,
    };
    if config.mapping.banned.contains(&credential.subject) {
        let detail = format!("{} is in mapping.banned", credential.subject);
        return Err(Refusal::refused(Reason::Banned, detail));
    }
    let accounts = accounts(&config, rules, (&root, &credential))?;
    let until = (!matches!(about, About::Subject(_))).then_some(credential.until);
    Ok(Told { subject: credential.subject, until, warnings: credential.notes, accounts })
}

fn presented(files: &SiteFiles<'_>, path: &Path) -> Result<Credential, Refusal> {
    let failed =
        |why: String| Refusal::new(Reason::Credential, format!("{} {why}", path.display()));
    let owner =
        std::fs::metadata(path).map_err(|error| failed(format!("cannot be found: {error}")))?;
    let name =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| failed("is no path".to_owned()))?;
    files.read(None, (&name, "this file"), (Uid::from_raw(owner.uid()), false))
}

/// Each account that the subject may have, the first of them unless it picks another.
fn accounts(
    config: &Config,
    rules: Rules<'_>,
    (root, credential): (&Root, &Credential),
) -> Result<Vec<Target>, Refusal> {
    let mut lookups = Lookups::new(None, AccountFiles::read(&Etc::open()), config.account_source)?;
    let names = match (&credential.mapped, rules.gridmap()) {
        (Mapped::Nobody, _) if credential.by_token => {
            let file = config.mapping.token.as_ref().map_or("", |rule| &rule.mapfile);
            return Err(unmapped(file, &credential.subject));
        }
        (Mapped::Accounts(names), gridmap) if gridmap.is_some() || credential.by_token => {
            names.iter().cloned().map(Granted::of).collect()
        }
        (Mapped::Pool(pool), Some(rule)) => {
            vec![Granted::of(of_pool(rule, (root, credential), pool, &mut lookups)?)]
        }
        _ => vec![by_lcmaps(config, rules, credential, &mut lookups)?],
    };
    let target = |granted: Granted| {
        let target = lookups.target(&granted, config.min_target_uid)?;
        let name = granted.account;
        Ok(Target { name, uid: target.uid().as_raw(), gid: target.gid().as_raw() })
    };
    names.into_iter().map(target).collect()
}

fn unmapped(file: &str, subject: &str) -> Refusal {
    Refusal::new(Reason::NoMapping, format!("no line of {file} maps {subject}"))
}

/// Whom LCMAPS maps to, where it is asked: it makes the lease that a run would have.
fn by_lcmaps(
    config: &Config,
    rules: Rules<'_>,
    credential: &Credential,
    lookups: &mut Lookups<'_>,
) -> Result<Granted, Refusal> {
    let subject = &credential.subject;
    let asked = config.mapping.lcmaps.as_ref().zip(config.mapping.credential.as_ref());
    let Some(asked) = asked else {
        return Err(unmapped(rules.gridmap().map_or("", |rule| &rule.grid_mapfile), subject));
    };
    if credential.pem.is_empty() {
        let what = "LCMAPS maps credentials and not subjects: ask with --credential";
        return Err(Refusal::new(Reason::NotAvailable, what));
    }
    let mapped = lcmaps::map(None, asked, &credential.pem, true)?;
    let groups = TargetGroups::Ids(mapped.gid, mapped.groups);
    Ok(Granted { account: lookups.name_of(mapped.uid)?, groups })
}

/// The account that the subject has, or would be given; no lease is made.
fn of_pool(
    rule: &GridmapRule,
    (root, credential): (&Root, &Credential),
    pool: &str,
    lookups: &mut Lookups<'_>,
) -> Result<String, Refusal> {
    let none = || {
        Refusal::mapping(format!("it is mapped to the pool .{pool}, and there is no `gridmapdir`"))
    };
    let path = rule.gridmapdir.as_ref().ok_or_else(none)?;
    let too_long = || Refusal::new(Reason::NoMapping, "the subject is too long for a lease");
    let lease = lease_name(&credential.subject).ok_or_else(too_long)?;
    let rights = || Root::of_this_process().ok_or_else(|| Refusal::new(Reason::Usage, "not root"));
    let subject = &credential.subject;
    let wanted = Wanted { subject, lease: &lease, pool, take: false };
    Gridmapdir::open(root, path)?
        .account(&rights, &wanted, &mut |name| Ok(lookups.missing(&[name.to_owned()])?.is_empty()))
}
