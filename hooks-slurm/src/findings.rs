//! What is wrong with a site's set-up, from what Slurm, glexec and the hooks' own file say. Pure.

use crate::configuration::Configuration;
use crate::settings::{FILE, Settings};
use std::collections::BTreeMap;
use std::fmt;

/// glexec's own configuration.
const GLEXEC_FILE: &str = "/etc/glexec.toml";

/// One thing that is wrong, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Jobs fail or nodes are drained by it, or others than root decide what root runs.
    Error(String),
    /// It goes well until somebody needs it.
    Warning(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Error(text) => ("ERROR", text),
            Self::Warning(text) => ("WARNING", text),
        };
        write!(to, "{word:<8} {text}")
    }
}

/// A key of slurm.conf that names programs, and what is there.
#[derive(Debug, Default)]
pub(crate) struct Hook {
    /// `Prolog`, `TaskEpilog` and so on.
    pub(crate) key: &'static str,
    /// Its values: one, or in later versions of Slurm several.
    pub(crate) values: Vec<String>,
    /// The programs that they name.
    pub(crate) programs: Vec<Program>,
    /// Where ours is installed.
    pub(crate) ours: String,
    /// What becomes of jobs where ours is not run.
    pub(crate) without: &'static str,
}

/// One program that a key of slurm.conf names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: String,
    /// The file itself, behind links; `None` where there is none.
    pub(crate) file: Option<String>,
    /// Why Slurm cannot run it, or who else could change it: a clause after its path.
    pub(crate) fault: Option<String>,
}

/// A line of slurm.conf, or of a file that it includes, that names hooks.
#[derive(Debug)]
pub(crate) struct Line {
    /// File and number.
    pub(crate) place: String,
    pub(crate) key: &'static str,
    pub(crate) value: String,
    /// The files that it names, behind links.
    pub(crate) files: Vec<String>,
}

/// Whether all that is needed of a hook is there.
pub(crate) fn of_hook(hook: &Hook) -> Vec<Finding> {
    let Hook { key, values, programs, ours, without } = hook;
    let named = values.join(", ");
    if values.is_empty() {
        return vec![Finding::Warning(format!(
            "slurm.conf names no {key}: {without}; include slurm.conf.glexec"
        ))];
    }
    if programs.is_empty() {
        return vec![Finding::Error(format!(
            "slurm.conf: {key} = {named} names no file, which Slurm takes for a failure; put a link to {ours} there"
        ))];
    }
    let faults = programs.iter().filter_map(|program| {
        let fault = program.fault.as_ref()?;
        Some(Finding::Error(format!("{} of {key} = {named} {fault}", program.path)))
    });
    let mut all: Vec<Finding> = faults.collect();
    if !programs.iter().any(|program| program.file.as_ref() == Some(ours)) {
        all.push(Finding::Warning(format!(
            "slurm.conf: {ours} is not in {key} = {named}; unless a script there calls it, {without}"
        )));
    }
    all
}

/// Lines whose hooks Slurm does not run, because a later line of the same key replaces them.
pub(crate) fn of_lines(lines: &[Line], hooks: &[Hook]) -> Vec<Finding> {
    let mut all = Vec::new();
    for line in lines {
        let Some(hook) = hooks.iter().find(|hook| hook.key == line.key) else { continue };
        let runs = |file: &String| hook.programs.iter().any(|p| p.file.as_ref() == Some(file));
        let covered = !line.files.is_empty() && line.files.iter().all(runs);
        if hook.values.contains(&line.value) || covered || line.value.is_empty() {
            continue;
        }
        let Line { place, key, value, .. } = line;
        all.push(Finding::Error(format!(
            "{place}: {key}={value} is not run: Slurm has {key} = {}; put a link to it there (conf/slurm/add-hooks), or, after a change of slurm.conf, reconfigure or restart Slurm",
            hook.values.join(", ")
        )));
    }
    all
}

/// What does not fit between Slurm's numbers and words, glexec's (`glexec-admin show`), and the hooks'.
pub(crate) fn of_settings(
    slurm: &Configuration,
    glexec: &BTreeMap<String, String>,
    settings: &Settings,
) -> Vec<Finding> {
    let mut all = times(slurm, glexec, settings);
    all.extend(words(slurm, glexec, settings));
    all
}

