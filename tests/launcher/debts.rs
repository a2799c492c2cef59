//! What is owed is never lost by an error: not by a full disk, not by what one caller writes down,
//! and not by a system call that fails while a directory goes back.

use contract::Reason;

use harness::accounts::{PAYLOAD1, PILOT};
use harness::{Call, EPILOGUE, GLEXEC, Limit, Ran, Running, Site};
use nix::sys::resource::Resource;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const STATE: &str = "/var/lib/glexec";

pub(crate) fn entries(site: &Site) -> Vec<String> {
    let list = std::fs::read_dir(site.path(STATE)).unwrap();
    let names = list.map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("run.")).collect()
}

pub(crate) fn sweep(site: &Site) -> Ran {
    site.program(["/usr/sbin/glexec-admin"]).words(["sweep", "--now"]).by("root").run()
}

fn size_of(site: &Site, name: &str) -> u64 {
    std::fs::metadata(site.path(&format!("{STATE}/{name}"))).unwrap().len()
}

/// The caller chooses the length of its entry, so it chooses where the disk is full: here in the
/// middle of the line that says how its payload has ended.
#[test]
fn a_phase_that_only_fits_in_half_is_taken_back_and_the_epilogue_is_still_paid() {
    const PAGE: u64 = 4096;
    let script = format!(
        "#!/bin/sh\nrm -f {STATE}/filler\n\
         [ -e /var/lib/site/second ] || kill -9 $$\necho paid >> /var/lib/site/paid\n"
    );
    let site = Site::with_epilogue_script(&script, "");
    let mount = format!("mount -t tmpfs -o size=64k,mode=0700 tmpfs {STATE}");
    site.shell(&mount).by("root").run().exited(0);
    let flag = site.path("/var/lib/site/flag");
    let begin = |pad: usize| {
        let wait = "while [ ! -e /var/lib/site/flag ]; do sleep 0.02; done; exit 5";
        let call = site.glexec(["sh", "-c", wait]).env("GLEXEC_PAD", &"y".repeat(pad));
        let running = call.with_status().start();
        running.started();
        let name = entries(&site).remove(0);
        (running, name)
    };
    let (running, name) = begin(1);
    let small = size_of(&site, &name);
    std::fs::remove_file(site.path(&format!("{STATE}/{name}"))).unwrap();
    std::fs::write(&flag, "").unwrap();
    running.wait();
    std::fs::remove_file(&flag).unwrap();
    let (running, name) = begin(usize::try_from(2 * PAGE - 50 - small).unwrap() + 1);
    let before = size_of(&site, &name);
    assert!((2 * PAGE - 60..2 * PAGE - 40).contains(&before), "{small} {before}");
    let fill = format!("head -c 65536 /dev/zero > {STATE}/filler");
    site.shell(&fill).by("root").run();
    std::fs::write(&flag, "").unwrap();
    running.wait().exited(202);
    let text = site.read(&format!("{STATE}/{name}"));
    assert!(text.ends_with('\n'), "{text:?}");
    for line in text.lines() {
        let read = serde_json::from_str::<serde_json::Value>(line);
        assert!(read.is_ok(), "{line:?} is torn");
    }
    site.file("/var/lib/site/second", "", 0o644);
    sweep(&site).exited(0);
    assert_eq!((entries(&site).len(), site.read("/var/lib/site/paid").as_str()), (0, "paid\n"));
}

#[test]
fn what_a_glexec_left_half_written_takes_no_later_line_with_it() {
    let site = Site::with_epilogue("");
    let running = site.glexec(["sleep", "30"]).with_status().start();
    running.started();
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    let name = entries(&site).remove(0);
    let path = site.path(&format!("{STATE}/{name}"));
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"phase\":\"done\",\"result\":\"o");
    std::fs::write(&path, text).unwrap();
    // Not trusted, so that the attempt is written down behind the torn line.
    site.mode(EPILOGUE, 0o777);
    sweep(&site).exited(1);
    let text = site.read(&format!("{STATE}/{name}"));
    let whole = text.lines().any(|line| {
        serde_json::from_str::<serde_json::Value>(line).is_ok_and(|v| v["phase"] == "failed")
    });
    assert!(whole, "{text}");
    site.mode(EPILOGUE, 0o755);
    sweep(&site).exited(0);
    assert_eq!(site.epilogues().len(), 1);
    assert_eq!(site.epilogues()[0].variable("GLEXEC_EPILOG_ATTEMPT"), Some("2"));
}

