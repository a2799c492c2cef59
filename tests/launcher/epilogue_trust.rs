//! Which epilogues are trusted: nobody else may be able to change the file or the way to it.

use contract::Reason;
use harness::accounts::{FRIEND, KEEPER, KEEPERS, OTHER, PILOT, STEWARD};
use harness::{EPILOGUE, Site};
use std::os::unix::fs::symlink;

/// The payload must not have been started: nothing is lost where the site has to act first.
fn untrusted_before_anything_starts(site: &Site, what: &str) {
    stopped_before_anything_starts(site, Reason::EpilogueUntrusted, what);
}

fn stopped_before_anything_starts(site: &Site, reason: Reason, what: &str) {
    let ran = site.glexec(["sh", "-c", "echo started"]).with_status().run();
    assert_eq!(ran.code, Some(202), "{what}: {ran:#?}");
    ran.stopped(reason);
    assert_eq!(ran.output(), "", "{what}");
    assert!(site.epilogues().is_empty(), "{what}");
}

fn trusted(site: &Site, what: &str) {
    let before = site.epilogues().len();
    let ran = site.glexec(["actor", "exit", "7"]).run();
    assert_eq!(ran.code, Some(7), "{what}: {ran:#?}");
    assert_eq!(site.epilogues().len(), before + 1, "{what}");
}

#[test]
fn an_epilogue_that_others_can_change_is_untrusted() {
    for mode in [0o775, 0o777, 0o757, 0o1777, 0o1757, 0o722] {
        let site = Site::with_epilogue("");
        trusted(&site, "as installed");
        let site = Site::with_epilogue("");
        site.mode(EPILOGUE, mode);
        untrusted_before_anything_starts(&site, &format!("mode {mode:04o}"));
    }
    for owner in [(PILOT, 0), (KEEPER, 0), (42_002, 42_002)] {
        let site = Site::with_epilogue("");
        site.own(EPILOGUE, owner);
        site.mode(EPILOGUE, 0o755);
        untrusted_before_anything_starts(&site, &format!("owner {owner:?}"));
    }
    // A group that may not write may be anybody.
    let site = Site::with_epilogue("");
    site.own(EPILOGUE, (0, PILOT));
    site.mode(EPILOGUE, 0o755);
    trusted(&site, "group pilot, not writable");
}

#[test]
fn every_directory_on_the_way_counts_and_a_sticky_bit_excuses_nothing() {
    for directory in ["/usr/libexec/site", "/usr/libexec", "/usr", "/"] {
        for (mode, owner) in
            [(0o777, (0, 0)), (0o1757, (0, 0)), (0o775, (0, PILOT)), (0o755, (PILOT, 0))]
        {
            let site = Site::with_epilogue("");
            site.own(directory, owner);
            site.mode(directory, mode);
            // The root directory is on the way to the configuration, too, which comes first.
            let first = [Reason::EpilogueUntrusted, Reason::ConfigUntrusted];
            let what = format!("{directory} {mode:04o} {owner:?}");
            stopped_before_anything_starts(&site, first[usize::from(directory == "/")], &what);
        }
    }
}

#[test]
fn an_epilogue_below_tmp_or_a_users_home_is_untrusted() {
    for path in ["/tmp/epilogue", "/home/pilot/epilogue", "/var/tmp/epilogue", "/dev/shm/epilogue"]
    {
        let site = Site::with(&format!("epilogue = \"{path}\""));
        site.file(path, "#!/bin/sh\n", 0o755);
        untrusted_before_anything_starts(&site, path);
    }
}

#[test]
fn an_epilogue_behind_a_link_is_untrusted() {
    let site = Site::with("epilogue = \"/usr/libexec/site/link\"");
    symlink(EPILOGUE, site.path("/usr/libexec/site/link")).unwrap();
    untrusted_before_anything_starts(&site, "the file is a link");
    let site = Site::with("epilogue = \"/usr/libexec/alias/epilogue\"");
    symlink("/usr/libexec/site", site.path("/usr/libexec/alias")).unwrap();
    untrusted_before_anything_starts(&site, "a directory is a link");
}

