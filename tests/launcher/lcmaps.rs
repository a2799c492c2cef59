//! Mapping by the site's own LCMAPS, the real one: `tests/run` installs it.

use crate::credential::{PROXY, call, present};
use contract::Reason;
use harness::accounts::{PAYLOAD1, PILOT, WORK};
use harness::{CA_DIR, GRID_MAPFILE, Pki, Ran, Site};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

const HELPER: &str = "/usr/libexec/glexec/glexec-lcmaps";
const DATABASE: &str = "/etc/lcmaps/lcmaps.db";
const LIBRARY: &str = "liblcmaps_return_account_from_pem.so.0";
const GRIDMAPDIR: &str = "/etc/grid-security/gridmapdir";
const BAN: &str = "/etc/grid-security/ban";

const MAP: &str = "\"/DC=org/DC=trial/CN=alice\" payload1\n\"/DC=org/DC=trial/CN=bob\" payload3\n\
    \"/DC=org/DC=trial/CN=nobody\" root\n\"/DC=org/DC=trial/CN=low\" service\n\
    \"/DC=org/DC=trial/CN=ghost\" ghost\n\"/DC=org/DC=trial/CN=pool*\" .work\n";

/// A database with this policy; the plug-ins are those of Debian's packages.
fn database(policy: &str) -> String {
    format!(
        "path = /usr/lib/lcmaps\n\
         vp = \"lcmaps_verify_proxy.mod\" \"-certdir {CA_DIR}\"\n\
         ban = \"lcmaps_ban_dn.mod\" \"-banmapfile {BAN}\"\n\
         la = \"lcmaps_localaccount.mod\" \"-gridmapfile {GRID_MAPFILE}\"\n\
         pa = \"lcmaps_poolaccount.mod\" \"-gridmapfile {GRID_MAPFILE} -gridmapdir {GRIDMAPDIR}\"\n\
         enf = \"lcmaps_posix_enf.mod\"\n\
         {policy}\n"
    )
}

const USUAL: &str = "glexec:\nvp -> ban\nban -> la | pa";

fn configure(site: &Site, glexec: &str, methods: &str) {
    site.config(&format!(
        "[glexec]\nuser_white_list = [\"pilot\", \"root\"]\nkill_grace = 1\nlcmaps_db_file = \"{DATABASE}\"\n{glexec}\n\
         [mapping]\nmethods = [{methods}]\n[mapping.lcmaps]\nca_dir = \"{CA_DIR}\"\n\
         [mapping.gridmap]\ngrid_mapfile = \"{GRID_MAPFILE}\"\ngridmapdir = \"{GRIDMAPDIR}\"\nca_dir = \"{CA_DIR}\"\n"
    ));
}

fn site() -> (Site, Pki) {
    let (site, pki) = (Site::new(), Pki::new());
    pki.install(&site);
    site.file(GRID_MAPFILE, MAP, 0o644);
    site.file(BAN, "\"/DC=org/DC=trial/CN=mallory\"\n", 0o644);
    site.directory(GRIDMAPDIR, (0, 0), 0o755);
    site.directory("/etc/lcmaps", (0, 0), 0o755);
    site.file(DATABASE, database(USUAL), 0o644);
    configure(&site, "", "\"lcmaps\"");
    present(&site, pki.proxy("alice"));
    (site, pki)
}

fn check(site: &Site) -> Ran {
    site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run()
}

fn is_logged(ran: &Ran, part: &str) {
    assert!(ran.log.iter().any(|line| line.contains(part)), "{part}: {:#?}", ran.log);
}

