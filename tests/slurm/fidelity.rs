//! The same jobs natively and under glexec: docs/fidelity.md.

use harness::fidelity::{Findings, Why, documented};
use harness::{Cluster, LIBEXEC, Look, Shape};

/// What the submitter sets, as `env` takes it: what programs look for, what shells obey, and a function
/// as environment modules export them.
const OWN: &str = "FOO='a b' X= PATH=/opt/mine:/usr/local/bin:/usr/bin:/bin LD_LIBRARY_PATH=/opt/mine \
    OMP_PLACES=cores CUDA_VISIBLE_DEVICES=1 PYTHONPATH=/opt/py IFS=: TMPDIR=/tmp/of-job \
    'BASH_FUNC_module%%=() { echo loaded; }'";

/// Of the shell that submits.
const SHELL: &str = "umask 027; ulimit -Ss 16384; ulimit -c 0; ulimit -n 500; ulimit -t 5000";

const ARGUMENTS: &str = r#"one 'two words' '' "it's" 'a\b' '$HOME' '*'"#;

/// Copies its input, speaks on stderr, and leaves files of every kind where it is.
const PROBE: &str = "#!/bin/sh
cat
echo to-stderr >&2
mkdir o; echo z > o/z; ln o/z hl; ln -s z o/l; chmod 640 o/z
truncate -s 4M sparse; echo end >> sparse
exit 7
";

const DIRECTORY: &str = "/home/pilot/job";

/// How the job's command is started: by srun, or as the last command of a batch script.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Srun,
    Sbatch,
}

/// One of the two clusters, and what stands before the command.
struct Side {
    cluster: Cluster,
    wrapper: String,
    way: Way,
}

/// What came of a job: its output, its stderr, and its end.
struct Job {
    output: String,
    error: String,
    end: String,
}

impl Side {
    fn start(wrapper: &str, way: Way) -> Self {
        let cluster = Cluster::start(Shape { hooked: !wrapper.is_empty(), ..Shape::default() });
        let site = cluster.site();
        site.directory(DIRECTORY, (0, 0), 0o777);
        site.file("/home/pilot/probe", PROBE, 0o755);
        site.file("/home/pilot/input", "the input\n", 0o644);
        site.file("/home/pilot/not-executable", "#!/bin/sh\n", 0o644);
        site.directory("/tmp/of-job", (0, 0), 0o777);
        site.directory("/opt/mine", (0, 0), 0o755);
        site.file("/opt/mine/own-tool", "#!/bin/sh\nexit 3\n", 0o755);
        Self { cluster, wrapper: wrapper.to_owned(), way }
    }

    fn run(&self, command: &str) -> Job {
        let Self { cluster, wrapper, .. } = self;
        let files = "-i /home/pilot/input -o /home/pilot/out -e /home/pilot/err";
        let (submission, script) = match self.way {
            Way::Srun => (format!("srun -Q -n1 {files} {wrapper} {command}"), String::new()),
            Way::Sbatch => (
                format!("sbatch -Q --wait {files} /home/pilot/batch.sh"),
                format!("#!/bin/bash\nexec {wrapper} {command}\n"),
            ),
        };
        cluster.site().file("/home/pilot/batch.sh", script, 0o755);
        let ran = cluster.by(
            "pilot",
            &format!("cd {DIRECTORY}; rm -f ../out ../err; {SHELL}; env {OWN} {submission}"),
        );
        let last = cluster.root(
            "scontrol -o show job | sed -n 's/^JobId=\\([0-9]*\\).*/\\1/p' | sort -n | tail -1",
        );
        let job = cluster.ended(last.output().trim().parse().unwrap());
        let submitter = if self.way == Way::Srun { "srun" } else { "sbatch --wait" };
        Job {
            output: cluster.site().read("/home/pilot/out"),
            error: cluster.site().read("/home/pilot/err") + &ran.error(),
            end: format!("{submitter} {}, ExitCode {}", ran.code(), job.exit_code()),
        }
    }

    fn looked(&self) -> Findings {
        let told = self.run(&format!("/usr/local/bin/actor look {ARGUMENTS}"));
        let mut look: Look = serde_json::from_str(&told.output).unwrap_or_else(|e| {
            panic!("{e}: {} {}\n{}", told.output, told.error, self.cluster.logs())
        });
        let node = self.cluster.node(0);
        for entry in &mut look.environment {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            let value = if EACH_TIME.contains(&name) { "another each time" } else { value };
            *entry = format!("{name}={}", value.replace(&node, "NODE"));
        }
        let tidy = |text: &str| text.split_once(":[").map_or(text, |(kind, _)| kind).to_owned();
        Findings::of(&look, tidy)
    }