fn times(
    slurm: &Configuration,
    glexec: &BTreeMap<String, String>,
    settings: &Settings,
) -> Vec<Finding> {
    /// What an Epilog does after its time is up.
    const MORE: u64 = 30;
    let mut all = Vec::new();
    let of_glexec = |key: &str| glexec.get(key).and_then(|value| value.parse::<u64>().ok());
    for (key, hook, limit, more) in [
        ("PrologTimeout", "prolog", settings.prolog.time_limit, 0),
        ("EpilogTimeout", "epilog", settings.epilog.time_limit, MORE),
    ] {
        let own = slurm.seconds(key).map(|seconds| (key, seconds));
        let both = ("PrologEpilogTimeout", slurm.seconds("PrologEpilogTimeout"));
        let Some((key, seconds)) = own.or(both.1.map(|seconds| (both.0, seconds))) else {
            continue;
        };
        if seconds <= u64::from(limit) + more {
            let above = if more > 0 { " and 30 s" } else { "" };
            all.push(Finding::Error(format!(
                "slurm.conf: {key} = {seconds} is not more than [{hook}] time_limit = {limit}{above} of {FILE}: Slurm ends a hook that takes that long, and drains the node; raise the one or lower the other"
            )));
        }
    }
    let epilog = &settings.epilog;
    if epilog.wait >= epilog.time_limit {
        all.push(Finding::Warning(format!(
            "{FILE}: [epilog] wait = {} leaves nothing of time_limit = {} for what is owed; lower it",
            epilog.wait, epilog.time_limit
        )));
    }
    let (Some(grace), Some(epilogue)) = (of_glexec("kill_grace"), of_glexec("epilogue_timeout"))
    else {
        return all;
    };
    let owes = glexec.get("epilogue").is_some_and(|value| value != "none");
    let epilogue = if owes { epilogue } else { 0 };
    if owes && u64::from(epilog.wait) <= epilogue {
        all.push(Finding::Warning(format!(
            "{FILE}: [epilog] wait = {} is not more than epilogue_timeout = {epilogue} of {GLEXEC_FILE}: where an epilogue takes longer, its record comes too late for its job; raise the one or lower the other",
            epilog.wait
        )));
    }
    let survives = glexec.get("supervisor_cgroup").is_some_and(|value| value != "none")
        && slurm.value("ProctrackType") == Some("proctrack/cgroup");
    if let Some(wait) = slurm.seconds("KillWait").filter(|w| *w <= grace + epilogue && !survives) {
        all.push(Finding::Warning(format!(
            "slurm.conf: KillWait = {wait} is not more than kill_grace = {grace} and epilogue_timeout = {epilogue} of {GLEXEC_FILE} together: KILL may take a run whose epilogue is under way, which the Epilog then runs again; raise the one or lower the others"
        )));
    }
    if let Some(unkillable) =
        slurm.seconds("UnkillableStepTimeout").filter(|limit| *limit <= epilogue)
    {
        all.push(Finding::Warning(format!(
            "slurm.conf: UnkillableStepTimeout = {unkillable} is not more than epilogue_timeout = {epilogue} of {GLEXEC_FILE}: a step that waits for such an epilogue drains the node (\"Kill task failed\"); raise the one or lower the other"
        )));
    }
    all
}

