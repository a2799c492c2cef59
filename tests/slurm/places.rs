//! What a task brings along: descriptors, a directory of its own; and a supervisor that leaves.

use harness::accounts::PILOT;
use harness::{AUDIENCE, Cluster, ISSUER, Issuer, LIBEXEC, Running, Shape, accounts};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn mpis_descriptor_reaches_the_payload() {
    let cluster = Cluster::start(Shape::default());
    let payload = "[ -n \"$PMI_FD\" ] && [ -S /proc/self/fd/$PMI_FD ] && exit 21; exit 1";
    let ran = cluster
        .by("pilot", &format!("srun --mpi=pmi2 -n2 {LIBEXEC}/glexec-slurm-task sh -c '{payload}'"));
    assert_eq!(ran.code(), 21, "{} {}", ran.output(), ran.error());
    // A number that is none of a descriptor's any more, or would be one of the wrapper's own.
    for stale in 3..9 {
        let text = format!(
            "PMI_FD={stale} srun -n1 {LIBEXEC}/glexec-slurm-task sh -c 'ls /proc/self/fd; exit 5'"
        );
        let ran = cluster.by("pilot", &text);
        assert_eq!(ran.code(), 5, "{stale}: {} {}", ran.output(), ran.error());
        assert_eq!(ran.output().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    }
    // Without it nothing above 2 is there, whatever srun left open.
    let bare =
        cluster.by("pilot", &format!("srun -n1 {LIBEXEC}/glexec-slurm-task ls /proc/self/fd"));
    assert_eq!(bare.output().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn a_task_on_a_terminal_of_slurms_reads_what_is_typed() {
    let glexec = "terminal = \"share\"".to_owned();
    let cluster = Cluster::start(Shape { glexec, ..Shape::default() });
    let payload = "echo ready; read word; tty >/dev/null && echo typed-$word-$(id -un); exit 23";
    let step = format!("srun --pty {LIBEXEC}/glexec-slurm-task sh -c '{payload}'");
    cluster.site().file("/home/pilot/step.sh", format!("{step}\n"), 0o755);
    // Terminals that users may open, whatever the host's /dev/pts is.
    cluster
        .root("mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts /dev/pts")
        .exited(0);
    let ran = cluster.by(
        "pilot",
        "cd /home/pilot; mkfifo typed; : >typescript
         timeout 60 script -qefc 'sh /home/pilot/step.sh' typescript <typed & exec 3>typed
         for i in $(seq 600); do grep -q ready typescript && break; sleep 0.05; done
         echo word >&3; wait $!; echo code=$?; cat typescript",
    );
    let told = ran.output();
    assert!(told.contains("typed-word-") && told.contains("code=23"), "{told}\n{}", ran.error());
    assert!(!told.contains("typed-word-pilot"), "{told}");
}

#[test]
fn a_payload_starts_where_its_task_does() {
    let cluster = Cluster::start(Shape::default());
    let site = cluster.site();
    let pilot = (accounts::PILOT, accounts::PILOT);
    for (name, mode) in [("open", 0o755), ("closed", 0o700)] {
        let directory = format!("/home/pilot/{name}");
        site.directory(&directory, pilot, mode);
        site.file(&format!("{directory}/payload"), "#!/bin/sh\npwd; id -un; exit 5\n", 0o755);
        site.file(&format!("{directory}/data"), "of the job\n", 0o644);
    }
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let there = "/home/pilot/open\npayload1\n";
    let ran = cluster.by("pilot", &format!("cd open && srun -n1 {task} ./payload"));
    assert_eq!((ran.code(), ran.output().as_str()), (5, there), "{}", ran.error());
    let ran = cluster.by("pilot", &format!("cd open && srun -n1 -o out.%j {task} cat data"));
    ran.exited(0);
    // What Slurm opens it opens as the submitter.
    let written = cluster.root("head -1 /home/pilot/open/out.*; stat -c %U /home/pilot/open/out.*");
    assert_eq!(written.output(), "of the job\npilot\n");
    let id = cluster.sbatch("-D /home/pilot/open", &format!("exec {task} ./payload"));
    assert_eq!(cluster.ended(id).exit_code(), "5:0");
    assert!(cluster.printed(id).starts_with(there), "{}", cluster.printed(id));
}

/// Never in its account's home: what it makes there nobody would miss or find.
#[test]
fn a_payload_that_may_not_enter_its_tasks_directory_does_not_start_and_its_user_is_told() {
    let cluster = Cluster::start(Shape::default());
    let site = cluster.site();
    site.directory("/home/pilot/closed", (accounts::PILOT, accounts::PILOT), 0o700);
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let told = |text: &str| text.contains("may not enter /home/pilot/closed ");
    for command in ["cat ./data", "sh -c 'echo x >made; pwd'"] {
        let ran = cluster.by("pilot", &format!("cd closed && srun -n1 {task} {command}"));
        assert!(ran.code() == 202 && told(&ran.error()), "{} {}", ran.output(), ran.error());
        assert_eq!(ran.output(), "");
    }
    let id = cluster.sbatch("-D /home/pilot/closed", &format!("exec {task} sh -c 'echo x >made'"));
    assert_eq!(cluster.ended(id).exit_code(), "202:0");
    assert!(told(&cluster.printed(id)), "{}", cluster.printed(id));
    assert_eq!(cluster.root("ls /home/payload1 /home/pilot/closed | grep made").output(), "");
    // Neither the site's fault nor the node's.
    assert_eq!(cluster.node_state(0).0, "IDLE", "{}", cluster.logs());
}

/// A pilot's token, say: it is no less in the pilot's environment than what its payload needs.
#[test]
fn a_submitter_may_name_what_the_payload_gets_of_its_environment() {
    let cluster = Cluster::start(Shape::default());
    let task = format!("{LIBEXEC}/glexec-slurm-task");
    let step = |names: &str| {
        let own = format!("{names} TOKEN=secret FOO=x LD_LIBRARY_PATH=/y");
        let ran = cluster.by("pilot", &format!("{own} srun -n1 {task} /usr/bin/env"));
        ran.exited(0);
        ran.output()
    };
    let has = |text: &str, line: &str| text.lines().any(|one| one == line);
    let all = step("");
    assert!(["TOKEN=secret", "FOO=x", "LD_LIBRARY_PATH=/y"].iter().all(|line| has(&all, line)));
    for (names, foo) in
        [("GLEXEC_JOB_ENVIRONMENT='FOO BAR'", true), ("GLEXEC_JOB_ENVIRONMENT=", false)]
    {
        let some = step(names);
        assert!(!some.contains("secret") && has(&some, "FOO=x") == foo, "{names}: {some}");
        assert!(some.contains("SLURM_JOB_ID="), "{some}");
    }
    // Nor does the epilogue get any of it, whatever the payload gets.
    let epilogues = cluster.site().epilogues();
    assert_eq!(epilogues.len(), 3);
    for look in epilogues {
        assert_eq!(look.variable("FOO"), None);
        let job = |entry: &String| entry.starts_with("SLURM_") || entry.starts_with("TOKEN");
        assert!(!look.environment.iter().any(job), "{:?}", look.environment);
    }
}

#[test]
fn the_target_has_a_directory_of_its_own_until_the_job_ends() {
    let hooks = "[scratch]\nbase = \"/var/lib/scratch\"\n".to_owned();
    let cluster = Cluster::start(Shape { hooks, ..Shape::default() });
    let payload = "cd $TMPDIR && touch a && mkdir -p b/c && ln -s /etc/passwd b/link && chmod 0 b && stat -c '%U %a' . && pwd";
    let id = cluster.sbatch(
        "",
        &format!("exec {LIBEXEC}/glexec-slurm-task sh -c \"{payload}\"").replace('$', "\\$"),
    );
    assert_eq!(cluster.ended(id).exit_code(), "0:0", "{}\n{}", cluster.printed(id), cluster.logs());
    let printed = cluster.printed(id);
    assert!(printed.contains(&format!("payload1 700\n/var/lib/scratch/{id}.")), "{printed}");
    cluster.wait_until("it is gone", Duration::from_secs(10), || {
        cluster.root("ls /var/lib/scratch").output().is_empty()
    });
    assert!(cluster.site().path("/etc/passwd").exists());
}

#[test]
fn with_pool_accounts_no_directory_is_given_to_whoever_would_be_next() {
    let hooks = "[scratch]\nbase = \"/var/lib/scratch\"\n".to_owned();
    let cluster = Cluster::start(Shape { hooks, mapping: harness::POOL, ..Shape::default() });
    let script = "echo [$GLEXEC_TMPDIR]; ls -d /var/lib/scratch/*; exit 3";
    let id = cluster.sbatch("", script);
    assert_eq!(cluster.ended(id).exit_code(), "3:0");
    let printed = cluster.printed(id);
    assert!(
        printed.contains(
            "[]
"
        ) && printed.contains("cannot access"),
        "{printed}"
    );
    assert_eq!(cluster.root("ls -A /var/lib/scratch 2>/dev/null").output(), "");
}

#[test]
fn with_pool_accounts_nothing_of_the_account_outlives_the_job() {
    let cluster = Cluster::start(Shape { mapping: harness::POOL, ..Shape::default() });
    // A daemon that has left group and session, under linuxproc: only its uid gives it away.
    let payload =
        "(setsid sh -c 'trap \"\" TERM; sleep 1000' >/dev/null 2>&1 &); echo ready; sleep 1000";
    let id = cluster.sbatch(
        "",
        &format!("srun -n1 {LIBEXEC}/glexec-slurm-task sh -c '{}'", payload.replace('\'', "'\\''")),
    );
    cluster.says(id, "ready");
    // The wrapper is left, and settles at once: the step does not wait for its output's end.
    let begin = std::time::Instant::now();
    cluster.kill_glexec(id);
    assert_eq!(cluster.ended(id).exit_code(), "137:0");
    assert!(begin.elapsed().as_secs() < 20);
    cluster.wait_until("nothing is owed", Duration::from_secs(20), || {
        cluster.root("glexec-admin ps --json").output().trim() == "[]"
    });
    for n in 1..=16 {
        assert_eq!(cluster.site().processes_of(accounts::WORK + n), []);
    }
    assert_eq!(cluster.epilogues_of(id).len(), 1);
}

fn types(running: &Running<'_>, text: &[u8]) {
    let terminal = running.terminal.as_ref().unwrap().try_clone().unwrap();
    fs::File::from(terminal).write_all(text).unwrap();
}

/// A shell of the target's on a terminal of Slurm's does what one of the user's does.
fn an_interactive_shell(proctrack: &'static str, step: &str) {
    let glexec = "terminal = \"share\"".to_owned();
    let cluster = Cluster::start(Shape { proctrack, glexec, ..Shape::default() });
    // Terminals that users may open, whatever the host's /dev/pts is.
    cluster
        .root("mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts /dev/pts")
        .exited(0);
    let shell = format!("{step} {LIBEXEC}/glexec-slurm-task bash --norc --noprofile -i");
    let running = cluster.on_terminal("pilot", &shell);
    let state = |wanted: &str| {
        let what = format!("the shell's job is {wanted}");
        cluster.wait_until(&what, Duration::from_secs(30), || {
            let own = cluster.site().processes_of(accounts::PAYLOAD1);
            own.iter().any(|p| p.name == "sleep" && wanted.contains(p.state))
        });
    };
    running.says("$ ");
    types(&running, b"echo who-$(id -un)\n");
    running.says("who-payload1");
    types(&running, b"sleep 1000\n");
    state("SD");
    types(&running, b"\x1a");
    running.says("Stopped");
    types(&running, b"fg\n");
    state("SD");
    types(&running, b"\x03");
    types(&running, b"echo interrupted-$?\n");
    running.says("interrupted-130");
    // A window that changes its size.
    let resize = "stty rows 44 cols 111 </proc/$(pgrep -o -x srun)/fd/0";
    cluster.root(resize).exited(0);
    types(&running, b"until [ \"$(stty size)\" = '44 111' ]; do sleep 0.05; done; echo re-sized\n");
    running.says("\nre-sized");
    types(&running, b"exit 7\n");
    running.wait().exited(7);
    let codes = cluster.site().epilogues();
    assert!(codes.len() == 1 && codes[0].variable("GLEXEC_EPILOG_TARGET_RC") == Some("7"));
}

#[test]
fn an_interactive_shell_has_job_control_and_the_size_of_its_window() {
    an_interactive_shell("linuxproc", "srun --pty");
    an_interactive_shell("cgroup", "srun --pty");
}

#[test]
fn an_interactive_shell_in_an_allocation_of_sallocs_has_them_too() {
    an_interactive_shell("linuxproc", "salloc -Q -n1 srun --pty");
}

/// Control groups of one name, for the time of a test: in the freezer, where proctrack/cgroup puts
/// jobs, and wherever this process is in somebody's group already.
struct Groups(Vec<PathBuf>);

impl Groups {
    fn new(name: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let elsewhere = own.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (hierarchy, path) = rest.split_once(':')?;
            let hierarchy = hierarchy.trim_start_matches("name=");
            (path != "/").then_some(if hierarchy.is_empty() { "unified" } else { hierarchy })
        });
        let all: Vec<PathBuf> = elsewhere
            .chain(["freezer"])
            .map(|hierarchy| PathBuf::from("/sys/fs/cgroup").join(hierarchy).join(name))
            .collect();
        for group in &all {
            fs::create_dir(group).unwrap_or_else(|e| panic!("{}: {e}", group.display()));
            let _ = fs::write(group.join("pids.max"), "100");
        }
        Self(all)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            let _ = fs::remove_dir(group);
        }
    }
}

