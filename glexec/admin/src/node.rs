//! `glexec-admin check` of the node: whether the log, the state directory, the mounts, the helper
//! and glexec itself do for a run what a run wants of them.

use super::findings::Findings;
use super::rehearse::{self, PROGRAM};
use act::root::Root;
use act::sink::Post;
use act::state::StateDir;
use act::{self, apart, helper, trial};
use decide::config::{Config, LogDestination, LogRule, RowCaller};
use decide::policy;
use decide::refusal::Refusal;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Uid;
use observe::accounts::Lookups;
use observe::credential;
use report::{SiteReporter, not_logged};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use system::file_trust::Trust;
use system::secure_open;

/// /proc, without which no command is found and no payload is seen to end, and /dev/null, without
/// which nobody lingers.
pub(super) fn kernels_files(config: &Config, findings: &mut Findings) {
    let lingers = config.linger && !config.log_only;
    let null = if lingers { act::needs_dev_null() } else { Ok(()) };
    let is_good = null.is_ok();
    for stop in [act::needs_proc(lingers), null].into_iter().filter_map(Result::err) {
        findings.stop(&stop);
    }
    // Root opens it whatever its mode says.
    let mode = std::fs::metadata("/dev/null").map(|meta| meta.mode() & 0o777);
    if let (true, true, Ok(mode)) = (lingers, is_good, mode) {
        if mode & 0o006 != 0o006 {
            findings.error(&format!(
                "/dev/null is closed to users (mode {mode:04o}), and every lingering run ends with 202 (no-dev-null); chmod 666 /dev/null"
            ));
        }
    }
}

/// The log is opened and takes a line, as at the begin of a run.
pub(super) fn log(config: &Config, findings: &mut Findings) {
    if !Uid::effective().is_root() {
        return findings.warn("not root: whether the log takes a line was not tried");
    }
    match takes_a_line(&config.log, "glexec-admin check: the log takes a line") {
        Ok(shown) => findings.line("log", &shown),
        Err(stop) => findings.stop(&stop),
    }
}

/// Sends a line to a log, as at the begin of a run, and says which took it.
///
/// # Errors
/// [`Reason::Audit`](contract::Reason::Audit).
pub(super) fn takes_a_line(rule: &LogRule, line: &str) -> Result<String, Refusal> {
    let post = Post::open(None, rule).map_err(|untrusted| not_logged(untrusted.clause()))?;
    let reporter = SiteReporter::new(&post, "root".to_owned());
    reporter.use_log(rule, &post);
    reporter.looked_after(line)?;
    let shown = post.shown();
    let elsewhere = rule.destination == LogDestination::Syslog && !shown.starts_with("/dev/log ");
    let because = if elsewhere { "; there is no /dev/log, so the journal gets it" } else { "" };
    Ok(shown + because)
}

/// Where runs are remembered, whether another could be, and what is owed now.
pub(super) fn state(config: &Config, findings: &mut Findings) {
    let needed = config.epilogue.is_some()
        || !config.mapping.pools.is_empty()
        || !config.hand_over.is_empty();
    if !needed || config.log_only {
        return;
    }
    let Some(root) = Root::of_this_process() else {
        return findings.warn("not root: the state directory was not looked at");
    };
    let looked = StateDir::open(&root, &config.state).and_then(|directory| {
        trial::of_directory(&root, &directory)?;
        directory.entries()
    });
    match looked {
        Ok(entries) => {
            let aside = entries.iter().filter(|name| name.starts_with("aside.")).count();
            let (directory, runs) = (&config.state.directory, entries.len());
            findings.line("state", &format!("{directory}: {runs} entries; see glexec-admin ps"));
            if aside > 0 {
                findings
                    .warn(&format!("{aside} owed epilogues are set aside; see glexec-admin ps"));
            }
        }
        Err(stop) => findings.stop(&stop),
    }
}

/// Handing directories over counts on the kernel's rule for hard links (proc_sys_fs(5)).
pub(super) fn hand_over(config: &Config, findings: &mut Findings) {
    const RULE: &str = "/proc/sys/fs/protected_hardlinks";
    if config.hand_over.is_empty() {
        return;
    }
    findings.line("hand_over", &config.hand_over.join(", "));
    let mut value = String::new();
    let file = std::fs::OpenOptions::new().read(true).open(RULE);
    let read = file.and_then(|file| file.take(16).read_to_string(&mut value));
    if read.is_err() || value.trim() != "1" {
        findings.warn("hand_over without fs.protected_hardlinks = 1: set it with sysctl");
    }
}

