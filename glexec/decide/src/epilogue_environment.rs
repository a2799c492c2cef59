//! What the epilogue is told, and whether that fits into an exec.

use super::config::{Config, EpilogueEnvironment, EpilogueRule};
use super::environment::{Environ, entry, of_account};
use super::epilogue_identity::EpilogueIdentity;
use super::facts::Caller;
use super::plan::{Epilogue, Launch, Linger, Plan};
use super::refusal::Refusal;
use super::target::Target;
use contract::variables::{epilogue, of_epilogue};
use contract::{Ending, Reason, ResourceUsage};
use nix::unistd::Gid;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

/// What is known only once the payload has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Late {
    /// The glexec that lingers, or did.
    pub glexec_pid: i32,
    /// Its session.
    pub glexec_session: i32,
    /// Its process group.
    pub glexec_group: i32,
    /// The payload; 0 where there was none.
    pub payload_pid: i32,
    /// The group it began in: its own, or glexec's where it shares the caller's terminal.
    pub payload_group: i32,
    /// `None` where the payload could not be started: the code glexec will return for that.
    pub ending: Result<Ending, u8>,
    /// What the payload used.
    pub usage: ResourceUsage,
    /// How many processes it left behind.
    pub stragglers: u32,
    /// Seconds since 1970.
    pub start: u64,
    /// Seconds since 1970.
    pub end: u64,
    /// Which attempt at the epilogue this is, from 1.
    pub attempt: u32,
    /// Whether the glexec that owed the epilogue is gone.
    pub lost: bool,
}

impl Late {
    /// The largest values there can be, to measure with.
    const LONGEST: Self = Self {
        glexec_pid: i32::MIN,
        glexec_session: i32::MIN,
        glexec_group: i32::MIN,
        payload_pid: i32::MIN,
        payload_group: i32::MIN,
        ending: Err(255),
        usage: ResourceUsage { user_us: u64::MAX, system_us: u64::MAX, max_rss_kib: u64::MAX },
        stragglers: u32::MAX,
        start: u64::MAX,
        end: u64::MAX,
        attempt: u32::MAX,
        lost: false,
    };

    /// The variables that tell it (docs/epilogue.md).
    pub fn variables(&self) -> Vec<CString> {
        let (result, signal, core) = match self.ending {
            Ok(Ending::Exited(_)) => ("exited", None, false),
            Ok(Ending::Killed { signal, core }) => ("killed", Some(signal), core),
            Err(_) => ("not-started", None, false),
        };
        let code = match self.ending {
            Ok(ending) => ending.code(),
            Err(code) => code,
        };
        let seconds = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        let mut out = vec![
            (epilogue::GLEXEC_PID, self.glexec_pid.to_string()),
            (epilogue::GLEXEC_SID, self.glexec_session.to_string()),
            (epilogue::GLEXEC_PGID, self.glexec_group.to_string()),
            (epilogue::TARGET_PID, self.payload_pid.to_string()),
            (epilogue::TARGET_PGID, self.payload_group.to_string()),
            (epilogue::TARGET_RC, code.to_string()),
            (epilogue::RESULT, if self.lost { "lost" } else { result }.to_owned()),
            (epilogue::TARGET_CORE_DUMPED, u8::from(core).to_string()),
            (epilogue::STRAGGLERS, self.stragglers.to_string()),
            (epilogue::ATTEMPT, self.attempt.to_string()),
            (epilogue::START_TIME, self.start.to_string()),
            (epilogue::END_TIME, self.end.to_string()),
            (epilogue::USER_SECONDS, seconds(self.usage.user_us)),
            (epilogue::SYSTEM_SECONDS, seconds(self.usage.system_us)),
            (epilogue::MAX_RSS_KIB, self.usage.max_rss_kib.to_string()),
        ];
        out.extend(signal.map(|n| (epilogue::TARGET_SIGNAL, n.to_string())));
        out.iter().filter_map(|(name, value)| variable(name, value.as_bytes())).collect()
    }
}