#[test]
fn lcmaps_gives_the_account_that_the_same_files_give_and_nothing_is_left() {
    let (site, pki) = site();
    let words = ["/bin/sh", "-c", "id -a; cat $X509_USER_PROXY"];
    let tmp = || std::fs::read_dir(site.path("/tmp")).unwrap().count();
    for name in ["alice", "bob"] {
        let proxy = pki.proxy(name);
        present(&site, &proxy);
        let before = tmp();
        configure(&site, "", "\"lcmaps\"");
        let by_lcmaps = call(&site, &words).run().exited(0).output();
        configure(&site, "", "\"gridmap\"");
        let by_file = call(&site, &words).run().exited(0).output();
        assert_eq!(by_lcmaps, by_file);
        assert!(by_lcmaps.starts_with("uid=") && by_lcmaps.ends_with(&proxy), "{by_lcmaps}");
        assert_eq!(tmp(), before);
    }
    configure(&site, "", "\"lcmaps\"");
    present(&site, pki.proxy("alice"));
    let look = call(&site, &["actor", "look"]).run().look();
    assert_eq!((look.uids, look.capabilities[1]), (vec![PAYLOAD1; 4], 0));
    // The caller's own wish counts among what it is mapped to.
    let picks = |name: &str| call(&site, &["true"]).env("GLEXEC_TARGET_USER", name).run();
    picks("payload1").exited(0);
    picks("payload2").stopped(Reason::NoMapping);
    let shown = site.program(["/usr/sbin/glexec-admin", "map", "--credential", PROXY]).by("root");
    let shown = shown.run().exited(0).output();
    assert!(shown.contains("account      payload1 (uid 42002"), "{shown}");
    assert!(check(&site).exited(0).output().contains("lcmaps       /etc/lcmaps/lcmaps.db: usable"));
}

#[test]
fn a_site_of_glexec_0_9_keeps_its_configuration() {
    let (site, _pki) = site();
    site.old_config(&format!(
        "[glexec]\nuser_white_list = pilot\nlinger = yes\nlcmaps_db_file = {DATABASE}\n\
         lcmaps_log_file = /var/log/glexec/lcmaps.log\nlcmaps_debug_level = 5\n\
         lcmaps_get_account_policy = glexec\nlcmaps_log_level = 1\n"
    ));
    let look = call(&site, &["actor", "look"]).run().look();
    assert_eq!(look.variable("USER"), Some("payload1"));
    let log = site.read("/var/log/glexec/lcmaps.log");
    assert!(log.contains("LCMAPS CRED FINAL") && log.contains("CN=alice"), "{log}");
    assert_eq!(
        std::fs::metadata(site.path("/var/log/glexec/lcmaps.log")).unwrap().mode() & 0o777,
        0o600
    );
    // A policy that is not there maps nobody.
    let text = site.read("/etc/glexec.conf").replace("policy = glexec", "policy = other");
    site.old_config(&text);
    call(&site, &["true"]).run().stopped(Reason::NoMapping);
}

#[test]
fn whom_lcmaps_does_not_map_is_refused_and_no_later_method_is_asked() {
    let (site, pki) = site();
    site.config(&format!(
        "{}[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload5\"\n",
        site.read(harness::CONFIG).replace("[\"lcmaps\"]", "[\"lcmaps\", \"static\"]")
    ));
    for (name, reason) in [
        ("stranger", Reason::NoMapping),
        ("mallory", Reason::NoMapping),
        ("ghost", Reason::NoMapping),
        ("nobody", Reason::TargetNotAdmitted),
        ("low", Reason::TargetNotAdmitted),
    ] {
        present(&site, pki.proxy(name));
        let ran = call(&site, &["true"]).run();
        assert_eq!(ran.stopped(reason).code(), 203, "{name}");
        assert!(!ran.error().contains("/etc"), "{ran:?}");
    }
    // What glexec itself would not verify LCMAPS never sees.
    present(&site, [pki.proxy("alice"), pki.plain("bob")].concat());
    call(&site, &["true"]).run().stopped(Reason::Credential);
    // Without a credential it is not asked.
    let without = site.glexec(["actor", "look"]).run();
    assert_eq!(without.look().variable("USER"), Some("payload5"));
}