#[test]
fn what_a_run_writes_down_is_bounded_by_what_its_caller_wrote() {
    let site = Site::with_epilogue("");
    let large = |count: usize| {
        let mut call =
            site.glexec(["sleep", "30"]).limited(Limit::Soft(Resource::RLIMIT_STACK, 64 << 20));
        for n in 0..count {
            call = call.env(&format!("GLEXEC_{n}"), &"\u{1}".repeat(120_000));
        }
        call.with_status()
    };
    let running = large(12).start();
    running.started();
    let (name, wrote) = (entries(&site).remove(0), 12 * 120_000);
    let size = size_of(&site, &name);
    assert!((wrote..2 * wrote + 20_000).contains(&size), "{size}");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    sweep(&site).exited(0);
    let told = site.epilogues().remove(0);
    assert_eq!(told.variable("GLEXEC_11").map(str::len), Some(120_000), "and reads back as it was");
    // Without an epilogue it is only the entry that bounds it.
    site.settings("hand_over = [\"D\"]");
    site.directory("/var/lib/site/d", (PILOT, PILOT), 0o700);
    large(20).env("D", "/var/lib/site/d").run().stopped(Reason::ArgumentsTooLong);
    assert_eq!(entries(&site), [""; 0]);
}

#[test]
fn a_caller_fills_the_state_directory_with_no_more_than_its_share() {
    let site = Site::with_epilogue("");
    let name = format!("{STATE}/run.42001.1.1.1");
    site.file(&name, "", 0o600);
    std::fs::OpenOptions::new()
        .write(true)
        .open(site.path(&name))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let call = |size: usize| site.glexec(["true"]).env("GLEXEC_X", &"x".repeat(size));
    call(100_000).with_status().run().stopped(Reason::TooManyRuns);
    call(100_000).by("busy").run().exited(0);
    call(1000).run().exited(0);
}

const SCRATCH: &str = "/var/lib/site/scratch";
const DIRECTORY: &str = "/var/lib/site/scratch/d";

/// A directory of pilot's, with something in it.
pub(crate) fn furnished(site: Site) -> Site {
    site.directory(SCRATCH, (PILOT, PILOT), 0o755);
    furnish(&site);
    site
}

pub(crate) fn furnish(site: &Site) {
    for directory in [DIRECTORY, &format!("{DIRECTORY}/sub")] {
        site.directory(directory, (PILOT, PILOT), 0o700);
    }
    for name in ["f", "sub/g"] {
        site.file(&format!("{DIRECTORY}/{name}"), "of the caller\n", 0o600);
        site.own(&format!("{DIRECTORY}/{name}"), (PILOT, PILOT));
    }
}

/// A payload that leaves something of every kind.
pub(crate) const LEAVES: &str = "cd /var/lib/site/scratch/d && mkdir -p new/er && echo y > new/er/y && \
                      setfacl -m u:other:rwx new && echo h > h && ln -f h h2 && ln -sf /etc/passwd out && \
                      ln -sf new in && echo x > sub/x && chmod 666 sub/x && chmod 777 sub";

pub(crate) fn leaving<'s>(site: &'s Site, then: &str) -> Call<'s> {
    let script = format!("{LEAVES} && {then}");
    site.glexec(["sh", "-c", &script]).env("D", DIRECTORY)
}

/// Whatever is not pilot's, the directory itself included.
pub(crate) fn not_the_callers(site: &Site) -> Vec<String> {
    fn below(path: &Path, all: &mut Vec<String>) {
        let meta = std::fs::symlink_metadata(path).unwrap();
        if meta.uid() != PILOT {
            all.push(format!("{} of {}", path.display(), meta.uid()));
        }
        if meta.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                below(&entry.unwrap().path(), all);
            }
        }
    }
    let mut all = Vec::new();
    below(&site.path(DIRECTORY), &mut all);
    all
}

