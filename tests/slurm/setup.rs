//! Setting it up: glexec's hooks beside a site's own, and what `glexec-slurm-prolog --check` finds.

use harness::{Cluster, LIBEXEC, Shape};

/// A hook of the site's that writes down that it ran.
fn own(name: &str) -> String {
    format!("#!/bin/sh\necho {name} $SLURM_JOB_ID >>/var/lib/site/own\n")
}

fn check(cluster: &Cluster) -> (i32, String) {
    let ran = cluster.root(&format!("{LIBEXEC}/glexec-slurm-prolog --check"));
    (ran.code(), ran.output() + &ran.error())
}

/// Numbers that fit: what is left is for a test to break.
const FITS: &str = "KillWait=40\nUnkillableStepTimeout=60\n";
const SHORT: &str = "epilogue_timeout = 20";

#[test]
fn a_sites_own_prolog_and_epilog_run_beside_glexecs() {
    // The site's epilog, as a pattern; and what a site without glexec has.
    let own_lines = "Prolog=/etc/site/prolog\nepilog = /etc/site/epilog.d/*  # ours\n";
    let slurm = format!("{FITS}{own_lines}");
    let cluster = Cluster::start(Shape {
        hooked: false,
        slurm,
        glexec: SHORT.to_owned(),
        ..Shape::default()
    });
    let site = cluster.site();
    for directory in ["/etc/site", "/etc/site/epilog.d", "/opt/glexec"] {
        site.directory(directory, (0, 0), 0o755);
    }
    site.file("/etc/site/prolog", own("prolog"), 0o755);
    site.file("/etc/site/epilog.d/one", own("epilog"), 0o755);
    site.file("/opt/glexec/add-hooks", include_str!("../../conf/slurm/add-hooks"), 0o755);
    let fragment = include_str!("../../conf/slurm/slurm.conf.glexec");
    site.file("/opt/glexec/slurm.conf.glexec", fragment, 0o644);
    cluster.root("rm -r /etc/slurm/prolog.d /etc/slurm/epilog.d").exited(0);
    // As the lines stood before: included last, ours alone would run.
    cluster.root("cp /opt/glexec/slurm.conf.glexec /etc/slurm; echo 'Include slurm.conf.glexec' >>/etc/slurm/slurm.conf; mkdir /etc/slurm/prolog.d /etc/slurm/epilog.d; for h in prolog epilog; do ln -s /usr/libexec/glexec/glexec-slurm-$h /etc/slurm/$h.d/50-glexec; done; scontrol reconfigure").exited(0);
    let (code, told) = check(&cluster);
    assert!(code == 1 && told.contains("Prolog=/etc/site/prolog is not run"), "{told}");
    assert!(told.contains("Epilog=/etc/site/epilog.d/* is not run"), "{told}");
    // Any number of times.
    for _ in 0..2 {
        cluster.root("/opt/glexec/add-hooks").exited(0);
    }
    cluster.root("scontrol reconfigure").exited(0);
    assert_eq!(check(&cluster), (0, String::new()));
    let job = cluster.sbatch("", &format!("exec {LIBEXEC}/glexec-slurm-task sh -c 'exit 5'"));
    assert_eq!(cluster.ended(job).exit_code(), "5:0", "{}", cluster.logs());
    let ran = site.read("/var/lib/site/own");
    assert_eq!(ran, format!("prolog {job}\nepilog {job}\n"), "{}", cluster.logs());
    let log = site.log();
    assert!(
        log.iter().any(|line| line.contains(&format!("job {job}: -.0 payload1 rc=5"))),
        "{log:?}"
    );
    let links = cluster.root("cd /etc/slurm; ls prolog.d epilog.d; grep -c ^Include slurm.conf");
    let wanted = "epilog.d:\n20-one\n50-glexec\n\nprolog.d:\n50-glexec\n80-prolog\n1\n";
    assert_eq!(links.output(), wanted);
}