#[test]
fn a_supervisor_that_left_the_jobs_group_runs_the_epilogue_at_once() {
    let name = format!("glexec-slurm-{}", std::process::id());
    let groups = Groups::new(&name);
    let glexec = format!("supervisor_cgroup = \"/{name}\"");
    let cluster =
        Cluster::start(Shape { proctrack: "cgroup", kill_wait: 1, glexec, ..Shape::default() });
    let id = cluster.sbatch(
        "",
        &format!("exec {LIBEXEC}/glexec-slurm-task sh -c \"trap '' TERM; echo ready; sleep 1000\""),
    );
    cluster.says(id, "ready");
    cluster.root(&format!("scancel {id}")).exited(0);
    cluster.ended(id);
    let looks = cluster.epilogues_of(id);
    let told = |name: &str| {
        let begin = format!("GLEXEC_EPILOG_{name}=");
        let found = looks[0].environment.iter().find_map(|entry| entry.strip_prefix(&begin));
        found.unwrap_or_default().to_owned()
    };
    // Its own glexec saw the end: nothing was lost.
    assert_eq!(
        (looks.len(), told("RESULT").as_str(), told("TARGET_RC").as_str()),
        (1, "killed", "137"),
        "{}",
        cluster.logs()
    );
    assert_eq!(cluster.job_cgroups(), Vec::<PathBuf>::new());
    drop((cluster, groups));
}