/// Runs something by strace, one of its calls tampered with; whether that call came.
pub(crate) fn tampered(site: &Site, how: &str, who: &str, words: &[&str]) -> (Ran, bool) {
    let strace = which::which("strace").expect("strace is missing: tests/run installs it");
    let calls = how.split(':').next().unwrap();
    let (inject, trace) = (format!("inject={how}"), format!("trace={calls}"));
    let _ = std::fs::remove_file(site.path("/tmp/trace"));
    let mut line = vec!["-qq", "-o", "/tmp/trace", "-e", &trace, "-e", &inject];
    match who {
        // A process of its own does what a sweep does.
        "root" => line.push("-f"),
        who => line.extend(["-u", who]),
    }
    let ran = site
        .program([strace.to_str().unwrap()])
        .words(line)
        .words(words.iter().copied())
        .by("root")
        .env("D", DIRECTORY)
        .run();
    (ran, site.read("/tmp/trace").contains("(INJECTED)"))
}

/// The calls of a hand-over, with what each is made to say.
const CALLS: [&str; 16] = [
    "openat2:error=EIO",
    "openat2:error=ENOENT",
    "openat2:error=EXDEV",
    "fchownat:error=EIO",
    "getdents64:error=EIO",
    "statx:error=EIO",
    "fchmod:error=EIO",
    "rename,renameat,renameat2:error=EIO",
    "unlink,unlinkat:error=EIO",
    "getxattr:error=EIO",
    "setxattr:error=EIO",
    "removexattr:error=EIO",
    "readlinkat:error=EIO",
    "statfs,fstatfs:error=EIO",
    "fcntl:error=ENOLCK",
    "mkdirat,mkdir:error=EIO",
];

#[test]
fn no_error_of_a_hand_back_leaves_files_the_targets_and_the_debt_paid() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    let (mut tampered_with, mut owed) = (0, 0);
    for call in CALLS.iter().chain(&["openat,open:error=EIO", "openat,open:error=ENOENT"]) {
        for when in 1..200 {
            let how = format!("{call}:when={when}");
            let (ran, came) = tampered(&site, &how, "pilot", &[GLEXEC, "sh", "-c", LEAVES]);
            if !came {
                break;
            }
            tampered_with += 1;
            if entries(&site).is_empty() {
                let left = not_the_callers(&site);
                assert!(left.is_empty(), "{how}: paid, and {left:#?}, {ran:#?}");
            } else {
                owed += 1;
                let swept = sweep(&site);
                let left = not_the_callers(&site);
                assert!(left.is_empty(), "{how}: {left:#?}, {swept:#?}, {ran:#?}");
                assert_eq!((swept.code, entries(&site).len()), (Some(0), 0), "{how}: {swept:#?}");
            }
            furnish(&site);
        }
    }
    assert!(tampered_with > 100 && owed > 20, "{tampered_with} errors, {owed} debts");
}

/// On another file system than the quarantine files with more names stay as they are, by rule.
fn not_the_callers_but_hard_links(site: &Site) -> Vec<String> {
    let mut all = not_the_callers(site);
    all.retain(|line| !line.contains("/d/h of") && !line.contains("/d/h2 of"));
    all
}

/// Killed while its payload had the directory.
fn killed_with_the_directory(site: &Site) {
    let running: Running<'_> = leaving(site, "echo up && exec sleep 60").with_status().start();
    running.says("up");
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
    assert!(!not_the_callers(site).is_empty());
}

#[test]
fn no_error_of_a_sweep_leaves_files_the_targets_and_the_debt_paid() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    let (mut tampered_with, mut owed) = (0, 0);
    for call in CALLS.iter().chain(&["openat:error=EIO", "openat:error=ENOENT"]) {
        for when in 1..200 {
            let how = format!("{call}:when={when}");
            killed_with_the_directory(&site);
            let (ran, came) =
                tampered(&site, &how, "root", &["/usr/sbin/glexec-admin", "sweep", "--now"]);
            let debts = entries(&site).len();
            let left = not_the_callers(&site);
            assert!(debts > 0 || left.is_empty(), "{how}: paid, and {left:#?}, {ran:#?}");
            owed += usize::from(came && debts > 0);
            let swept = sweep(&site);
            let left = not_the_callers(&site);
            assert!(left.is_empty(), "{how}: {left:#?}, {swept:#?}, {ran:#?}");
            assert_eq!((swept.code, entries(&site).len()), (Some(0), 0), "{how}: {swept:#?}");
            furnish(&site);
            if !came {
                break;
            }
            tampered_with += 1;
        }
    }
    assert!(tampered_with > 60 && owed > 20, "{tampered_with} errors, {owed} debts");
}

