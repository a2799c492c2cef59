//! `glexec-admin check` of the epilogue: can it be trusted and started, and whom does it obey.

use super::advice::sentences::callers;
use super::findings::Findings;
use super::obeyed::is_obeyed;
use act::root::Root;
use act::{self, helper};
use contract::Reason;
use decide::config::{Config, EpilogueEnvironment, EpilogueRule, Kept, Listed};
use decide::entry::Person;
use decide::epilogue_environment::ROOTS_PATH;
use decide::epilogue_identity::EpilogueIdentity;
use decide::target::Target;
use nix::sys::stat::SFlag;
use observe::accounts::Lookups;
use std::path::Path;
use system::file_trust::{Stranger, Trust};
use system::secure_open::{self, Untrusted};

const CURE: &str = "write epilogue_environment = \"own\"";

/// What is wrong with the epilogue, and what it would do.
pub(super) fn check(
    config: &Config,
    (lookups, targets): (&mut Lookups<'_>, &[Target]),
    findings: &mut Findings,
) {
    let Some(rule) = &config.epilogue else {
        return findings.line("epilogue", "none");
    };
    let identity = match lookups.epilogue(|| Ok(()), rule) {
        Ok(identity) => identity,
        Err(stop) => return findings.stop(&stop),
    };
    let (name, gid) = (&identity.account.name, identity.gid);
    let seconds = rule.timeout.as_secs();
    findings.line("epilogue", &format!("{} as {name}, gid {gid}, at most {seconds} s", rule.path));
    let is_roots = identity.account.uid.is_root();
    keep_apart(&identity, config, &mut *lookups, targets, findings);
    if rule.environment == EpilogueEnvironment::Payload {
        callers_words(config, rule, name, findings);
        payloads_path(&config.path, &identity.trust, targets, findings);
    }
    let epilogue = rule.epilogue(identity, Vec::new());
    let program = match act::epilogue::open(&epilogue) {
        Ok(program) => program,
        Err(stop) => return findings.stop(&stop),
    };
    findings.line("epilogue", "trusted: nobody else can change it or a directory above it");
    for interpreter in &program.interpreters {
        findings.line("epilogue", &format!("is started with {}: trusted, too", interpreter.path));
    }
    interpreter(rule.environment, is_roots, &program.head, findings);
    let path = if rule.is_apart() { ROOTS_PATH } else { config.path.as_str() };
    let found = act::epilogue::finds_its_interpreter(&rule.path, &program, path);
    if let Err(stop) = found {
        findings.stop(&stop);
    }
    let Some(root) = Root::of_this_process() else {
        return findings
            .warn("not root: whether the epilogue's identity can be taken was not tried");
    };
    if let Err(stop) = act::epilogue::try_identity(&root, &epilogue, &program) {
        findings.stop(&stop);
    }
}

/// A caller or a target that the epilogue is trusted to has no run: 202. An error only where nobody
/// is left.
fn keep_apart(
    identity: &EpilogueIdentity,
    config: &Config,
    lookups: &mut Lookups<'_>,
    targets: &[Target],
    findings: &mut Findings,
) {
    if identity.trust.user.is_none() && identity.trust.group.is_none() {
        return;
    }
    let mut names: Vec<&str> = callers(config).into_iter().map(|(_, name)| name).collect();
    names.sort_unstable();
    names.dedup();
    let known = names.iter().filter_map(|name| lookups.as_caller(name).ok().flatten());
    let people: Vec<Person> = known.map(|(caller, _)| caller.person()).collect();
    let of_targets: Vec<Person> = targets.iter().map(Target::person).collect();
    let by_name = |entry: &Listed| matches!(entry, Listed::Name(_));
    let others = !config.group_white_list.is_empty() || !config.user_white_list.iter().all(by_name);
    for (what, all) in [("caller", &people), ("target", &of_targets)] {
        let mut met: Vec<&str> = all
            .iter()
            .filter(|person| identity.meets(person))
            .map(|person| person.name.as_str())
            .collect();
        let nobody_left = met.len() == all.len() && (what == "target" || !others);
        met.sort_unstable();
        met.dedup();
        let Some(first) = met.first() else { continue };
        let more =
            if met.len() > 1 { format!(" and {} more", met.len() - 1) } else { String::new() };
        let text = format!(
            "{what} {first}{more}: is epilogue_user or in epilogue_group and could change the epilogue, and its runs end with 202; give the epilogue an identity of its own ({})",
            Reason::EpilogueIdentity.word()
        );
        if nobody_left {
            findings.error(&text);
        } else {
            findings.warn(&text);
        }
    }
}

/// With the payload's HOME a root epilogue may obey files of the target's.
fn interpreter(rule: EpilogueEnvironment, is_roots: bool, head: &[u8], findings: &mut Findings) {
    const FOOLED: [&str; 7] = ["python", "zsh", "csh", "tcsh", "fish", "ruby", "node"];
    if rule == EpilogueEnvironment::Own || !is_roots {
        return;
    }
    let line = head.strip_prefix(b"#!").and_then(|rest| rest.split(|b| *b == b'\n').next());
    let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    let words = line.split_whitespace().filter_map(|word| word.rsplit('/').next());
    let fooled: Vec<&str> =
        words.filter(|word| FOOLED.iter().any(|f| word.starts_with(f))).collect();
    match fooled.first() {
        Some(name) => findings.error(&format!("{name} would run as root with the target's HOME and obey files there; {CURE}")),
        None => findings.warn(&format!("the epilogue runs as root with the target's HOME: python, curl, git and their like obey files there; {CURE}")),
    }
}

/// Variables of the caller's that reach the epilogue and that programs obey.
fn callers_words(config: &Config, rule: &EpilogueRule, name: &str, findings: &mut Findings) {
    let shown = |kept: &Kept| match kept {
        Kept::Name(name) => name.clone(),
        Kept::Prefix(prefix) => format!("{prefix}*"),
    };
    let obeyed = config.preserve.iter().filter(|kept| is_obeyed(kept));
    let obeyed: Vec<String> = obeyed.map(shown).collect();
    if obeyed.is_empty() {
        return;
    }
    let text = format!(
        "`preserve_env_variables`: the epilogue runs as {name} with the caller's {}, which programs obey that it starts; {CURE}",
        obeyed.join(", ")
    );
    if Path::new(&rule.path).starts_with(helper::DIRECTORY) {
        findings.error(&text);
    } else {
        findings.warn(&text);
    }
}

/// Directories in which an epilogue with the payload's PATH finds programs.
fn payloads_path(path: &str, trust: &Trust, targets: &[Target], findings: &mut Findings) {
    for directory in path.split(':') {
        let Err(untrusted) = judge(directory, trust) else { continue };
        let text = format!(
            "`path`: the epilogue finds programs in {directory}, and {}; {CURE}, or take it out",
            untrusted.clause()
        );
        let targets_own = match untrusted {
            Untrusted::Changeable(Stranger::Anybody, _) => true,
            Untrusted::Changeable(Stranger::User(uid), _) => targets.iter().any(|t| t.uid() == uid),
            Untrusted::Changeable(Stranger::Group(gid), _) => {
                targets.iter().any(|t| t.gid() == gid || t.groups().contains(&gid))
            }
            Untrusted::Missing(_) | Untrusted::Exhausted(_) | Untrusted::Because(_) => false,
        };
        if targets_own {
            findings.error(&text);
        } else {
            findings.warn(&text);
        }
    }
}

/// Of a directory that is not there, whoever may make it counts.
fn judge(directory: &str, trust: &Trust) -> Result<(), Untrusted> {
    let mut at = Path::new(directory);
    loop {
        let shown = at.to_str().unwrap_or("/");
        match secure_open::resolve(shown, SFlag::S_IFDIR, trust) {
            Err(missing @ Untrusted::Missing(_)) => at = at.parent().ok_or(missing)?,
            judged => return judged.map(drop),
        }
    }
}