#[test]
fn what_is_missing_or_anybodys_is_named_with_its_path() {
    let (site, _pki) = site();
    let run = || call(&site, &["true"]).run();
    let module = |name: &str| format!("/usr/lib/lcmaps/lcmaps_{name}.mod");
    let broken = |plant: &str, part: &str, mend: &str| {
        site.shell(plant).by("root").run().exited(0);
        let ran = run();
        let said = ran.stopped(Reason::Mapping).error();
        assert!(!said.contains("/etc") && !said.contains("/usr"), "{said}");
        is_logged(&ran, part);
        let told = check(&site).exited(1).output();
        assert!(told.contains(part), "{plant}: {part}: {told}");
        // Who asks before a job starts, without a credential, is told, too.
        let asked = site.glexec(["true"]).option("--check").with_status().run();
        asked.stopped(Reason::Mapping);
        site.shell(mend).by("root").run().exited(0);
        run().exited(0);
    };
    let plugin = module("localaccount");
    let moved = |path: &str| (format!("mv {path} {path}.away"), format!("mv {path}.away {path}"));
    let (plant, mend) = moved(DATABASE);
    broken(&plant, &format!("{DATABASE} does not exist"), &mend);
    let (plant, mend) = moved(&plugin);
    broken(&plant, &plugin, &mend);
    let (plant, mend) = moved(HELPER);
    broken(&plant, &format!("{HELPER} does not exist"), &mend);
    let (plant, mend) = moved(GRID_MAPFILE);
    broken(&plant, &format!("{DATABASE} names {GRID_MAPFILE}"), &mend);
    let (plant, mend) = moved(BAN);
    broken(&plant, BAN, &mend);
    for path in [DATABASE, GRID_MAPFILE, "/usr/lib/lcmaps/liblcmaps_localaccount.so"] {
        let mend = format!("chmod 644 {path}");
        broken(&format!("chmod 666 {path}"), &format!("{path} is writable by everybody"), &mend);
    }
    broken(
        &format!("chmod 777 {GRIDMAPDIR}"),
        &format!("{GRIDMAPDIR} is writable by everybody"),
        &format!("chmod 755 {GRIDMAPDIR}"),
    );
    let config = site.read(harness::CONFIG);
    for library in ["libnone-such.so.0", "/opt/none/liblcmaps.so"] {
        let with = format!("[mapping.lcmaps]\nlibrary = \"{library}\"");
        site.config(&config.replace("[mapping.lcmaps]", &with));
        let ran = run();
        ran.stopped(Reason::Mapping);
        is_logged(&ran, library);
        assert!(check(&site).exited(1).output().contains(library));
    }
    site.config(&config);
    run().exited(0);
    // What cannot be understood, and what changes the ids of a process that is not the payload.
    for (policy, part) in [
        ("glexec:\nvp -> la ->", "cannot be initialised"),
        ("glexec:\nvp -> la\nla -> enf", "take it out of the policy"),
    ] {
        site.file(DATABASE, database(policy), 0o644);
        let ran = run();
        ran.stopped(Reason::Mapping);
        is_logged(&ran, part);
    }
}

#[test]
fn a_helper_that_fails_hangs_or_lies_maps_nobody() {
    let (site, _pki) = site();
    for (what, script) in [
        ("exits 1", "exit 1"),
        ("says nothing", "exit 0"),
        ("says rubbish", "head -c 100000 /dev/zero"),
        ("crashes", "kill -SEGV $$"),
        ("never ends", "sleep 60"),
        ("names half", "echo uid=42002"),
        ("answers and fails", "printf 'uid=42002\\ngid=42002\\n'; exit 1"),
    ] {
        site.file(HELPER, format!("#!/bin/sh\n{script}\n"), 0o755);
        let start = Instant::now();
        let ran = call(&site, &["true"]).run();
        assert_eq!(ran.stopped(Reason::Mapping).code(), 202, "{what}");
        assert!(start.elapsed() < Duration::from_secs(25), "{what}: {:?}", start.elapsed());
    }
    for (answer, reason) in [
        ("uid=0\\ngid=42002\\n", Reason::TargetNotAdmitted),
        ("uid=42002\\ngid=0\\n", Reason::TargetNotAdmitted),
        ("uid=42002\\ngid=42002\\ngroup=0\\n", Reason::TargetNotAdmitted),
        ("uid=50\\ngid=42002\\n", Reason::TargetNotAdmitted),
        ("uid=4242424\\ngid=42002\\n", Reason::TargetUnknown),
    ] {
        site.file(HELPER, format!("#!/bin/sh\nprintf '{answer}'\n"), 0o755);
        call(&site, &["true"]).run().stopped(reason);
    }
    // The groups are those that LCMAPS gives, whatever the account database says.
    site.file(HELPER, "#!/bin/sh\nprintf 'uid=42002\\ngid=777\\ngid=888\\ngroup=999\\n'\n", 0o755);
    let look = call(&site, &["actor", "look"]).run().look();
    assert_eq!((look.gids, look.groups), (vec![777; 4], vec![888, 999]));
}