#[test]
fn a_directory_that_cannot_be_given_back_stays_owed_beside_an_epilogue_that_ran() {
    let site = furnished(Site::with_epilogue("hand_over = [\"D\"]"));
    // Seven changes give it, the first because it is on an overlay, each directory by way of root,
    // and one takes it; then all fail.
    let how = "fchownat:error=EPERM:when=9+";
    let script = format!("{LEAVES}; exit 7");
    let (ran, _) = tampered(&site, how, "pilot", &[GLEXEC, "sh", "-c", &script]);
    ran.exited(7);
    assert_eq!(entries(&site).len(), 1, "{ran:#?}");
    assert_eq!(site.epilogues().len(), 1);
    let told = |text: &str| site.log().iter().any(|line| line.contains(text));
    assert!(told("were not handed back, the first: "), "{:#?}", site.log());
    assert!(told(&format!("{DIRECTORY}/")), "{:#?}", site.log());
    let ps = site.program(["/usr/sbin/glexec-admin", "ps"]).by("root").run();
    assert!(ps.output().contains("owed"), "{ps:#?}");
    // Nobody else gets it meanwhile.
    leaving(&site, "true").with_status().run().stopped(Reason::HandOver);
    // The first attempt was within the caller's reach; the next two are a sweep's, with a pause.
    let admin = ["/usr/sbin/glexec-admin", "sweep"];
    let (ran, _) = tampered(&site, "fchownat:error=EPERM:when=1+", "root", &admin);
    ran.exited(1);
    let ran = site.program(admin).by("root").run();
    assert!(ran.exited(1).output().contains("later"), "{ran:#?}");
    sweep(&site).exited(0);
    assert_eq!(not_the_callers(&site), [""; 0]);
    assert_eq!((entries(&site).len(), site.epilogues().len()), (0, 1), "nothing is paid twice");
    leaving(&site, "true").run().exited(0);
}

#[test]
fn a_hand_back_that_never_works_is_set_aside_for_a_person_to_look_at() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    killed_with_the_directory(&site);
    let admin = ["/usr/sbin/glexec-admin", "sweep", "--now"];
    for _ in 0..6 {
        tampered(&site, "fchownat:error=EPERM:when=1+", "root", &admin).0.exited(1);
    }
    let names = std::fs::read_dir(site.path(STATE)).unwrap();
    let names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("aside.run.")), "{names:?}");
    assert!(!not_the_callers(&site).is_empty());
}

/// Its scratch file system: an overlay, whose device has another number with every mount.
fn mount_scratch(site: &Site, first: bool) {
    let disk = "/var/lib/site/disk";
    let make = format!(
        "mkdir -p {disk} {SCRATCH} && mount -t tmpfs none {disk} && cd {disk} && mkdir l u w"
    );
    let mount = format!(
        "mount -t overlay -o lowerdir={disk}/l,upperdir={disk}/u,workdir={disk}/w none {SCRATCH}"
    );
    let text = if first { format!("{make} && {mount} && chmod 755 {SCRATCH}") } else { mount };
    site.shell(&text).by("root").run().exited(0);
}

fn unmount_scratch(site: &Site) {
    // The next mount would get the same number again.
    let text = format!(
        "umount {SCRATCH} && mkdir -p /var/lib/site/x && mount -t tmpfs none /var/lib/site/x"
    );
    site.shell(&text).by("root").run().exited(0);
}

#[test]
fn after_a_new_mount_the_directory_is_known_again_and_given_back() {
    let site = Site::with("hand_over = [\"D\"]");
    mount_scratch(&site, true);
    furnish(&site);
    let device = || std::fs::metadata(site.path(DIRECTORY)).unwrap().dev();
    killed_with_the_directory(&site);
    let before = device();
    unmount_scratch(&site);
    // As long as it is not there, nothing is paid.
    sweep(&site).exited(1);
    assert_eq!(entries(&site).len(), 1);
    assert!(site.log().iter().any(|line| line.contains("is not mounted")), "{:#?}", site.log());
    mount_scratch(&site, false);
    assert_ne!(device(), before, "the number has changed");
    sweep(&site).exited(0);
    assert_eq!((not_the_callers_but_hard_links(&site), entries(&site).len()), (vec![], 0));
}