const SCRATCH: &str = "[scratch]\nbase = \"/var/lib/scratch\"\n";

/// As several slurmds of one machine do it for one job: what each hook says, and what is there then.
fn at_the_same_time(cluster: &Cluster, hook: &str, jobs: std::ops::Range<u32>) -> String {
    let script = format!(
        "export SLURM_JOB_UID=$(id -u pilot) SLURM_JOB_GID=$(id -g pilot) SLURMD_NODENAME={}
         for SLURM_JOB_ID in $(seq {} {}); do export SLURM_JOB_ID
             for n in 1 2 3 4 5; do {{ {LIBEXEC}/glexec-slurm-{hook} 2>&1 || echo failed; }} & done; wait
         done",
        cluster.node(0),
        jobs.start,
        jobs.end - 1
    );
    let ran = cluster.root(&script);
    ran.exited(0);
    ran.output()
}

#[test]
fn hooks_of_one_job_at_the_same_time_make_and_remove_its_places_once() {
    let cluster = Cluster::start(Shape { hooks: SCRATCH.to_owned(), ..Shape::default() });
    assert_eq!(at_the_same_time(&cluster, "prolog", 9000..9020), "");
    let looked = cluster.root(
        "cd /run/glexec-slurm; for n in *; do echo $n $(cat $n/scratch) $(stat -c '%U %a' $n); done
         cd /var/lib/scratch; stat -c '%n %U %a' *",
    );
    let looked = looked.output();
    let lines: Vec<Vec<&str>> = looked.lines().map(|l| l.split(' ').collect()).collect();
    let (notes, scratch) = lines.split_at(20);
    for (note, directory) in notes.iter().zip(scratch) {
        assert_eq!((note[2], note[3]), ("root", "710"), "{looked}");
        assert_eq!(directory[..], [note[1], "payload1", "700"], "{looked}");
    }
    assert_eq!(scratch.len(), 20, "{looked}");
    assert_eq!(at_the_same_time(&cluster, "epilog", 9000..9020), "");
    let left = cluster.root("ls -A /run/glexec-slurm /var/lib/scratch | grep -v :").output();
    assert_eq!(left.trim(), "");
    assert_eq!(cluster.node_state(0).0, "IDLE", "{}", cluster.logs());
}