fn variable(name: &str, value: &[u8]) -> Option<CString> {
    entry(of_epilogue(name).as_bytes(), value)
}

/// Puts the epilogue into the plan.
///
/// # Errors
/// [`Reason::EpilogueIdentity`]; [`Reason::ArgumentsTooLong`] where the epilogue could not be
/// started with what it must be told, or any caller could switch the clean-up off.
pub(super) fn add_epilogue(
    plan: Plan,
    config: &Config,
    identity: EpilogueIdentity,
    environ: &Environ,
) -> Result<Plan, Refusal> {
    let (Some(rule), Launch::Linger(linger)) = (&config.epilogue, &plan.launch) else {
        return Ok(plan);
    };
    identity.keep_apart(&plan.caller.person(), &plan.target.person())?;
    let job = job(config, environ);
    let told = told(&plan, &job);
    let environment = environment(rule.environment, &identity, &plan.environment, &told);
    if !fits(&rule.path, &environment) {
        let sentence = "the command line is too long for the epilogue to be told";
        return Err(Refusal::new(Reason::ArgumentsTooLong, sentence)
            .hint("put the arguments into a file and pass its name"));
    }
    let epilogue = rule.epilogue(identity, environment);
    let linger =
        Linger { epilogue: Some(epilogue), state: Some(config.state.clone()), ..linger.clone() };
    Ok(Plan { launch: Launch::Linger(linger), told, job, ..plan })
}

impl EpilogueRule {
    /// Whether it has an environment of its own.
    pub fn is_apart(&self) -> bool {
        self.environment == EpilogueEnvironment::Own
    }

    /// The epilogue as it is to be run.
    pub fn epilogue(&self, identity: EpilogueIdentity, environment: Vec<CString>) -> Epilogue {
        Epilogue {
            path: self.path.clone(),
            identity,
            timeout: self.timeout,
            failure: self.failure,
            output: self.output,
            environment,
        }
    }
}

/// Where an epilogue with an environment of its own finds programs.
pub const ROOTS_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// All variables of the epilogue that are known before it is due.
pub fn environment(
    rule: EpilogueEnvironment,
    identity: &EpilogueIdentity,
    payload: &[CString],
    told: &[CString],
) -> Vec<CString> {
    let mut out: Vec<CString> = match rule {
        EpilogueEnvironment::Payload => {
            // The caller chose it: root's temporary files would be made where the caller can
            // swap them.
            let temporary = |entry: &&CString| entry.as_bytes().starts_with(b"TMPDIR=");
            payload.iter().filter(|entry| !temporary(entry)).cloned().collect()
        }
        // Whatever a caller may have chosen, some program that root starts obeys it.
        EpilogueEnvironment::Own => of_account(&identity.account)
            .into_iter()
            .chain(entry(b"PATH", ROOTS_PATH.as_bytes()))
            .collect(),
    };
    out.extend(told.iter().cloned());
    out
}

/// Who, what and for which job.
fn told(plan: &Plan, job: &[(String, Vec<u8>)]) -> Vec<CString> {
    let mut out = identities(&plan.caller, &plan.target);
    out.extend(variable(epilogue::RUN_ID, plan.run_id.as_bytes()));
    let argv = plan.argv.iter().enumerate();
    out.extend(
        argv.filter_map(|(n, word)| variable(&format!("{}{n}", epilogue::ARGV), word.as_bytes())),
    );
    out.extend(
        job.iter().filter_map(|(name, value)| variable(&format!("{}{name}", epilogue::JOB), value)),
    );
    out
}

