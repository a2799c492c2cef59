//! The same jobs natively and under glexec: docs/fidelity.md.

use crate::jobs::{done, job};
use crate::{HOOKED_PILOT, HOOKED_ROOT, PILOT, ROOT};
use harness::fidelity::{Findings, Why, documented};
use harness::{Ad, Look, Pool};

/// Looks around, copies its input, and leaves files of every kind.
const PROBE: &str = "#!/bin/sh
/usr/local/bin/actor look \"$@\"
cat > stdin.copy
echo to-stderr >&2
mkdir o; echo z > o/z; ln o/z hl; ln -s z o/l; chmod 640 o/z
truncate -s 4M sparse; echo end >> sparse
exit 7
";

/// What is the submitter's of the environment.
const OWN: &str = "FOO='a b' PATH=/opt/mine:/usr/local/bin:/usr/bin:/bin LD_LIBRARY_PATH=/opt/mine \
                   OMP_PLACES=cores X=";

fn looked(pool: &Pool) -> (Findings, Ad) {
    pool.file("/home/pilot/probe", PROBE, 0o755);
    pool.file("/home/pilot/input", "the input\n", 0o644);
    let lines = "arguments = \"one 'two words' '' 'it''s' a\\b $HOME *\"\ninput = input\n\
                 transfer_output_files = o, hl, sparse, stdin.copy";
    let text = job("payload1", lines)
        .replace("executable = /bin/sh", "executable = probe")
        .replace("transfer_executable = False", "transfer_executable = True")
        .replace("environment = \"", &format!("environment = \"{OWN} "));
    let id = pool.submit("pilot", &text);
    let ad = done(pool, id);
    assert!(ad.is_completed(), "{ad:?}\n{}", pool.diagnosis());
    let look: Look = serde_json::from_str(&pool.read(&format!("/home/pilot/out.{id}"))).unwrap();
    let sandbox = look.variable("_CONDOR_SCRATCH_DIR").unwrap_or("nowhere").to_owned();
    let nested = sandbox.strip_suffix("/scratch").unwrap_or(&sandbox).to_owned();
    let starter = look.variable("CONDOR_STARTER_PID").unwrap_or("none").to_owned();
    let tidy = |text: &str| {
        if text == starter {
            return "PID".to_owned();
        }
        let text = text.replace(&sandbox, "SANDBOX").replace(&nested, "ABOVE");
        if text.starts_with("_CONDOR_ANCESTOR_") {
            return "_CONDOR_ANCESTOR_N".to_owned();
        }
        let is_ancestor =
            text.matches(':').count() == 2 && text.bytes().all(|b| b == b':' || b.is_ascii_digit());
        if is_ancestor { "PID:BIRTH:RANDOM".to_owned() } else { text }
    };
    let mut found = Findings::of(&look, tidy);
    found.add("stderr", pool.read(&format!("/home/pilot/err.{id}")).trim().to_owned());
    found.add("input from a file", pool.read("/home/pilot/stdin.copy").trim().to_owned());
    let told =
        pool.shell("pilot", "stat -c '%a %s' o/z hl && stat -L -c '%a' o/l && stat -c %s sparse");
    let files = String::from_utf8_lossy(&told.stdout).trim().replace('\n', ", ");
    found.add("files: mode and size of one with two names, link, sparse", files);
    pool.shell("root", "rm -rf /home/pilot/o /home/pilot/hl /home/pilot/sparse");
    (found, ad)
}

/// The ends of jobs that run these, at the same time.
fn ends(pool: &Pool, scripts: &[String]) -> Vec<String> {
    let begin = |script: &String| {
        pool.submit("pilot", &job("payload1", &format!("arguments = \"-c '{script}'\"")))
    };
    let ids: Vec<_> = scripts.iter().map(begin).collect();
    let end = |id| {
        let ad = done(pool, id);
        match (ad.get("ExitBySignal"), ad.number("ExitCode"), ad.number("ExitSignal")) {
            (Some("true"), _, Some(signal)) => format!("signal {signal}"),
            (_, Some(code), _) => code.to_string(),
            _ => "neither".to_owned(),
        }
    };
    ids.into_iter().map(end).collect()
}

fn found(pool: &Pool) -> Findings {
    const CODES: [u8; 9] = [0, 1, 126, 127, 128, 200, 201, 204, 255];
    const SIGNALS: [&str; 6] = ["INT", "QUIT", "KILL", "SEGV", "TERM", "USR1"];
    let (mut found, ad) = looked(pool);
    found
        .add("exit code 7", ad.number("ExitCode").map(|code| code.to_string()).unwrap_or_default());
    let scripts = CODES.map(|code| format!("exit {code}"));
    let deaths = SIGNALS.map(|signal| format!("kill -{signal} $$; sleep 9"));
    let told = ends(pool, &[&scripts[..], &deaths].concat());
    let (codes, signals) = told.split_at(CODES.len());
    found.add(&format!("exit codes {CODES:?}"), format!("[{}]", codes.join(", ")));
    for (signal, told) in SIGNALS.iter().zip(signals) {
        found.add(&format!("death by {signal}"), told.clone());
    }
    let id = pool.submit("pilot", &job("payload1", "").replace("/bin/sh", "/usr/bin/no-such"));
    let ad = done(pool, id);
    let told =
        if ad.is_held() { "on hold".to_owned() } else { format!("{:?}", ad.number("ExitCode")) };
    found.add("a command that is not there", told);
    found
}

/// Of every version.
const REASONS: &[Why] = &[
    (
        "GLEXEC_TMPDIR",
        "the wrapper's word for TMPDIR, which the kernel takes from a setuid program",
    ),
    ("HOME", "the target's; HTCondor sets none, or from 25 on the submitter's"),
    ("USER", "the target's; HTCondor sets none"),
    ("LOGNAME", "the target's; HTCondor sets none"),
    ("SHELL", "the target's; HTCondor sets none"),
    ("_CHIRP_DELAYED_UPDATE_PREFIX", "conf/condor admits `Glexec*`"),
    ("_CONDOR_WRAPPER_ERROR_FILE", "HTCondor sets it with any USER_JOB_WRAPPER"),
];

/// And of 25.
const REASONS_OF_25: &[Why] = &[(
    "_CONDOR_CHIRP_CONFIG",
    "the directory beside the sandbox is not handed over: a copy is lent for the run",
)];

fn side_by_side(whose: &str, native: &Pool, ours: &Pool) {
    let told = ours.shell("root", "condor_version");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    let more = if version.starts_with("25.") { REASONS_OF_25 } else { &[] };
    let table = found(native).beside(&found(ours), &[REASONS, more].concat());
    let short: Vec<&str> = version.split('.').take(2).collect();
    documented(&format!("HTCondor {}, {whose}", short.join(".")), &table);
}

#[test]
fn a_job_is_as_it_is_natively() {
    side_by_side("root's daemons", &ROOT.get(), &HOOKED_ROOT.get());
}

#[test]
fn a_job_is_as_it_is_natively_with_a_pilot() {
    side_by_side("a pilot's daemons", &PILOT.get(), &HOOKED_PILOT.get());
}