#[test]
fn a_job_on_two_nodes_of_one_machine_has_one_directory_and_drains_none() {
    let shape = Shape { nodes: 2, hooks: SCRATCH.to_owned(), ..Shape::default() };
    let cluster = Cluster::start(shape);
    for _ in 0..5 {
        let ran = cluster.by(
            "pilot",
            &format!(
                "srun -N2 -n2 {LIBEXEC}/glexec-slurm-task sh -c 'touch $TMPDIR/x && echo $TMPDIR'"
            ),
        );
        ran.exited(0);
        let output = ran.output();
        let lines: Vec<&str> = output.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{lines:?}");
        assert!(lines[0].starts_with("/var/lib/scratch/"), "{lines:?}");
    }
    cluster.wait_until("all are gone", Duration::from_secs(20), || {
        cluster
            .root("ls -A /var/lib/scratch /run/glexec-slurm | grep -v :")
            .output()
            .trim()
            .is_empty()
    });
    for node in 0..2 {
        cluster.wait_until("the node is idle", Duration::from_secs(20), || {
            cluster.node_state(node).0 == "IDLE"
        });
    }
}

/// A prolog or an epilog that was killed, an epilog whose time was up, a machine that lost its notes.
#[test]
fn a_directory_that_no_job_has_any_more_is_removed_by_the_next_epilog() {
    let cluster = Cluster::start(Shape { hooks: SCRATCH.to_owned(), ..Shape::default() });
    let script = "mkdir -p /var/lib/scratch; chmod 711 /var/lib/scratch; cd /var/lib/scratch
        for n in 7.1 .7.1.22 8.1; do mkdir -p $n/closed/deep; touch $n/closed/deep/x
            chown -R payload1 $n; chmod 0 $n/closed; done
        mkdir -p sites.own 9; touch sites.own/x
        mkdir -p /run/glexec-slurm/4711.8; echo 8.1 >/run/glexec-slurm/4711.8/scratch";
    cluster.root(script).exited(0);
    let id = cluster.sbatch("", &format!("exec {LIBEXEC}/glexec-slurm-task sh -c 'exit 3'"));
    assert_eq!(cluster.ended(id).exit_code(), "3:0");
    // Not that of a job with a note, and nothing of the site's.
    cluster.wait_until("they are gone", Duration::from_secs(20), || {
        cluster.root("ls -A /var/lib/scratch").output() == "8.1\n9\nsites.own\n"
    });
    assert!(cluster.site().log().iter().any(|line| line.contains("2 directories removed")));
}