fn identities(caller: &Caller, target: &Target) -> Vec<CString> {
    let gids = |gids: &[Gid]| gids.iter().map(Gid::to_string).collect::<Vec<_>>().join(":");
    let told = [
        (epilogue::GLEXEC_USER, caller.shown_name().into_bytes()),
        (epilogue::GLEXEC_GROUP, caller.shown_group().into_bytes()),
        (epilogue::GLEXEC_UID, caller.uid().to_string().into_bytes()),
        (epilogue::GLEXEC_GID, caller.gid().to_string().into_bytes()),
        (epilogue::GLEXEC_SGIDS, gids(caller.groups()).into_bytes()),
        (epilogue::TARGET_USER, target.name().as_bytes().to_vec()),
        (epilogue::TARGET_GROUP, target.shown_group().into_bytes()),
        (epilogue::TARGET_UID, target.uid().to_string().into_bytes()),
        (epilogue::TARGET_GID, target.gid().to_string().into_bytes()),
        (epilogue::TARGET_SGIDS, gids(target.groups()).into_bytes()),
        (epilogue::TARGET_HOME, target.home().as_bytes().to_vec()),
    ];
    told.iter().filter_map(|(name, value)| variable(name, value)).collect()
}

/// The job's keys, bounded and of plain characters: a user can forge them.
fn job(config: &Config, environ: &Environ) -> Vec<(String, Vec<u8>)> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-.,:@/+=#".contains(b);
    let found = config.job_variables.iter().filter_map(|name| Some((name, environ.get(name)?)));
    found
        .filter(|(_, value)| value.len() <= 256 && value.iter().all(plain))
        .map(|(name, value)| (name.clone(), value.to_vec()))
        .collect()
}

/// Longest single string exec takes (`MAX_ARG_STRLEN`, execve(2)), its NUL included.
const LONGEST_STRING: usize = 131_072;
/// A quarter of the 8 MiB stack the threshold sees to, less room for what the kernel adds.
const LONGEST_BLOCK: usize = 2 * 1024 * 1024 - 16 * 1024;

/// Whether the kernel takes these strings: each short enough, and all together with their
/// pointers (execve(2), "Limits on size of arguments and environment").
fn fits(path: &str, environment: &[CString]) -> bool {
    let late = Late::LONGEST.variables();
    let signal = of_epilogue(epilogue::TARGET_SIGNAL).len() + "=64\0".len();
    let strings = || environment.iter().chain(&late).map(|e| e.as_bytes_with_nul().len());
    let size = |length: usize| length + size_of::<usize>();
    let all: usize = strings().map(size).sum();
    // The path is there three times: as the file, as argv[0], and as a script's argument.
    strings().all(|length| length <= LONGEST_STRING)
        && all + size(signal) + 3 * size(path.len() + 1) <= LONGEST_BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_execed_does_not_fit() {
        let string = |n: usize| CString::new(vec![b'x'; n]).unwrap();
        assert!(fits("/e", &[string(LONGEST_STRING - 1)]));
        assert!(!fits("/e", &[string(LONGEST_STRING)]));
        assert!(!fits("/e", &vec![string(100_000); 21]));
        assert!(fits("/e", &vec![string(100_000); 20]));
        assert!(!fits("/e", &vec![string(1); 300_000]), "pointers count");
    }

    #[test]
    fn a_jobs_keys_are_short_and_of_plain_characters_or_are_not_told() {
        use crate::config::Syntax;
        let text = b"[glexec]\njob_variables = [\"A\", \"B\", \"C\", \"D\", \"E\"]\n";
        let config = Config::parse(text, Syntax::Toml).unwrap();
        let (long, longest) = (format!("A={}", "x".repeat(257)), format!("B={}", "x".repeat(256)));
        let raw = [long.as_str(), &longest, "C=4711.0@node#1", "D=a b", "E=$(x)", "F=1"];
        let raw = raw.iter().map(|entry| CString::new(*entry).unwrap()).collect();
        let told = job(&config, &Environ::read(raw));
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["B", "C"]);
    }

    #[test]
    fn a_death_by_signal_is_told_as_128_and_n() {
        let ending = Ok(Ending::Killed { signal: 9, core: false });
        let told = Late { ending, ..Late::LONGEST }.variables();
        for want in [
            c"GLEXEC_EPILOG_TARGET_RC=137",
            c"GLEXEC_EPILOG_TARGET_SIGNAL=9",
            c"GLEXEC_EPILOG_RESULT=killed",
        ] {
            assert!(told.iter().any(|e| e.as_c_str() == want), "{want:?}");
        }
    }
}