#[test]
fn an_epilogue_that_is_missing_or_no_program_is_no_epilogue() {
    let site = Site::with("epilogue = \"/usr/libexec/site/gone\"");
    let none = |what: &str| {
        let ran = site.glexec(["sh", "-c", "echo started"]).with_status().run();
        assert_eq!((ran.code, ran.output().as_str()), (Some(202), ""), "{what}: {ran:#?}");
        ran.said_one_sentence();
        assert!(
            ran.log.iter().any(|l| l.contains("/usr/libexec/site/gone")),
            "the log names it: {ran:#?}"
        );
    };
    none("missing");
    site.file("/usr/libexec/site/gone", "#!/bin/sh\n", 0o644);
    none("not executable");
    std::fs::remove_file(site.path("/usr/libexec/site/gone")).unwrap();
    site.directory("/usr/libexec/site/gone", (0, 0), 0o755);
    none("a directory");
    std::fs::remove_dir(site.path("/usr/libexec/site/gone")).unwrap();
    site.program(["/usr/bin/mkfifo", "-m", "755", "/usr/libexec/site/gone"])
        .by("root")
        .run()
        .exited(0);
    none("a FIFO");
}

#[test]
fn epilogue_user_and_group_may_own_and_write_it_and_nobody_else() {
    let lines = "epilogue = \"/usr/libexec/site/epilogue\"\nepilogue_user = \"keeper\"\nepilogue_group = \"keepers\"";
    let ready = || {
        let site = Site::with(lines);
        site.directory("/var/lib/site", (KEEPER, KEEPERS), 0o755);
        site
    };
    let site = ready();
    trusted(&site, "root's");
    site.own(EPILOGUE, (KEEPER, KEEPERS));
    site.mode(EPILOGUE, 0o775);
    site.own("/usr/libexec/site", (KEEPER, KEEPERS));
    site.mode("/usr/libexec/site", 0o775);
    trusted(&site, "keeper's, writable by keepers");
    site.own(EPILOGUE, (KEEPER, PILOT));
    site.mode(EPILOGUE, 0o775);
    let site2 = ready();
    site2.own(EPILOGUE, (KEEPER, PILOT));
    site2.mode(EPILOGUE, 0o775);
    untrusted_before_anything_starts(&site2, "writable by another group");
    // gid 0 is nobody's trusted group: root may write anyway, members of group root may not.
    let site = Site::with_epilogue("");
    site.own(EPILOGUE, (0, 0));
    site.mode(EPILOGUE, 0o775);
    untrusted_before_anything_starts(&site, "writable by group root");
}

#[test]
fn what_a_member_of_epilogue_group_owns_is_trusted_and_what_others_own_is_not() {
    let directory = "/usr/libexec/site";
    let sources = ["files", "nss"].map(|source| {
        format!(
            "epilogue = \"{EPILOGUE}\"\nepilogue_group = \"keepers\"\naccount_source = \"{source}\""
        )
    });
    for lines in &sources {
        for (who, uid) in [("listed", FRIEND), ("by its primary group", STEWARD)] {
            let site = Site::with(lines);
            site.own(EPILOGUE, (uid, 0));
            site.mode(EPILOGUE, 0o755);
            trusted(&site, &format!("the file of a member, {who}: {lines}"));
            site.own(directory, (uid, KEEPERS));
            site.mode(directory, 0o2775);
            trusted(&site, &format!("the directory, too, {who}: {lines}"));
            let site = Site::with(lines);
            acl(&site, &format!("u:{uid}:rwx"), directory);
            trusted(&site, &format!("writable by a member through an ACL, {who}: {lines}"));
        }
        for path in [EPILOGUE, directory] {
            let site = Site::with(lines);
            site.own(path, (OTHER, KEEPERS));
            site.mode(path, 0o755);
            untrusted_before_anything_starts(
                &site,
                "the group of a file makes its owner no member",
            );
            let site = Site::with(lines);
            acl(&site, &format!("u:{OTHER}:rwx"), path);
            untrusted_before_anything_starts(&site, "writable by a stranger through an ACL");
        }
    }
    for uid in [FRIEND, STEWARD] {
        let site = Site::with_epilogue("epilogue_user = \"keeper\"");
        site.own(EPILOGUE, (uid, 0));
        site.mode(EPILOGUE, 0o755);
        untrusted_before_anything_starts(&site, "a member of a group that is not trusted");
    }
}