/// The program's own file, its mount, and, where accounts are asked of it, the helper.
pub(super) fn installation(config: &Config, asks_helper: bool, findings: &mut Findings) {
    let Ok(meta) = std::fs::symlink_metadata(PROGRAM) else {
        return findings.warn(&format!("{PROGRAM} is not there"));
    };
    let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
    findings.line("program", &format!("{PROGRAM} owner {owner} mode {mode:04o}"));
    let setuid = owner == 0 && mode & 0o4000 != 0;
    if !setuid && !config.log_only {
        findings.error(&format!(
            "{PROGRAM} is not setuid root, and every run ends with 202; chown root and chmod 4755 it"
        ));
    }
    if setuid && config.log_only {
        findings.error(&format!(
            "log_only = true with a setuid program: every run ends with 202; take `log_only` out of the configuration, or the setuid bit from {PROGRAM}"
        ));
    }
    if mode & 0o022 != 0 {
        findings.error(&format!("{PROGRAM} is writable by others than its owner"));
    }
    open_to_callers(PROGRAM, 0o1, findings);
    if !config.log_only {
        mounted(PROGRAM, FsFlags::ST_NOSUID, "nosuid", findings);
    }
    mounted(PROGRAM, FsFlags::ST_NOEXEC, "noexec", findings);
    findings.line("helpers", helper::DIRECTORY);
    pays_debts(findings);
    let asked =
        [("glexec-accounts", asks_helper), (credential::HELPER, policy::asks_credential(config))];
    for (name, _) in asked.into_iter().filter(|(_, asked)| *asked) {
        let file = format!("{}/{name}", helper::DIRECTORY);
        open_to_callers(&file, 0o1, findings);
        mounted(&file, FsFlags::ST_NOEXEC, "noexec", findings);
    }
}

/// Without it nothing is refused, and what a killed run owes is never paid.
fn pays_debts(findings: &mut Findings) {
    let path = format!("{}/{}", helper::DIRECTORY, apart::PROGRAM);
    let missing = match std::fs::metadata(&path) {
        Err(error) => format!("{path} cannot be found: {error}"),
        Ok(meta) if meta.mode() & 0o100 == 0 => format!("{path} cannot be executed"),
        // Only root may read it.
        Ok(_) if !Uid::effective().is_root() => return,
        Ok(_) => match secure_open::open_file(&path, &Trust::default()) {
            Ok(_) => return,
            Err(untrusted) => untrusted.clause().to_owned(),
        },
    };
    findings.error(&format!(
        "{missing}: what a killed run owes would never be paid; install it as root's, mode 0700"
    ));
}

fn mounted(path: &str, flag: FsFlags, word: &str, findings: &mut Findings) {
    if statvfs(path).is_ok_and(|mount| mount.flags().contains(flag)) {
        findings.error(&format!(
            "{path} lies on a file system that is mounted {word}, and every run ends with 202; move it, or mount that file system without"
        ));
    }
}

/// Callers start it, or it is started with their rights: file and directories must be open to them.
fn open_to_callers(path: &str, others: u32, findings: &mut Findings) {
    for at in Path::new(path).ancestors() {
        let Ok(meta) = std::fs::metadata(at) else { continue };
        let (mode, gid) = (meta.mode() & 0o7777, meta.gid());
        if mode & others != 0 {
            continue;
        }
        let at = at.display();
        if mode & (others << 3) == 0 {
            findings.error(&format!(
                "{at} is closed to callers (mode {mode:04o}), and every run ends with 202; chmod a+x it"
            ));
        } else {
            findings.warn(&format!(
                "{at} is open to callers in group {gid} only (mode {mode:04o}); chmod a+x it for the others"
            ));
        }
    }
}

/// What every run meets and nothing above has looked at: glexec itself is asked, as the first caller
/// there is that is listed and mapped. What is wrong with that caller alone is not the node's fault.
pub(super) fn run_of_somebody(config: &Config, lookups: &mut Lookups<'_>, findings: &mut Findings) {
    if !Uid::effective().is_root() {
        return findings.warn("not root: no run was rehearsed");
    }
    let Some(name) = somebody(config, lookups) else {
        return findings.line("rehearsal", "nobody by name could call glexec; check --as USER");
    };
    let rehearsal = rehearse::as_user(&name);
    match rehearsal.site_fault() {
        Some(sentence) => findings.error(&format!("a run of {name}'s ends with 202: {sentence}")),
        None => findings.line("rehearsal", &format!("as {name}: {}", rehearsal.told())),
    }
}

/// Somebody who is listed and mapped, by name or as a member of a group.
pub(super) fn somebody(config: &Config, lookups: &mut Lookups<'_>) -> Option<String> {
    let rows = config.mapping.rows.iter().map(|row| &row.caller);
    for caller in rows.chain(config.mapping.pools.iter().map(|pool| &pool.caller)) {
        let names = match caller {
            RowCaller::User(name) => vec![name.clone()],
            RowCaller::Group(group) => lookups.members(group).ok().flatten().unwrap_or_default(),
        };
        let could_call = |name: &String| {
            let known = lookups.as_caller(name).ok().flatten();
            known.is_some_and(|(caller, groups)| {
                policy::judge(config, &caller, &groups, None).is_ok()
            })
        };
        if let Some(name) = names.into_iter().find(could_call) {
            return Some(name);
        }
    }
    None
}