#[test]
fn a_check_names_what_would_fail_and_what_to_do() {
    let cluster = Cluster::start(Shape {
        slurm: FITS.to_owned(),
        glexec: SHORT.to_owned(),
        ..Shape::default()
    });
    assert_eq!(check(&cluster), (0, String::new()));
    let conf = "/etc/slurm/slurm.conf";
    // Each is broken, found, and mended again.
    for (breaks, mends, code, part) in [
        (
            "chmod 775 /usr/libexec/glexec/glexec-slurm-epilog",
            "chmod 755 /usr/libexec/glexec/glexec-slurm-epilog",
            1,
            "ERROR    /etc/slurm/epilog.d/50-glexec of Epilog = /etc/slurm/epilog.d/* cannot be used",
        ),
        (
            "chmod 711 /usr/libexec/glexec/glexec-slurm-task-prolog",
            "chmod 755 /usr/libexec/glexec/glexec-slurm-task-prolog",
            1,
            "cannot be read and executed by everybody",
        ),
        (
            "chmod 700 /usr/libexec/glexec/glexec-slurm-task",
            "chmod 755 /usr/libexec/glexec/glexec-slurm-task",
            1,
            "ERROR    /usr/libexec/glexec/glexec-slurm-task cannot be read",
        ),
        (
            "mv /etc/slurm/prolog.d/50-glexec /etc/slurm",
            "mv /etc/slurm/50-glexec /etc/slurm/prolog.d",
            1,
            "ERROR    slurm.conf: Prolog = /etc/slurm/prolog.d/* names no file",
        ),
        (
            "ln -s /no/such/hook /etc/slurm/prolog.d/99-gone",
            "rm /etc/slurm/prolog.d/99-gone",
            1,
            "ERROR    /etc/slurm/prolog.d/99-gone of Prolog",
        ),
        (
            "cp /bin/true /etc/slurm/epilog.d/10-own; mv /etc/slurm/epilog.d/50-glexec /etc/slurm",
            "rm /etc/slurm/epilog.d/10-own; mv /etc/slurm/50-glexec /etc/slurm/epilog.d",
            0,
            "WARNING  slurm.conf: /usr/libexec/glexec/glexec-slurm-epilog is not in Epilog",
        ),
        (
            "echo '[prolog]\ntime_limti = 3' >/etc/glexec-slurm.toml",
            "rm /etc/glexec-slurm.toml",
            1,
            "ERROR    /etc/glexec-slurm.toml:2",
        ),
        (
            "echo '[epilog]\ntime_limit = 290' >/etc/glexec-slurm.toml",
            "rm /etc/glexec-slurm.toml",
            1,
            "ERROR    slurm.conf: PrologEpilogTimeout = 300 is not more than [epilog] time_limit = 290",
        ),
        (
            "echo '[epilog]\nwait = 20' >/etc/glexec-slurm.toml",
            "rm /etc/glexec-slurm.toml",
            0,
            "WARNING  /etc/glexec-slurm.toml: [epilog] wait = 20 is not more than epilogue_timeout",
        ),
        (
            "echo '[accounting]\nspool = \"/var/spool/no\"' >/etc/glexec-slurm.toml",
            "rm /etc/glexec-slurm.toml",
            0,
            "WARNING  /etc/glexec-slurm.toml: [accounting] spool",
        ),
        (
            "echo '[records]\ndirectory = \"/home/pilot/x\"' >/etc/glexec-slurm.toml",
            "rm /etc/glexec-slurm.toml",
            1,
            "ERROR    /home/pilot: must be root's",
        ),
        (
            "sed -i s/KillWait=40/KillWait=21/ SLURM; scontrol reconfigure",
            "sed -i s/KillWait=21/KillWait=40/ SLURM; scontrol reconfigure",
            0,
            "WARNING  slurm.conf: KillWait = 21 is not more than kill_grace = 1 and epilogue_timeout = 20",
        ),
        (
            "sed -i s/Timeout=60/Timeout=20/ SLURM; scontrol reconfigure",
            "sed -i s/Timeout=20/Timeout=60/ SLURM; scontrol reconfigure",
            0,
            "WARNING  slurm.conf: UnkillableStepTimeout = 20 is not more than epilogue_timeout = 20",
        ),
        (
            "chmod 666 /etc/glexec.toml",
            "chmod 600 /etc/glexec.toml",
            1,
            "ERROR    /etc/glexec.toml",
        ),
    ] {
        cluster.root(&breaks.replace("SLURM", conf)).exited(0);
        let (got, told) = check(&cluster);
        assert!(got == code && told.contains(part), "{breaks}: {got} {told}\nwanted {code} {part}");
        // The doctor tells the same of Slurm's side, and of glexec's what `check` does.
        let text = part.trim_start_matches("ERROR").trim_start_matches("WARNING").trim_start();
        let doctor = cluster.root("/usr/sbin/glexec-admin doctor");
        assert!(doctor.code() == code && doctor.output().contains(text), "{text}: {doctor:#?}");
        cluster.root(&mends.replace("SLURM", conf)).exited(0);
        assert_eq!(check(&cluster), (0, String::new()), "{mends}");
    }
    cluster
        .root("p=$(cat /run/slurmctld.pid); kill $p; while [ -d /proc/$p ]; do sleep 0.05; done")
        .exited(0);
    let (code, told) = check(&cluster);
    assert!(code == 1 && told.contains("slurm.conf in force cannot be looked at"), "{told}");
}