#[test]
fn what_has_the_name_while_the_file_system_is_away_is_left_alone() {
    let site = Site::with("hand_over = [\"D\"]");
    mount_scratch(&site, true);
    furnish(&site);
    killed_with_the_directory(&site);
    unmount_scratch(&site);
    site.directory(DIRECTORY, (PAYLOAD1, PAYLOAD1), 0o700);
    sweep(&site).exited(1);
    assert_eq!(std::fs::metadata(site.path(DIRECTORY)).unwrap().uid(), PAYLOAD1);
    mount_scratch(&site, false);
    sweep(&site).exited(0);
    assert_eq!((not_the_callers_but_hard_links(&site), entries(&site).len()), (vec![], 0));
}

#[test]
fn a_directory_that_was_removed_owes_nothing_any_more() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    killed_with_the_directory(&site);
    std::fs::remove_dir_all(site.path(DIRECTORY)).unwrap();
    sweep(&site).exited(0);
    assert_eq!(entries(&site).len(), 0);
    assert!(site.log().iter().any(|line| line.contains("it was removed")), "{:#?}", site.log());
    let names = std::fs::read_dir(site.path(STATE)).unwrap();
    let names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("handed.")), "{names:?}");
}

/// Whom the target has let in by a list, it has let in to what the caller makes there later, too.
#[test]
fn no_access_control_list_of_the_targets_goes_back_with_the_directory() {
    let site = furnished(Site::with("hand_over = [\"D\"]"));
    let script = "mkdir -p a/b && setfacl -d -m u:other:rwx . a a/b && setfacl -m u:other:rwx,m:rwx a . && \
                  echo x > a/x && setfacl -m g:other:rw sub/g && setfacl -m u:other:rw,m::rw f && chmod 640 a/x";
    site.glexec(["sh", "-c", &format!("cd {DIRECTORY} && {script}")])
        .env("D", DIRECTORY)
        .run()
        .exited(0);
    let lists = site.shell(&format!("getfacl -pRn {DIRECTORY}")).by("root").run();
    let text = lists.exited(0).output();
    let odd: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("default:") || line.starts_with("mask:"))
        .chain(text.lines().filter(|line| line.contains("user:42") || line.contains("group:42")))
        .collect();
    assert_eq!(odd, [""; 0], "{text}");
    let mode = |name: &str| {
        std::fs::metadata(site.path(&format!("{DIRECTORY}/{name}"))).unwrap().mode() & 0o777
    };
    assert_eq!((mode("f"), mode("sub/g")), (0o600, 0o600), "the mask gave the group nothing");
    assert_eq!(not_the_callers(&site), [""; 0]);
    let secret =
        format!("umask 077; echo secret > {DIRECTORY}/a/b/new && getfacl -pn {DIRECTORY}/a/b/new");
    assert!(!site.shell(&secret).run().exited(0).output().contains("user:42"));
}

#[test]
fn a_sweep_that_takes_long_says_so_and_how_many_entries_are_left() {
    let script = "#!/bin/sh\nuntil [ -e /var/lib/site/go ]; do sleep 0.05; done\n";
    let site = Site::with_epilogue_script(script, "");
    let owe = || {
        let running = site.glexec(["sleep", "30"]).with_status().start();
        running.started();
        running.signal_by("root", libc::SIGKILL).unwrap();
        running.wait();
    };
    owe();
    owe();
    let told = "glexec-admin: the sweep goes on after [0-9]* s; 2 entries are left";
    let text = format!(
        "/usr/sbin/glexec-admin sweep --now 2>/run/told & until grep -qx '{told}' /run/told; do sleep 0.05; done
         touch /var/lib/site/go; wait $!"
    );
    let ran = site.shell(&text).by("root").run();
    assert_eq!(ran.exited(0).output().lines().count(), 2, "{ran:#?}");
    // A program reads JSON and nothing beside it.
    owe();
    site.epilogue("#!/bin/sh\nsleep 2.5\n");
    let ran = site.program(["/usr/sbin/glexec-admin", "sweep", "--now", "--json"]).by("root").run();
    assert!(ran.exited(0).error().is_empty() && ran.output().contains("paid"), "{ran:#?}");
}