    fn found(&self) -> Findings {
        const CODES: [u8; 9] = [0, 1, 126, 127, 128, 200, 201, 204, 255];
        const SIGNALS: [&str; 6] = ["INT", "QUIT", "KILL", "SEGV", "TERM", "USR1"];
        let mut found = self.looked();
        let probed = self.run("/home/pilot/probe");
        found.add("input from a file", probed.output.trim().to_owned());
        let said = |word: &str| probed.error.lines().any(|line| line == word);
        found.add("stderr", said("to-stderr").to_string());
        let files = format!(
            "cd {DIRECTORY}; stat -c '%a %s' o/z hl && stat -L -c '%a' o/l && stat -c %s sparse"
        );
        let files = self.cluster.root(&files).output().trim().replace('\n', ", ");
        found.add("files: mode and size of one with two names, link, sparse", files);
        found.add("exit code 7", probed.end);
        for code in CODES {
            found.add(&format!("exit code {code}"), self.run(&format!("sh -c 'exit {code}'")).end);
        }
        for signal in SIGNALS {
            let told = self.run(&format!("sh -c 'kill -{signal} $$; sleep 9'"));
            found.add(&format!("death by {signal}"), told.end);
        }
        found.add("a command of the job's own PATH", self.run("own-tool").end);
        found.add(NOT_THERE, self.run("/usr/bin/no-such").end);
        found.add(NOT_EXECUTABLE, self.run("/home/pilot/not-executable").end);
        found
    }
}

/// Variables whose values are of one job, process or port.
const EACH_TIME: &[&str] = &[
    "SLURM_JOBID",
    "SLURM_JOB_ID",
    "SLURM_SRUN_COMM_PORT",
    "SLURM_STEP_LAUNCHER_PORT",
    "SLURM_TASK_PID",
];

const REASONS: &[Why] = &[
    (
        "GLEXEC_TMPDIR",
        "the wrapper's word for TMPDIR, which does not pass the exec of a setuid program",
    ),
    ("HOME", "the target's"),
    ("USER", "the target's"),
    ("LOGNAME", "the target's"),
    ("SHELL", "the target's"),
    (NOT_THERE, "nothing was started (201), and stderr says why"),
    (NOT_EXECUTABLE, "the same"),
];

/// Of srun alone.
const OF_SRUN: &[Why] =
    &[("SLURM_JOB_NAME", "srun names a job after its command, where `-J` gives no name")];

const NOT_THERE: &str = "a command that is not there";
const NOT_EXECUTABLE: &str = "a command that is not executable";

fn compared(way: Way, title: &str) {
    let native = Side::start("", way).found();
    let ours = Side::start(&format!("{LIBEXEC}/glexec-slurm-task"), way);
    let version = ours.cluster.root("sinfo --version").output();
    let version = version.trim().trim_start_matches("slurm-wlm ").to_owned();
    let short: Vec<&str> = version.split('.').take(2).collect();
    let more = if way == Way::Srun { OF_SRUN } else { &[] };
    let table = native.beside(&ours.found(), &[REASONS, more].concat());
    documented(&format!("Slurm {}, {title}", short.join(".")), &table);
}

#[test]
fn a_step_is_as_it_is_natively() {
    compared(Way::Srun, "srun");
}

#[test]
fn a_batch_job_is_as_it_is_natively() {
    compared(Way::Sbatch, "sbatch");
}

/// Two devices that Slurm takes for GPUs: `full` and `zero` (mem(4)), which everybody may open.
const TWO_GPUS: &str = "mknod -m 666 /dev/fake0 c 1 7; mknod -m 666 /dev/fake1 c 1 5
printf 'Name=gpu File=/dev/fake0\nName=gpu File=/dev/fake1\n' >/etc/slurm/gres.conf
printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainDevices=yes\n' >/etc/slurm/cgroup.conf";

/// Which of them its task may open, at once and from a daemon of its own.
const OPENS: &str = "#!/bin/sh
opens() { for n in 0 1; do if (: </dev/fake$n) 2>/dev/null; then printf ' %s' fake$n; fi; done; }
[ \"$1\" != daemon ] || { opens; exit; }
daemon=$(setsid \"$0\" daemon)
printf '%s: task%s; daemon%s; CUDA_VISIBLE_DEVICES %s\n' \"$SLURM_PROCID\" \"$(opens)\" \"$daemon\" \"$CUDA_VISIBLE_DEVICES\"
";

/// What jobs of GPUs open: some, all, none, and two tasks one each.
fn devices_of(wrapper: &str) -> Findings {
    let cluster = Cluster::start(Shape {
        hooked: !wrapper.is_empty(),
        proctrack: "cgroup",
        slurm: "TaskPlugin=task/cgroup\nGresTypes=gpu\nNodeName=DEFAULT Gres=gpu:2\n".to_owned(),
        prepare: TWO_GPUS,
        ..Shape::default()
    });
    cluster.site().file("/home/pilot/opens", OPENS, 0o755);
    let mut found = Findings::default();
    for options in [
        "srun",
        "srun --gres=gpu:1",
        "srun --gres=gpu:2",
        "srun -n2 --gres=gpu:2 --gpu-bind=single:1",
    ] {
        let ran = cluster.by("pilot", &format!("{options} -Q {wrapper} /home/pilot/opens"));
        let output = ran.exited(0).output();
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        found.add(&format!("`{options}`"), lines.join("<br>"));
    }
    found
}

#[test]
fn a_step_opens_the_devices_that_it_opens_natively() {
    let native = devices_of("");
    let table = native.beside(&devices_of(&format!("{LIBEXEC}/glexec-slurm-task")), &[]);
    // Else there would be nothing to be kept from.
    assert!(table.contains("0: task fake0; daemon fake0; CUDA_VISIBLE_DEVICES 0 |"), "{table}");
    documented("Slurm 22.05, GPUs (ConstrainDevices, control groups of version 1)", &table);
}