#[test]
fn the_helper_is_root_out_of_the_callers_reach_with_the_sites_variables_alone() {
    let (site, _pki) = site();
    site.file(HELPER, "#!/usr/local/bin/actor look-into\n", 0o755);
    let hostile = || {
        let call = call(&site, &["true"]).umask(0);
        let call = call.env("LCMAPS_DB_FILE", "/tmp/x").env("GRIDMAP", "/tmp/x");
        call.env("LCMAPS_MODULES_DIR", "/tmp")
            .env("X509_CERT_DIR", "/tmp")
            .env("LD_PRELOAD", "/tmp/x")
    };
    let ran = hostile().passing(7, std::fs::File::open("/etc/passwd").unwrap()).run();
    assert_eq!(ran.code(), 202);
    let saw = site.epilogues().remove(0);
    assert_eq!((saw.uids, saw.gids, saw.groups), (vec![0; 4], vec![0; 4], vec![]));
    let open: Vec<&String> = saw.descriptors.values().collect();
    assert_eq!(open.len(), 3, "credential, answer, nothing: {open:?}");
    assert!(open[0].contains("memfd:credential"), "{open:?}");
    assert_eq!((saw.umask, saw.directory.as_str()), (0o022, "/"));
    site.file(HELPER, "#!/bin/sh\n/usr/bin/env > /var/lib/site/env\n", 0o755);
    assert_eq!(hostile().run().code(), 202);
    let environment = site.read("/var/lib/site/env");
    let mut names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    let expected = [
        "LCMAPS_DB_FILE",
        "LCMAPS_DEBUG_LEVEL",
        "LCMAPS_LOG_FILE",
        "LCMAPS_X509_CERT_DIR",
        "LCMAPS_X509_VOMS_DIR",
        "LC_ALL",
        "PATH",
        "PWD",
        "X509_CERT_DIR",
        "X509_VOMS_DIR",
    ];
    assert_eq!(names, expected, "{environment}");
    assert!(!environment.contains("/tmp"), "{environment}");
}

/// LCMAPS as the helper asks it, by root, for this credential: the account, or nothing where it
/// refuses.
fn asked(site: &Site, pem: &str) -> Option<u32> {
    let call = site
        .program([HELPER, &format!("library={LIBRARY}"), &format!("db={DATABASE}")])
        .by("root")
        .stdin(pem);
    let call = call.env("LCMAPS_DB_FILE", DATABASE).env("LCMAPS_LOG_FILE", "/proc/self/fd/63");
    let told = call.env("X509_CERT_DIR", CA_DIR).run().exited(0).output();
    told.lines().find_map(|line| line.strip_prefix("uid=")).map(|uid| uid.parse().unwrap())
}

#[test]
fn thirty_two_at_once_half_of_them_lcmaps_give_each_subject_one_account() {
    const SUBJECTS: usize = 16;
    let (site, pki) = site();
    site.file(DATABASE, database("glexec:\nvp -> pa"), 0o644);
    configure(&site, "", "\"gridmap\"");
    for number in 1..=SUBJECTS {
        site.file(&format!("{GRIDMAPDIR}/work{number:03}"), "", 0o644);
    }
    let proxies: Vec<String> = (0..SUBJECTS).map(|n| pki.proxy(&format!("pool {n}"))).collect();
    for (number, proxy) in proxies.iter().enumerate() {
        let path = format!("/home/pilot/proxy{number}");
        site.file(&path, proxy, 0o600);
        site.own(&path, (PILOT, PILOT));
    }
    for round in 0..4 {
        let leases = || {
            let list = std::fs::read_dir(site.path(GRIDMAPDIR)).unwrap().map(Result::unwrap);
            list.filter(|entry| entry.file_name().to_string_lossy().starts_with('%'))
        };
        // Some leases stay from round to round.
        for lease in leases().enumerate().filter(|(at, _)| at % (round + 1) == 0) {
            std::fs::remove_file(lease.1.path()).unwrap();
        }
        let got = std::thread::scope(|scope| {
            let all: Vec<_> = (0..2 * SUBJECTS)
                .map(|number| {
                    let (site, proxies) = (&site, &proxies);
                    scope.spawn(move || {
                        let subject = number % SUBJECTS;
                        if number >= SUBJECTS {
                            // It refuses whoever loses a race, and does not try again.
                            let mut tries = (0..200).map(|_| asked(site, &proxies[subject]));
                            return (subject, tries.find_map(|uid| uid).expect("an account"));
                        }
                        let call = site.glexec(["/usr/bin/id", "-u"]);
                        let path = format!("/home/pilot/proxy{subject}");
                        let ran = call.env("GLEXEC_CLIENT_CERT", &path).run();
                        (subject, ran.exited(0).output().trim().parse().unwrap())
                    })
                })
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<(usize, u32)>>()
        });
        let pairs: BTreeSet<(usize, u32)> = got.iter().copied().collect();
        let accounts: BTreeSet<u32> = pairs.iter().map(|(_, uid)| *uid).collect();
        assert_eq!((pairs.len(), accounts.len()), (SUBJECTS, SUBJECTS), "round {round}: {got:?}");
        let by_inode: BTreeMap<u64, u32> = (1..=SUBJECTS)
            .map(|n| {
                (site.path(&format!("{GRIDMAPDIR}/work{n:03}")), WORK + u32::try_from(n).unwrap())
            })
            .map(|(path, uid)| (std::fs::metadata(path).unwrap().ino(), uid))
            .collect();
        let leased: BTreeSet<u32> =
            leases().map(|entry| by_inode[&entry.metadata().unwrap().ino()]).collect();
        assert_eq!(leased, accounts, "round {round}: a lease is lost");
    }
}