#[test]
fn a_target_does_not_stop_the_removal_of_its_directory() {
    let cluster = Cluster::start(Shape { hooks: SCRATCH.to_owned(), ..Shape::default() });
    let payload = "perl -e \"for (1 .. 20000) { open F, q(>), qq(\\$ENV{TMPDIR}/\\$_) or die }\"; chmod 0 $TMPDIR; \
        echo ready; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 9";
    let id = cluster.sbatch("", &format!("exec {LIBEXEC}/glexec-slurm-task sh -c '{payload}'"));
    cluster.says(id, "ready");
    // Of the job's own processes it stops none.
    let stopper = "$| = 1; for (;;) { for (glob q(/proc/[0-9]*)) { m((\\d+)); my $pid = $1; \
        open F, q(<), qq($_/comm) or next; kill q(STOP), $pid if <F> =~ /^(rm|chmod|exe|glexec-slurm)/ } print qq(go\\n) }";
    // It says "stops" as long as it does.
    let ran = cluster.root(&format!(
        "setpriv --reuid=payload1 --regid=payload1 --clear-groups perl -e '{stopper}' >/tmp/stopper &
         while ! [ -s /tmp/stopper ]; do sleep 0.01; done; touch /tmp/go
         for n in $(seq 200); do [ \"$(ls -A /var/lib/scratch)\" ] || break; sleep 0.1; done
         ls -A /var/lib/scratch; kill -KILL $! && echo stops"
    ));
    assert_eq!(ran.output(), "stops\n", "{}", cluster.logs());
    assert_eq!(cluster.ended(id).exit_code(), "9:0");
    cluster.wait_until("the node is idle", Duration::from_secs(20), || {
        cluster.node_state(0).0 == "IDLE"
    });
}

/// Slurm gives a task its submitter's environment, and with it the place of the submitter's token.
#[test]
fn a_task_is_mapped_by_the_token_in_its_environment() {
    let cluster = Cluster::start(Shape::default());
    let (site, issuer) = (cluster.site(), Issuer::new());
    site.file("/etc/issuer.jwks", issuer.keys().to_string(), 0o644);
    site.file("/etc/token-mapfile", format!("SCITOKENS {ISSUER},alice payload2\n"), 0o644);
    site.directory("/etc/glexec.d", (0, 0), 0o755);
    let mapping = format!(
        "[mapping]\nmethods = [\"token\", \"static\"]\ntoken_mapfile = \"/etc/token-mapfile\"\n\
         [[mapping.token]]\nissuer = \"{ISSUER}\"\nkeys = \"/etc/issuer.jwks\"\naudience = [\"{AUDIENCE}\"]\n"
    );
    site.file("/etc/glexec.d/token.toml", mapping, 0o644);
    site.file("/home/pilot/token", issuer.token("alice"), 0o600);
    site.own("/home/pilot/token", (PILOT, PILOT));
    let step = |token: &str| {
        let show = "sh -c 'id -un; echo $BEARER_TOKEN_FILE; cat $BEARER_TOKEN_FILE'";
        cluster.by("pilot", &format!("{token} srun -n1 {LIBEXEC}/glexec-slurm-task {show}"))
    };
    let mapped = step("BEARER_TOKEN_FILE=/home/pilot/token").exited(0).output();
    let lines: Vec<&str> = mapped.lines().collect();
    let [account, copy, token] = lines[..] else { panic!("{mapped}") };
    assert_eq!((account, token), ("payload2", site.read("/home/pilot/token").as_str()));
    assert!(copy.starts_with("/tmp/bt_u42"), "{mapped}");
    let without = step("").output();
    assert_eq!(without.lines().next(), Some("payload1"), "{without}");
    let gone = step("BEARER_TOKEN_FILE=/nonexistent");
    assert_eq!(gone.code(), 201, "{} {}", gone.output(), gone.error());
}