#[test]
fn a_member_may_replace_the_epilogue_while_a_payload_runs() {
    let site = Site::with_epilogue("epilogue_group = \"keepers\"");
    let waiting = "while ! [ -e /tmp/go ]; do sleep 0.05; done; exit 42";
    let running = site.glexec(["sh", "-c", waiting]).with_status().start();
    running.started();
    site.directory("/var/lib/site", (0, KEEPERS), 0o775);
    site.epilogue("#!/bin/sh\necho new > /var/lib/site/new\n");
    site.own(EPILOGUE, (STEWARD, KEEPERS));
    site.mode(EPILOGUE, 0o755);
    site.file("/tmp/go", "", 0o644);
    running.wait().exited(42);
    assert_eq!(site.read("/var/lib/site/new"), "new\n");
}

#[test]
fn where_it_cannot_be_told_who_is_in_epilogue_group_nothing_starts() {
    let helper = "/usr/libexec/glexec/glexec-accounts";
    for question in ["members", "groups"] {
        let site = Site::with_epilogue("epilogue_group = \"keepers\"\naccount_source = \"nss\"");
        site.own(EPILOGUE, (STEWARD, 0));
        site.mode(EPILOGUE, 0o755);
        std::fs::rename(site.path(helper), site.path("/usr/libexec/glexec/real")).unwrap();
        // The payload's own groups are asked for, too.
        let fails = format!(
            "#!/bin/sh\ncase \"$*\" in *payload1*) ;; *{question}=*) exit 1;; esac\nexec /usr/libexec/glexec/real \"$@\"\n"
        );
        site.file(helper, fails, 0o755);
        stopped_before_anything_starts(&site, Reason::Accounts, question);
    }
}

#[test]
fn an_epilogue_that_could_not_be_started_costs_nobody_work() {
    let site = Site::with_epilogue("");
    site.file("/usr/libexec/site/plain", "#!/bin/sh\n", 0o644);
    site.file("/usr/libexec/site/broken", "#!/nonexistent/interpreter\n", 0o755);
    for (script, names) in [
        ("#!/nonexistent/interpreter\n", "/nonexistent"),
        ("#!/usr/bin/nonexistent -I\n", "/usr/bin/nonexistent"),
        ("#!/bin/sh\r\nexit 0\r\n", "carriage return"),
        ("#!/bin/sh -e\r\n", "carriage return"),
        ("#!sh\n", "not absolute"),
        ("#!\n", "no interpreter"),
        ("no interpreter at all\n", "neither a script"),
        ("", "neither a script"),
        ("#!/usr/libexec/site/plain\n", "not executable"),
        ("#!/usr/libexec/site\n", "no regular file"),
        ("#!/usr/libexec/site/broken\n", "/nonexistent"),
        ("#!/usr/libexec/site/epilogue\n", "too many"),
    ] {
        site.epilogue(script);
        untrusted_before_anything_starts(&site, script);
        let log = site.log();
        assert!(log.last().is_some_and(|line| line.contains(names)), "{names} in {log:#?}");
    }
    // A program of another machine, and one whose loader is not there.
    let mut elf = std::fs::read("/bin/true").unwrap();
    let loader = elf.windows(10).position(|bytes| bytes == b"/lib64/ld-");
    elf[18] ^= 0x55;
    site.file(EPILOGUE, &elf, 0o755);
    untrusted_before_anything_starts(&site, "another machine");
    elf[18] ^= 0x55;
    site.file(EPILOGUE, &elf, 0o755);
    site.glexec(["actor", "exit", "7"]).run().exited(7);
    if let Some(at) = loader {
        elf[at + 9] = b'!';
        site.file(EPILOGUE, &elf, 0o755);
        untrusted_before_anything_starts(&site, "no loader");
    }
}

