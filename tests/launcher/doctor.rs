//! What `glexec-admin doctor` finds, one planted fault a row: docs/troubleshooting.md has the same
//! rows, for people.

use harness::{CONFIG, Site};

const PAGE: &str = include_str!("../../docs/troubleshooting.md");

/// A fault: what the page calls it, how it is planted, and a part of the finding.
type Row = (&'static str, &'static str, &'static str);

/// Whatever stands beside glexec.
const OF_GLEXEC: &[Row] = &[
    (
        "no configuration",
        "rm /etc/glexec.toml",
        "neither /etc/glexec.toml nor /etc/glexec.conf exists",
    ),
    (
        "a configuration that others may change",
        "chmod 666 /etc/glexec.toml",
        "/etc/glexec.toml is writable by everybody",
    ),
    (
        "a slip of the pen",
        "sed -i s/^kill_grace/kil_grace/ /etc/glexec.toml",
        "unknown key `kil_grace`; did you mean `kill_grace`?",
    ),
    (
        "a key in two files",
        "mkdir /etc/glexec.d && printf '[glexec]\\nkill_grace = 2\\n' > /etc/glexec.d/1.toml",
        "/etc/glexec.d/1.toml:2:1: `kill_grace` stands in /etc/glexec.toml:",
    ),
    (
        "a drop-in of another name",
        "mkdir /etc/glexec.d && echo > /etc/glexec.d/site.conf",
        "/etc/glexec.d/site.conf is not read",
    ),
    (
        "a drop-in that others may change",
        "mkdir /etc/glexec.d && echo > /etc/glexec.d/1.toml && chmod 622 /etc/glexec.d/1.toml",
        "/etc/glexec.d/1.toml is writable by",
    ),
    (
        "an old configuration beside the new",
        "cp /etc/glexec.toml /etc/glexec.conf",
        "/etc/glexec.conf is not read",
    ),
    ("not setuid", "chmod 755 /usr/sbin/glexec", "/usr/sbin/glexec is not setuid root"),
    (
        "a nosuid mount",
        "mount --bind /usr/sbin /usr/sbin && mount -o remount,bind,nosuid /usr/sbin",
        "mounted nosuid",
    ),
    (
        "glexec closed to callers",
        "chmod 4700 /usr/sbin/glexec",
        "/usr/sbin/glexec is closed to callers",
    ),
    ("no syslog", "umount /dev/log && rm /dev/log", "there is no syslog at /dev/log"),
    (
        "no state directory",
        "rmdir /var/lib/glexec && : > /var/lib/glexec",
        "state_dir: /var/lib/glexec",
    ),
    (
        "a full state directory",
        "mount -t tmpfs -o nr_inodes=1,mode=0700 tmpfs /var/lib/glexec",
        "No space left on device; make room there",
    ),
    (
        "an epilogue that others may change",
        "chmod 775 /usr/libexec/site/epilogue",
        "/usr/libexec/site/epilogue is writable by group",
    ),
    ("no epilogue", "rm /usr/libexec/site/epilogue", "/usr/libexec/site/epilogue does not exist"),
    (
        "an epilogue whose interpreter is missing",
        "printf '#!/usr/bin/nosuch\\n' > /usr/libexec/site/epilogue",
        "/usr/bin/nosuch",
    ),
    (
        "nothing that pays debts",
        "rm /usr/libexec/glexec/glexec-settle",
        "what a killed run owes would never be paid",
    ),
    (
        "a timer that is not enabled",
        "mkdir -p /run/systemd/system",
        "glexec-sweep.timer is not enabled",
    ),
    (
        "a target that does not exist",
        "sed -i s/payload1/spirit/ /etc/glexec.toml",
        "'spirit' does not exist",
    ),
    (
        "a target that may be none",
        "sed -i s/payload1/service/ /etc/glexec.toml",
        "uid 50 is below min_target_uid 100",
    ),
    (
        "a caller that does not exist",
        "sed -i 's/_list = .\"pilot\"/&, \"spirit\"/' /etc/glexec.toml",
        "`user_white_list` names account 'spirit'",
    ),
    (
        "a caller that is not mapped",
        "sed -i 's/_list = .\"pilot\"/&, \"other\"/' /etc/glexec.toml",
        "'other' is listed and nothing in [mapping] names it",
    ),
    (
        "an account database that others may change",
        "chmod 666 /etc/passwd",
        "/etc/passwd is writable by everybody",
    ),
    (
        "metrics of a log that is no file",
        "mkdir -p /etc/systemd/system/timers.target.wants && ln -s /dev/null /etc/systemd/system/timers.target.wants/glexec-metrics.timer",
        "glexec-metrics.timer is enabled; metrics are counted from a log file",
    ),
    ("no /proc", "mount -t tmpfs tmpfs /proc", "/proc is not mounted"),
    (
        "/dev/null is a plain file",
        ": > /tmp/null; chmod 666 /tmp/null; mount --bind /tmp/null /dev/null",
        "/dev/null is missing, closed to users, or another file; make it anew",
    ),
];

/// A condor_config_val that tells what a file says, and that file as conf/condor has it.
const CONDOR: &str = "mkdir -p /etc/condor && : > /etc/condor/condor_config && cat > /usr/bin/condor_config_val <<'X'
#!/bin/sh
sed -n \"s/^$1 = //p\" /etc/condor/values | grep . || { echo \"Not defined: $1\" >&2; exit 1; }
X
chmod 755 /usr/bin/condor_config_val && cat > /etc/condor/values <<'X'
USER_JOB_WRAPPER = /usr/libexec/glexec/glexec-condor-wrapper
STARTER_JOB_HOOK_KEYWORD = GLEXEC
GLEXEC_HOOK_PREPARE_JOB_BEFORE_TRANSFER = /usr/libexec/glexec/glexec-condor-prepare-transfer
GLEXEC_HOOK_PREPARE_JOB = /usr/libexec/glexec/glexec-condor-prepare
GLEXEC_HOOK_JOB_EXIT = /usr/libexec/glexec/glexec-condor-exit
CHIRP_DELAYED_UPDATE_PREFIX = Chirp*, Glexec*
DISABLE_SETUID = False
USE_PID_NAMESPACES = False
ENABLE_SSH_TO_JOB = False
X
sed -i 's/^epilogue = /job_variables = [\"_CONDOR_SCRATCH_DIR\"]\\n&/' /etc/glexec.toml";

const OF_CONDOR: &[Row] = &[
    (
        "another wrapper",
        "sed -i 's,condor-wrapper,condor-prepare,' /etc/condor/values",
        "USER_JOB_WRAPPER is = /usr/libexec/glexec/glexec-condor-prepare and not",
    ),
    (
        "no wrapper",
        "sed -i /USER_JOB_WRAPPER/d /etc/condor/values",
        "USER_JOB_WRAPPER is not defined",
    ),
    (
        "hooks of another keyword",
        "sed -i 's/= GLEXEC$/= SITE/' /etc/condor/values",
        "STARTER_JOB_HOOK_KEYWORD is = SITE",
    ),
    (
        "a hook that others may change",
        "chmod 777 /usr/libexec/glexec/glexec-condor-prepare",
        "GLEXEC_HOOK_PREPARE_JOB is = /usr/libexec/glexec/glexec-condor-prepare, which cannot be used",
    ),
    (
        "attributes that are dropped",
        "sed -i 's/, Glexec.*//' /etc/condor/values",
        "CHIRP_DELAYED_UPDATE_PREFIX is = Chirp*",
    ),
    (
        "a key that nobody can look up",
        "rm /usr/bin/condor_config_val",
        "/usr/bin/condor_config_val cannot be started",
    ),
    (
        "no key of the sandbox",
        "sed -i /^job_variables/d /etc/glexec.toml",
        "`job_variables` lacks \"_CONDOR_SCRATCH_DIR\"",
    ),
];

/// A node of Slurm's whose controller does not answer.
const SLURM: &str = "mkdir -p /etc/slurm && echo ClusterName=c > /etc/slurm/slurm.conf";

const OF_SLURM: &[Row] = &[
    ("no answer of slurmctld", "true", "slurm.conf in force cannot be looked at"),
    (
        "hooks that are not installed",
        "rm /usr/libexec/glexec/glexec-slurm-prolog",
        "jobs run without glexec's hooks",
    ),
];

/// A site in which nothing is wrong.
fn healthy() -> Site {
    let site = Site::with_epilogue("epilogue_environment = \"own\"");
    let rows = "[mapping]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"\n";
    let text = site.read(CONFIG);
    let usual = "user_white_list = [\"pilot\", \"busy\", \"vast\", \"root\"]";
    let text = text.replace(usual, "user_white_list = [\"pilot\"]");
    site.config(&format!("{}{rows}", text.split("[mapping]").next().unwrap()));
    // The host may have schedulers.
    let none = "rm -rf /etc/condor /etc/slurm /etc/slurm-llnl /usr/local/etc/slurm.conf";
    site.shell(none).by("root").run().exited(0);
    site
}

fn doctor(site: &Site) -> serde_json::Value {
    let ran = site.program(["/usr/sbin/glexec-admin", "doctor", "--json"]).by("root").run();
    let told: serde_json::Value = serde_json::from_str(&ran.output()).expect("JSON");
    assert_eq!(ran.code(), i32::from(told["healthy"] == false), "{told}");
    told
}

/// Plants each and wants the finding, about this part of the node.
fn finds(rows: &[Row], about: &str, prepare: &str) {
    for (fault, plant, part) in rows {
        let site = healthy();
        site.shell(prepare).by("root").run().exited(0);
        site.shell(plant).by("root").run().exited(0);
        let told = doctor(&site);
        let all = told["findings"].as_array().expect("a list");
        let found = all.iter().find(|f| f["text"].as_str().is_some_and(|text| text.contains(part)));
        let found = found.unwrap_or_else(|| panic!("{fault}: {part} in {told:#}"));
        assert_eq!(found["about"], about, "{fault}: {told:#}");
        // What to do stands in the sentence, or behind it.
        let text = found["text"].as_str().unwrap();
        assert!(text.contains("; ") || text.contains(": ") || found["mend"].is_string(), "{text}");
        let row = format!("| {fault} |");
        assert!(PAGE.lines().any(|line| line.starts_with(&row)), "docs/troubleshooting.md: {row}");
    }
}

#[test]
fn a_healthy_node_has_nothing_wrong_whatever_scheduler_it_has() {
    let site = healthy();
    let told = doctor(&site);
    assert_eq!(told["findings"], serde_json::json!([]), "{told:#}");
    assert_eq!(told["looked_at"], serde_json::json!(["glexec"]));
    site.shell(CONDOR).by("root").run().exited(0);
    let told = doctor(&site);
    assert_eq!(told["findings"], serde_json::json!([]), "{told:#}");
    assert_eq!(told["looked_at"], serde_json::json!(["glexec", "condor"]));
    let shown = site.program(["/usr/sbin/glexec-admin", "doctor"]).by("root").run();
    assert_eq!(
        shown.exited(0).output(),
        "doctor       nothing is wrong; looked at glexec, condor\n"
    );
}

#[test]
fn every_planted_fault_of_glexecs_is_found() {
    finds(OF_GLEXEC, "glexec", "true");
}

#[test]
fn every_planted_fault_of_condors_is_found() {
    finds(OF_CONDOR, "condor", CONDOR);
}

#[test]
fn every_planted_fault_of_slurms_is_found() {
    finds(OF_SLURM, "slurm", SLURM);
}

#[test]
fn the_page_has_no_row_of_a_fault_that_is_not_planted() {
    let known = |row: &&str| {
        let mut all = OF_GLEXEC.iter().chain(OF_CONDOR).chain(OF_SLURM);
        all.any(|(fault, ..)| row.starts_with(&format!("| {fault} |")))
    };
    let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| ")).collect();
    let heads = |row: &&str| row.starts_with("| what is wrong |");
    let odd: Vec<&str> = rows.into_iter().filter(|row| !heads(row) && !known(row)).collect();
    assert_eq!(odd, Vec::<&str>::new());
}

#[test]
fn words_have_colours_on_a_terminal_alone_and_not_where_no_color_is_set() {
    let site = healthy();
    site.epilogue("#!/usr/bin/nosuch\n");
    let on =
        |term: &str| site.program(["/usr/sbin/glexec-admin", "check"]).by("root").env("TERM", term);
    assert!(!on("xterm").run().output().contains('\u{1b}'));
    assert!(on("xterm").on_terminal().run().output().contains("\u{1b}[31mERROR"));
    for call in [on("xterm").env("NO_COLOR", "1"), on("dumb")] {
        let ran = call.on_terminal().run();
        assert!(ran.output().contains("ERROR") && !ran.output().contains('\u{1b}'), "{ran:#?}");
    }
}