fn words(
    slurm: &Configuration,
    glexec: &BTreeMap<String, String>,
    settings: &Settings,
) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut warn = |text: String| all.push(Finding::Warning(text));
    let has = |key: &str, word: &str| slurm.value(key).is_some_and(|value| value.contains(word));
    let is = |key: &str, value: &str| glexec.get(key).map(String::as_str) == Some(value);
    let track = slurm.value("ProctrackType").unwrap_or("nothing");
    if !["proctrack/cgroup", "proctrack/linuxproc", "proctrack/pgid"].contains(&track) {
        warn(format!(
            "slurm.conf: ProctrackType = {track} has not been tried; take proctrack/cgroup"
        ));
    }
    if !has("SchedulerParameters", "nohold_on_prolog_fail") {
        warn("slurm.conf: SchedulerParameters has no nohold_on_prolog_fail: a job whose Prolog failed is held, instead of going to another node; add it".to_owned());
    }
    if has("PrologFlags", "RunInJob") {
        warn("slurm.conf: PrologFlags has RunInJob: what the Epilog leaves running dies with the job; remove it".to_owned());
    }
    if has("JobContainerType", "tmpfs") {
        warn("slurm.conf: JobContainerType = job_container/tmpfs: /tmp is the submitter's alone in a job, and no payload may use it; have payloads use [scratch]".to_owned());
    }
    if is("linger", "false") {
        warn(format!(
            "{GLEXEC_FILE}: linger = false: no epilogue runs, and nothing is recorded; set it to true"
        ));
    }
    if !glexec.get("job_variables").is_some_and(|names| names.contains("\"SLURM_JOB_ID\"")) {
        warn(format!(
            "{GLEXEC_FILE}: job_variables lacks \"SLURM_JOB_ID\": the Epilog does not find what a job owes; add it"
        ));
    }
    if is("keep_descriptors", "false") && !settings.task.keep_descriptors.is_empty() {
        warn(format!(
            "{GLEXEC_FILE}: keep_descriptors = false, and [task] keep_descriptors of {FILE} names some: tasks of MPI are refused; set it to true"
        ));
    }
    if settings.accounting.is_some() && !has("AccountingStorageType", "slurmdbd") {
        warn(format!(
            "{FILE}: [accounting] is there, and slurm.conf says no AccountingStorageType = accounting_storage/slurmdbd: nothing is written; remove the one or set the other"
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLURM: &str = "KillWait = 30 sec
ProctrackType = proctrack/cgroup
PrologEpilogTimeout = 300
SchedulerParameters = nohold_on_prolog_fail
UnkillableStepTimeout = 60 sec
";

    fn glexec(change: (&str, &str)) -> BTreeMap<String, String> {
        let all = [
            ("kill_grace", "10"),
            ("epilogue_timeout", "15"),
            ("epilogue", "\"/x\""),
            ("linger", "true"),
            ("keep_descriptors", "true"),
            ("job_variables", "[\"SLURM_JOB_ID\"]"),
        ];
        let mut all: BTreeMap<String, String> =
            all.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        all.insert(change.0.to_owned(), change.1.to_owned());
        all
    }

    fn found(slurm: &str, glexec: &BTreeMap<String, String>, settings: &Settings) -> String {
        let all = of_settings(&Configuration::read(slurm), glexec, settings);
        all.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn a_set_up_that_fits_has_no_findings_and_each_misfit_has_one() {
        let (fine, settings) = (glexec(("x", "")), Settings::default());
        assert_eq!(found(SLURM, &fine, &settings), "");
        for (line, other, part) in [
            ("KillWait = 30", "KillWait = 25", "WARNING  slurm.conf: KillWait = 25 "),
            ("Timeout = 300", "Timeout = 150", "ERROR    slurm.conf: PrologEpilogTimeout = 150 "),
            ("StepTimeout = 60", "StepTimeout = 15", "UnkillableStepTimeout = 15"),
            ("proctrack/cgroup", "proctrack/none", "ProctrackType = proctrack/none"),
            ("nohold_on_prolog_fail", "x", "nohold_on_prolog_fail"),
        ] {
            let told = found(&SLURM.replace(line, other), &fine, &settings);
            assert!(told.contains(part) && told.lines().count() == 1, "{told}");
        }
        for (key, value, part) in [
            ("linger", "false", "linger = false"),
            ("job_variables", "[]", "SLURM_JOB_ID"),
            ("keep_descriptors", "false", "keep_descriptors = false"),
        ] {
            let told = found(SLURM, &glexec((key, value)), &settings);
            assert!(told.contains(part) && told.lines().count() == 1, "{told}");
        }
    }

    #[test]
    fn what_cannot_happen_is_not_told() {
        let settings = Settings::default();
        // No epilogue takes any time, no KILL reaches a glexec that has left, no limit is no limit.
        let short = SLURM
            .replace("30 sec", "20 sec")
            .replace("60 sec", "5 sec")
            .replace("= 300", "= 65534");
        assert_eq!(found(&short, &glexec(("epilogue", "none")), &settings), "");
        let long =
            found(&SLURM.replace(" sec", "0"), &glexec(("epilogue_timeout", "60")), &settings);
        assert!(long.contains("[epilog] wait = 60") && long.lines().count() == 1, "{long}");
        let left = glexec(("supervisor_cgroup", "\"/glexec\""));
        assert!(!found(&short, &left, &settings).contains("KillWait"));
        // Since 25.05 each has a limit of its own.
        let own = format!("{SLURM}EpilogTimeout = 100\nPrologTimeout = 31\n");
        let told = found(&own, &glexec(("x", "")), &settings);
        assert!(told.contains("EpilogTimeout = 100") && told.lines().count() == 1, "{told}");
    }

    fn program(path: &str, fault: Option<&str>) -> Program {
        let fault = fault.map(str::to_owned);
        Program { path: path.to_owned(), file: Some(path.to_owned()), fault }
    }

    fn hook(values: &[&str], programs: Vec<Program>) -> Hook {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Hook { key: "Prolog", values, programs, ours: "/l/ours".to_owned(), without: "bad" }
    }

    #[test]
    fn a_hook_must_be_there_be_ours_and_be_roots() {
        let texts = |hook: &Hook| of_hook(hook).iter().map(Finding::to_string).collect::<Vec<_>>();
        let fine = hook(&["/d/*"], vec![program("/s", None), program("/l/ours", None)]);
        assert_eq!(texts(&fine), Vec::<String>::new());
        for (wrong, part) in [
            (hook(&[], vec![]), "WARNING  slurm.conf names no Prolog: bad"),
            (hook(&["/d/*"], vec![]), "ERROR    slurm.conf: Prolog = /d/* names no file"),
            (hook(&["/s"], vec![program("/s", None)]), "WARNING  slurm.conf: /l/ours is not in"),
            (
                hook(&["/l/ours"], vec![program("/l/ours", Some("is bad"))]),
                "ERROR    /l/ours of Prolog = /l/ours is bad",
            ),
        ] {
            let told = texts(&wrong);
            assert!(told.len() == 1 && told[0].starts_with(part), "{told:?}");
        }
    }

    #[test]
    fn a_line_that_another_one_replaces_is_told_unless_its_hooks_run_all_the_same() {
        let line = |value: &str| Line {
            place: "/etc/slurm.conf:3".to_owned(),
            key: "Prolog",
            value: value.to_owned(),
            files: vec![value.to_owned()],
        };
        let hooks = [hook(&["/d/*"], vec![program("/s", None)])];
        assert_eq!(of_lines(&[line("/s"), line("/d/*")], &hooks), []);
        let told = of_lines(&[line("/other")], &hooks);
        assert!(
            matches!(&told[..], [Finding::Error(text)] if text.starts_with("/etc/slurm.conf:3: Prolog=/other is not run")),
            "{told:?}"
        );
    }
}