#[test]
fn an_epilogue_or_an_interpreter_on_a_noexec_mount_costs_nobody_work() {
    let site = Site::with("epilogue = \"/usr/libexec/other/epilogue\"");
    site.directory("/usr/libexec/other", (0, 0), 0o755);
    let mount = "mount -t tmpfs -o mode=0755,noexec tmpfs /usr/libexec/other";
    site.shell(mount).by("root").run().exited(0);
    site.file("/usr/libexec/other/epilogue", "#!/bin/sh\n", 0o755);
    untrusted_before_anything_starts(&site, "the epilogue");
    std::fs::copy(site.path("/bin/sh"), site.path("/usr/libexec/other/sh")).unwrap();
    site.settings(&format!("epilogue = \"{EPILOGUE}\""));
    site.epilogue("#!/usr/libexec/other/sh\n");
    untrusted_before_anything_starts(&site, "the interpreter");
    site.shell("mount -o remount,exec /usr/libexec/other").by("root").run().exited(0);
    site.glexec(["actor", "exit", "7"]).run().exited(7);
}

#[test]
fn an_interpreter_is_judged_like_the_epilogue() {
    let interpreter = "/usr/libexec/tools/sh";
    let ready = || {
        let site = Site::with_epilogue("");
        site.directory("/usr/libexec/tools", (0, 0), 0o755);
        std::fs::copy(site.path("/bin/sh"), site.path(interpreter)).unwrap();
        site.own(interpreter, (0, 0));
        site.mode(interpreter, 0o755);
        site.epilogue(&format!("#!{interpreter}\necho ran > /var/lib/site/ran\n"));
        site
    };
    let site = ready();
    site.glexec(["actor", "exit", "7"]).run().exited(7);
    assert_eq!(site.read("/var/lib/site/ran"), "ran\n");
    for path in [interpreter, "/usr/libexec/tools"] {
        for (owner, mode) in [((PILOT, 0), 0o755), ((0, 0), 0o777), ((0, PILOT), 0o775)] {
            let site = ready();
            site.own(path, owner);
            site.mode(path, mode);
            untrusted_before_anything_starts(&site, &format!("{path} {owner:?} {mode:04o}"));
        }
        let site = ready();
        acl(&site, "u:42001:rwx", path);
        untrusted_before_anything_starts(&site, &format!("{path} with an ACL"));
    }
    // The interpreter's own interpreter.
    let site = ready();
    site.file("/usr/libexec/site/middle", format!("#!{interpreter}\nexec sh \"$@\"\n"), 0o755);
    site.epilogue("#!/usr/libexec/site/middle\n");
    site.glexec(["actor", "exit", "7"]).run().exited(7);
    site.own(interpreter, (PILOT, 0));
    untrusted_before_anything_starts(&site, "the interpreter of the interpreter");
}

#[test]
fn links_to_an_interpreter_are_as_good_as_the_directories_that_hold_them() {
    let site = Site::with_epilogue("");
    site.directory("/usr/libexec/tools", (0, 0), 0o755);
    let link = |target: &str, name: &str| {
        let _ = std::fs::remove_file(site.path(name));
        symlink(target, site.path(name)).unwrap();
    };
    site.epilogue("#!/usr/libexec/tools/sh\n");
    for target in ["/bin/sh", "../../bin/./sh", "again", "sh"] {
        link("/bin//sh", "/usr/libexec/tools/again");
        link(target, "/usr/libexec/tools/sh");
        if target == "sh" {
            untrusted_before_anything_starts(&site, "a link to itself");
        } else {
            site.glexec(["actor", "exit", "7"]).run().exited(7);
        }
    }
    // Whose link it is says nothing; who may write the directory does.
    link("/bin/sh", "/usr/libexec/tools/sh");
    site.own("/usr/libexec/tools", (PILOT, 0));
    untrusted_before_anything_starts(&site, "a link in a directory of pilot's");
    site.own("/usr/libexec/tools", (0, 0));
    link("/home/pilot/sh", "/usr/libexec/tools/sh");
    std::fs::copy(site.path("/bin/sh"), site.path("/home/pilot/sh")).unwrap();
    site.own("/home/pilot/sh", (0, 0));
    site.mode("/home/pilot/sh", 0o755);
    untrusted_before_anything_starts(&site, "a link into a directory of pilot's");
    link("/proc/self/exe", "/usr/libexec/tools/sh");
    untrusted_before_anything_starts(&site, "a link into /proc");
}