#[test]
fn voms_attributes_map_where_lcmaps_has_verified_them() {
    const LSC: &str = "/etc/grid-security/vomsdir/testvo/voms.example.org.lsc";
    let site = Site::new();
    site.directory("/etc/grid-security", (0, 0), 0o755);
    site.directory(CA_DIR, (0, 0), 0o755);
    Pki::install_lcmaps(&site, "ca");
    let groups = "atlas:x:51002:\natlasprd:x:51020:\natlaspilot:x:51021:\n";
    site.file("/etc/group", site.read("/etc/group") + groups, 0o644);
    site.directory("/etc/lcmaps", (0, 0), 0o755);
    site.file(
        "/etc/lcmaps/vomap",
        "\"/testvo/Role=production*\" payload2\n\"/testvo*\" payload1\n",
        0o644,
    );
    let groupmap =
        "\"/testvo/Role=production*\" atlasprd\n\"/testvo/sub*\" atlaspilot\n\"/testvo*\" atlas\n";
    site.file("/etc/lcmaps/groupmap", groupmap, 0o644);
    let policy = format!(
        "path = /usr/lib/lcmaps\nvp = \"lcmaps_verify_proxy.mod -certdir {CA_DIR}\"\n\
         lg = \"lcmaps_voms_localgroup.mod -groupmapfile /etc/lcmaps/groupmap\"\n\
         vl = \"lcmaps_voms_localaccount.mod -gridmapfile /etc/lcmaps/vomap --use-voms-gid\"\n\
         p:\nvp -> lg\nlg -> vl\n"
    );
    site.file(DATABASE, policy, 0o644);
    configure(&site, "", "\"lcmaps\"");
    let lsc = Pki::voms_server();
    site.directory("/etc/grid-security/vomsdir/testvo", (0, 0), 0o755);
    site.file(LSC, &lsc, 0o644);
    let run = |name: &str| {
        present(&site, Pki::of_lcmaps(name));
        call(&site, &["actor", "look"]).run()
    };
    let look = run("voms-prod").look();
    assert_eq!(look.variable("USER"), Some("payload2"));
    assert_eq!((look.gids, look.groups), (vec![51_020; 4], vec![51_002, 51_021]));
    let look = run("voms-plain").look();
    assert_eq!((look.variable("USER"), look.gids.clone()), (Some("payload1"), vec![51_002; 4]));
    // Without attributes, and with some that are not valid any more.
    run("alice").stopped(Reason::NoMapping);
    run("voms-acexpired").stopped(Reason::NoMapping);
    // Of a server that the site does not know.
    std::fs::remove_file(site.path(LSC)).unwrap();
    run("voms-prod").stopped(Reason::NoMapping);
    configure(&site, "lcmaps_voms_verification = false", "\"lcmaps\"");
    let ran = run("voms-prod");
    assert_eq!(ran.look().variable("USER"), Some("payload2"));
    is_logged(&ran, "VOMS attributes that nobody has verified may map");
}