#[test]
fn an_epilogue_that_its_own_identity_may_not_start_costs_nobody_work() {
    let lines = "epilogue_user = \"keeper\"\nepilogue_group = \"keepers\"";
    for (path, mode) in [(EPILOGUE, 0o700), (EPILOGUE, 0o711), ("/usr/libexec/site", 0o700)] {
        let site = Site::with_epilogue(lines);
        site.directory("/var/lib/site", (KEEPER, KEEPERS), 0o755);
        trusted(&site, "as installed");
        let site = Site::with_epilogue(lines);
        site.mode(path, mode);
        stopped_before_anything_starts(
            &site,
            Reason::EpilogueIdentity,
            &format!("{path} {mode:04o}"),
        );
    }
}

fn acl(site: &Site, entry: &str, path: &str) {
    let setfacl = which::which("setfacl").expect("setfacl is missing: tests/run installs it");
    let ran = site.program([setfacl.to_str().unwrap(), "-m", entry, path]).by("root").run();
    ran.exited(0);
}

#[test]
fn posix_acls_count_as_write_bits() {
    for path in [EPILOGUE, "/usr/libexec/site", "/usr/libexec"] {
        for entry in ["u:42001:rwx", "g:42101:rwx", "u:42020:rw"] {
            let site = Site::with_epilogue("");
            acl(&site, entry, path);
            untrusted_before_anything_starts(&site, &format!("{entry} {path}"));
        }
        let site = Site::with_epilogue("");
        acl(&site, "u:42001:rx", path);
        trusted(&site, "an ACL that lets nobody write");
        let site = Site::with_epilogue("");
        acl(&site, "u:42001:rwx,m::rx", path);
        trusted(&site, "a mask that takes the write bit away");
        let site = Site::with_epilogue("");
        acl(&site, "u:0:rwx", path);
        trusted(&site, "root by name");
    }
    let site = Site::with_epilogue("epilogue_user = \"keeper\"\nepilogue_group = \"keepers\"");
    site.directory("/var/lib/site", (KEEPER, KEEPERS), 0o755);
    acl(&site, "u:42020:rwx,g:42021:rwx", EPILOGUE);
    trusted(&site, "the epilogue's own identity, by ACL");
}

#[test]
fn an_epilogue_that_became_untrusted_while_the_payload_ran_is_not_run_and_the_code_not_lost() {
    use contract::Record;
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", "sleep 0.5; exit 42"]).with_status().start();
    running.started();
    site.mode(EPILOGUE, 0o777);
    let ran = running.wait();
    ran.exited(202);
    assert!(
        ran.records.iter().any(|r| matches!(r, Record::Payload { code: Some(42), .. })),
        "{ran:#?}"
    );
    assert!(
        ran.records
            .iter()
            .any(|r| matches!(r, Record::Epilogue { result, .. } if result == "not-started")),
        "{ran:#?}"
    );
    assert!(site.epilogues().is_empty());
}

#[test]
fn an_epilogue_that_was_replaced_by_another_of_roots_is_run_as_it_is_now() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sh", "-c", "sleep 0.5; exit 42"]).with_status().start();
    running.started();
    site.file("/usr/libexec/site/new", "#!/bin/sh\necho new > /var/lib/site/new\n", 0o755);
    std::fs::rename(site.path("/usr/libexec/site/new"), site.path(EPILOGUE)).unwrap();
    running.wait().exited(42);
    assert_eq!(site.read("/var/lib/site/new"), "new\n");
}

#[test]
fn an_epilogue_without_lingering_or_without_time_is_no_configuration() {
    let site = Site::new();
    for lines in ["linger = false", "epilogue_timeout = 0"] {
        site.settings(&format!("epilogue = \"{EPILOGUE}\"\n{lines}"));
        site.glexec(["true"]).with_status().run().stopped(Reason::ConfigMalformed);
    }
    for path in [
        "libexec/epilogue",
        "/usr/../usr/libexec/site/epilogue",
        "/usr//libexec/site/epilogue",
        "/usr/libexec/site/./epilogue",
        "/usr/libexec/site/epilogue/",
    ] {
        site.settings(&format!("epilogue = \"{path}\""));
        site.glexec(["true"]).with_status().run().stopped(Reason::ConfigMalformed);
    }
}
