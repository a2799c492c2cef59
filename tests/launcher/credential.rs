//! Mapping by an X.509 proxy: whom it maps, what refuses it, and whose move that is.

use contract::Reason;
use harness::accounts::{OTHER, PILOT};
use harness::{CA_DIR, Call, GRID_MAPFILE, Pki, Site};
use std::time::{Duration, Instant};

const HELPER: &str = "/usr/libexec/glexec/glexec-credential";
pub(crate) const PROXY: &str = "/home/pilot/proxy";
pub(crate) const GRIDMAPDIR: &str = "/etc/grid-security/gridmapdir";
const BAN: &str = "/etc/grid-security/ban";

const MAP: &str = "\"/DC=org/DC=trial/CN=alice\" payload1,payload2\n\"/DC=org/DC=trial/CN=bob\" payload3\n\
    \"/DC=org/DC=trial/CN=nobody\" root\n\"/DC=org/DC=trial/CN=ghost\" ghost\n\"/DC=org/DC=trial/CN=pool*\" .work\n\
    \"/DC=org/DC=example/O=Users/CN=Alice Smith\" payload4\n";

/// `/etc/glexec.toml` with these lines in `[glexec]`, `[mapping]` and `[mapping.gridmap]`.
pub(crate) fn configure(site: &Site, glexec: &str, mapping: &str, gridmap: &str) {
    let methods = if mapping.contains("methods") { "" } else { "methods = [\"gridmap\"]" };
    let accept = if gridmap.contains("accept") { "" } else { "accept = [\"rfc3820\", \"plain\"]" };
    site.config(&format!(
        "[glexec]\nuser_white_list = [\"pilot\", \"other\", \"root\"]\nkill_grace = 1\n{glexec}\n[mapping]\n{methods}\n{mapping}\n\
         [mapping.gridmap]\ngrid_mapfile = \"{GRID_MAPFILE}\"\nca_dir = \"{CA_DIR}\"\n{accept}\n{gridmap}\n"
    ));
}

/// A site that maps by credential, with an authority, and alice's proxy in [`PROXY`].
pub(crate) fn site() -> (Site, Pki) {
    let (site, pki) = (Site::new(), Pki::new());
    pki.install(&site);
    site.file(GRID_MAPFILE, MAP, 0o644);
    configure(&site, "", "", "");
    present(&site, pki.proxy("alice"));
    (site, pki)
}

/// Puts a credential where the caller has it.
pub(crate) fn present(site: &Site, credential: impl AsRef<[u8]>) {
    let _ = std::fs::remove_file(site.path(PROXY));
    site.file(PROXY, credential, 0o600);
    site.own(PROXY, (PILOT, PILOT));
}

pub(crate) fn call<'s>(site: &'s Site, words: &[&str]) -> Call<'s> {
    site.glexec(words.iter().copied()).env("GLEXEC_CLIENT_CERT", PROXY).with_status()
}

#[test]
fn a_proxy_maps_its_user_to_the_account_of_the_grid_mapfile() {
    let (site, pki) = site();
    let ran = call(&site, &["actor", "look"]).run();
    assert_eq!(ran.look().variable("USER"), Some("payload1"));
    let begun = ran.log.iter().find(|line| line.contains("mapped_user(payload1)")).expect("a line");
    assert!(begun.contains("subject=\"/DC=org/DC=trial/CN=alice\""), "{begun}");
    // Of several accounts the caller picks one of its own, and no other.
    let picked = call(&site, &["actor", "look"]).env("GLEXEC_TARGET_USER", "payload2").run();
    assert_eq!(picked.look().variable("USER"), Some("payload2"));
    call(&site, &["true"]).env("GLEXEC_TARGET_USER", "payload3").run().stopped(Reason::NoMapping);
    for (credential, code) in [
        (pki.proxy_of("bob", "language:1.3.6.1.4.1.3536.1.1.1.9"), 7),
        (pki.plain("bob"), 7),
        (pki.proxy("stranger"), 203),
        (pki.proxy("nobody"), 203),
        (pki.proxy("ghost"), 203),
    ] {
        present(&site, credential);
        call(&site, &["actor", "exit", "7"]).run().exited(code);
    }
    // A path is found from where the caller is, and a link is the caller's own affair.
    present(&site, pki.proxy("alice"));
    site.shell("ln -s proxy link").within("/home/pilot").run().exited(0);
    for path in ["proxy", "../pilot/link", "/home/../home/pilot/link"] {
        let call = site.glexec(["actor", "exit", "7"]).within("/home/pilot");
        call.env("GLEXEC_CLIENT_CERT", path).run().exited(7);
    }
    // Root's own is read, too.
    site.file("/root/proxy", pki.proxy("alice"), 0o600);
    let root = site.glexec(["actor", "exit", "7"]).by("root");
    root.env("GLEXEC_CLIENT_CERT", "/root/proxy").run().exited(7);
}

#[test]
fn no_credential_is_the_callers_move_unless_a_later_method_maps() {
    let (site, _pki) = site();
    let without = |value: Option<&str>| {
        let call = site.glexec(["actor", "exit", "7"]).with_status();
        match value {
            Some(value) => call.env("GLEXEC_CLIENT_CERT", value),
            None => call,
        }
        .env("X509_USER_PROXY", PROXY)
        .run()
    };
    without(None).stopped(Reason::Credential);
    without(Some("")).stopped(Reason::Credential);
    let row = "methods = [\"gridmap\", \"static\"]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload5\"";
    configure(&site, "", row, "");
    without(None).exited(7);
    // One that is there and wrong ends the search.
    without(Some("/nonexistent")).stopped(Reason::Credential);
    // A stranger learns nothing, and nothing is read of its.
    configure(&site, "user_white_list = [\"other\"]", "", "");
    let config = site.read(harness::CONFIG).replacen(
        "user_white_list = [\"pilot\", \"other\", \"root\"]\n",
        "",
        1,
    );
    site.config(&config);
    let ran = without(Some("/nonexistent"));
    assert_eq!(ran.stopped(Reason::NotListed).error(), "[gLExec]: refused\n");
}

#[test]
fn a_credential_that_is_not_good_is_the_callers_move() {
    let (site, pki) = site();
    Pki::install_lcmaps(&site, "ca");
    configure(&site, "", "", "accept = [\"rfc3820\"]");
    let refused = |what: &str, part: &str| {
        let ran = call(&site, &["true"]).run();
        let said = ran.stopped(Reason::Credential).error();
        assert!(said.contains(part), "{what}: {part:?} is not in {said}");
        assert_eq!(ran.code(), 201, "{what}");
    };
    let of_lcmaps = |name: &str| Pki::of_lcmaps(name);
    present(&site, of_lcmaps("alice"));
    call(&site, &["actor", "exit", "7"]).run().exited(7);
    for (name, part) in [
        ("rfc-expired", "not valid any more"),
        ("rfc-notyet", "not valid yet"),
        ("rfc-unknownca", "no authority that this site knows"),
        ("rfc-nokey", "no private key"),
        ("rfc-wrongkey", "not its first certificate's"),
        ("rfc-revoked", "was revoked"),
        ("rfc-policybreak", "may not sign"),
        ("rfc-independent", "cannot be accepted"),
        ("gt2-limited", "before RFC 3820"),
        ("eec-only", "make a proxy"),
        ("bad-garbage", "no certificate"),
        ("bad-der", "no certificate"),
        ("bad-empty", "no certificate"),
    ] {
        present(&site, of_lcmaps(name));
        refused(name, part);
    }
    // The flaw of LCMAPS: another's certificate behind one's own chain.
    present(&site, [pki.proxy("bob").into_bytes(), of_lcmaps("alice")].concat());
    refused("another's certificate", "not of its chain");
    // Who is listed may leave the key away, and nobody else.
    present(&site, of_lcmaps("rfc-nokey"));
    configure(&site, "omission_private_key_white_list = [\"other\"]", "", "");
    refused("not listed", "no private key");
    configure(&site, "omission_private_key_white_list = [\"pilot\"]", "", "");
    call(&site, &["actor", "exit", "7"]).run().exited(7);
}

#[test]
fn a_file_that_is_not_the_callers_alone_is_refused_without_waiting_for_it() {
    let (site, pki) = site();
    let refused = |path: &str, part: &str| {
        let start = Instant::now();
        let ran = site.glexec(["true"]).env("GLEXEC_CLIENT_CERT", path).with_status().run();
        let said = ran.stopped(Reason::Credential).error();
        assert!(said.contains(part), "{path}: {part:?} is not in {said}");
        assert!(start.elapsed() < Duration::from_secs(8), "{path}: {:?}", start.elapsed());
    };
    for mode in [0o666, 0o640, 0o604, 0o610, 0o4600, 0o1600] {
        site.mode(PROXY, mode);
        refused(PROXY, "open to others");
    }
    for mode in [0o700, 0o400, 0o600] {
        site.mode(PROXY, mode);
        call(&site, &["actor", "exit", "7"]).run().exited(7);
    }
    let alices = pki.proxy("alice");
    site.file("/home/pilot/others", &alices, 0o600);
    site.own("/home/pilot/others", (OTHER, OTHER));
    refused("/home/pilot/others", "Permission denied");
    site.mode("/home/pilot/others", 0o644);
    refused("/home/pilot/others", "belongs to uid");
    site.file("/home/pilot/roots", &alices, 0o644);
    refused("/home/pilot/roots", "belongs to uid 0");
    let plant = "mkfifo fifo && mkdir dir && ln -s loop loop && ln -s /dev/zero zero && \
        ln -s /proc/self/fd/3 fd && truncate -s 100M huge && chmod 600 huge fifo && : > shut && chmod 0 shut";
    site.shell(plant).within("/home/pilot").run().exited(0);
    for (name, part) in [
        ("fifo", "no regular file"),
        ("dir", "no regular file"),
        ("zero", "no regular file"),
        ("huge", "larger than"),
        ("loop", "cannot be opened"),
        ("shut", "cannot be opened"),
        ("gone", "cannot be opened"),
        ("proxy/below", "cannot be opened"),
        ("fd", ""),
    ] {
        refused(&format!("/home/pilot/{name}"), part);
    }
}

/// What is judged is what was opened: of two files that take turns under one name, it is the whole
/// of one or of the other.
#[test]
fn a_name_that_changes_while_it_is_read_gives_nobody_anothers_account() {
    let (site, pki) = site();
    site.file("/home/pilot/bobs", pki.proxy("bob"), 0o644);
    site.own("/home/pilot/bobs", (OTHER, OTHER));
    let swap = "cd /home/pilot && cp -p proxy own && for i in 1 2 3 4 5 6 7 8 9; do \
        (while :; do ln -sfn bobs proxy; ln -sfn own proxy; done) & swap=$!; \
        for j in 1 2 3 4 5 6; do GLEXEC_CLIENT_CERT=/home/pilot/proxy $GLEXEC /usr/bin/id -un; done; kill $swap; done; true";
    let ran = site.shell(swap).within_time(Duration::from_secs(60)).run();
    let output = ran.output();
    assert!(output.lines().all(|line| line == "payload1"), "{output}");
    assert!(!output.is_empty(), "{ran:#?}");
}

#[test]
fn who_is_banned_is_refused_and_told_nothing() {
    let (site, pki) = site();
    let banned = |site: &Site| {
        let ran = call(site, &["true"]).run();
        assert_eq!(ran.stopped(Reason::Banned).error(), "[gLExec]: refused\n");
        ran
    };
    configure(&site, "", "banned = [\"/DC=org/DC=trial/CN=alice\"]", "");
    banned(&site);
    configure(&site, "", "", &format!("ban_file = \"{BAN}\""));
    for (text, line) in [("\"/DC=org/DC=trial/CN=alice\"\n", 1), ("# x\n\n/DC=org/*\n", 3)] {
        site.file(BAN, text, 0o644);
        let ran = banned(&site);
        assert!(
            ran.log.iter().any(|entry| entry.contains(&format!("{BAN}:{line}: "))),
            "{:?}",
            ran.log
        );
    }
    site.file(BAN, "\"/DC=org/DC=trial/CN=alice x\"\n", 0o644);
    call(&site, &["actor", "exit", "7"]).run().exited(7);
    // A ban counts before every method.
    let row = "methods = [\"static\", \"gridmap\"]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload5\"";
    site.file(BAN, "/DC=org/*\n", 0o644);
    configure(&site, "", row, &format!("ban_file = \"{BAN}\""));
    banned(&site);
    drop(pki);
}

#[test]
fn a_file_of_the_sites_that_cannot_be_used_is_named_in_the_log_and_maps_nobody() {
    let (site, pki) = site();
    site.file(BAN, "", 0o644);
    configure(&site, "", "", &format!("ban_file = \"{BAN}\""));
    let run = || call(&site, &["actor", "exit", "7"]).run();
    run().exited(7);
    let broken = |plant: &str, part: &str, mend: &str| {
        site.shell(plant).by("root").run().exited(0);
        let ran = run();
        let said = ran.stopped(Reason::Mapping).error();
        assert!(!said.contains("/etc"), "{said}");
        assert!(ran.log.iter().any(|line| line.contains(part)), "{plant}: {part}: {:#?}", ran.log);
        let check = site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run();
        assert!(check.exited(1).output().contains(part), "{plant}: {part}: {check:#?}");
        site.shell(mend).by("root").run().exited(0);
        run().exited(7);
    };
    for (file, mend) in [(GRID_MAPFILE, MAP), (BAN, "")] {
        site.file("/tmp/mend", mend, 0o644);
        let mend = format!("cat /tmp/mend > {file} && chown root {file} && chmod 644 {file}");
        broken(
            &format!("rm {file}"),
            &format!("{file} does not exist"),
            &format!(": > {file} && {mend}"),
        );
        broken(&format!("chmod 666 {file}"), &format!("{file} is writable by everybody"), &mend);
        broken(&format!("chown pilot {file}"), &format!("{file} is owned by uid"), &mend);
        broken(&format!("printf 'x\\0' >> {file}"), "has a NUL in it", &mend);
    }
    broken(
        &format!("printf '# x\\n\"/O=x\\n' > {BAN}"),
        &format!("{BAN}:2: the line has a quote that is not closed"),
        &format!(": > {BAN}"),
    );
    let (policy, all) = (pki.policy(), format!("{CA_DIR}/*"));
    broken(
        &format!("cp {policy} /tmp/p && echo nonsense >> {policy}"),
        ".signing_policy:4: ",
        &format!("cp /tmp/p {policy}"),
    );
    broken(&format!("chmod 666 {all}"), "can be changed by others", &format!("chmod 644 {all}"));
    broken(
        &format!("mv {CA_DIR} /tmp/away"),
        &format!("{CA_DIR} does not exist"),
        &format!("mv /tmp/away {CA_DIR}"),
    );
    broken(
        &format!("chmod 777 {CA_DIR}"),
        "is writable by everybody",
        &format!("chmod 755 {CA_DIR}"),
    );
    broken(
        &format!("mkdir -p /tmp/kept && mv {all} /tmp/kept"),
        "has no authority in it",
        &format!("mv /tmp/kept/* {CA_DIR}"),
    );
    broken(
        &format!("mv {HELPER} /tmp/h"),
        &format!("{HELPER} does not exist"),
        &format!("mv /tmp/h {HELPER}"),
    );
    // A link to another directory of root's is as good as that.
    site.shell(&format!("mv {CA_DIR} /etc/elsewhere && ln -s /etc/elsewhere {CA_DIR}"))
        .by("root")
        .run()
        .exited(0);
    run().exited(7);
}

#[test]
fn a_revocation_list_out_of_date_is_the_sites_fault() {
    let (site, _pki) = site();
    Pki::install_lcmaps(&site, "ca-crlexp");
    present(&site, Pki::of_lcmaps("alice"));
    let ran = call(&site, &["true"]).run();
    ran.stopped(Reason::Mapping);
    assert!(
        ran.log.iter().any(|line| line.contains(".r0 cannot be used: CRL has expired")),
        "{:?}",
        ran.log
    );
    let check = site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run();
    assert!(check.exited(1).output().contains("out of date"), "{check:#?}");
}

#[test]
fn a_broken_line_of_the_grid_mapfile_is_told_and_refuses_nobody_else() {
    let (site, _pki) = site();
    site.file(GRID_MAPFILE, format!("\"/O=x payload6\n{MAP}"), 0o644);
    let ran = call(&site, &["actor", "look"]).run();
    assert_eq!(ran.look().variable("USER"), Some("payload1"));
    let told = format!("{GRID_MAPFILE}:1: the line has a quote that is not closed");
    assert!(ran.log.iter().any(|line| line.contains(&told)), "{:?}", ran.log);
}

#[test]
fn a_helper_that_fails_hangs_or_lies_maps_nobody() {
    let (site, _pki) = site();
    for (what, script) in [
        ("exits 1", "exit 1"),
        ("says nothing", "exit 0"),
        ("says rubbish", "head -c 100000 /dev/zero"),
        ("never ends", "sleep 60"),
        ("is stopped", "kill -STOP $$"),
        ("is killed", "kill -KILL $$"),
        ("talks without end", "exec yes account=payload1"),
        ("names no account", "printf 'subject=/x\\nuntil=1\\naccount=../x\\n'"),
        ("names no subject", "printf 'until=1\\naccount=payload1\\n'"),
        ("answers and fails", "printf 'subject=/x\\nuntil=1\\naccount=payload1\\n'; exit 1"),
    ] {
        site.file(HELPER, format!("#!/bin/sh\n{script}\n"), 0o755);
        let start = Instant::now();
        let ran = call(&site, &["true"]).run();
        assert_eq!(ran.code(), 202, "{what}: {ran:#?}");
        ran.stopped(Reason::Mapping).said_one_sentence();
        assert!(start.elapsed() < Duration::from_secs(25), "{what}: {:?}", start.elapsed());
    }
    // Whatever it answers, root is nobody's target.
    site.file(HELPER, "#!/bin/sh\nprintf 'subject=/x\\nuntil=1\\naccount=root\\n'\n", 0o755);
    call(&site, &["true"]).run().stopped(Reason::TargetNotAdmitted);
}

#[test]
fn the_helper_has_the_callers_rights_a_clean_environment_and_the_files_alone() {
    let (site, _pki) = site();
    site.directory("/var/lib/site", (0, 0), 0o1777);
    site.mode(GRID_MAPFILE, 0o600);
    site.file(HELPER, "#!/usr/local/bin/actor look-into\n", 0o755);
    let ran =
        call(&site, &["true"]).env("OPENSSL_CONF", "/tmp/x").env("SSL_CERT_DIR", "/tmp").umask(0);
    assert_eq!(ran.passing(7, std::fs::File::open("/etc/passwd").unwrap()).run().code(), 202);
    let saw = site.epilogues().remove(0);
    assert_eq!(saw.uids, [65_534, PILOT, PILOT, PILOT]);
    assert_eq!((saw.gids, saw.capabilities[1..3].to_vec()), (vec![PILOT; 4], vec![0, 0]));
    let open: Vec<&String> = saw.descriptors.values().collect();
    assert!(open.iter().any(|path| path.ends_with("/home/pilot/proxy")), "{open:?}");
    assert!(open.iter().any(|path| path.ends_with("/grid-mapfile")), "{open:?}");
    assert_eq!(open.len(), 4, "credential, answer, nothing, grid-mapfile: {open:?}");
    site.file(HELPER, "#!/bin/sh\n/usr/bin/env > /var/lib/site/env\n", 0o755);
    let ran = call(&site, &["true"]).env("OPENSSL_CONF", "/tmp/x").env("SSL_CERT_DIR", "/tmp");
    assert_eq!(ran.run().code(), 202);
    let environment = site.read("/var/lib/site/env");
    let mut names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["LC_ALL", "PATH", "PWD"], "{environment}");
}

pub(crate) fn plant_pool(site: &Site, accounts: &[&str]) {
    site.directory(GRIDMAPDIR, (0, 0), 0o755);
    accounts.iter().for_each(|name| site.file(&format!("{GRIDMAPDIR}/{name}"), "", 0o644));
    configure(site, "", "", &format!("gridmapdir = \"{GRIDMAPDIR}\""));
}

#[test]
fn a_subject_of_a_pool_has_one_account_for_all_its_runs() {
    let (site, pki) = site();
    plant_pool(&site, &["work001", "work002", "work999", "workshop", "work"]);
    let who = |name: &str| {
        present(&site, pki.proxy(name));
        call(&site, &["actor", "look"]).run().look().variable("USER").unwrap().to_owned()
    };
    let leases = || {
        let entries = std::fs::read_dir(site.path(GRIDMAPDIR)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut leases: Vec<String> = names.filter(|name| name.starts_with('%')).collect();
        leases.sort_unstable();
        leases
    };
    // A rehearsal looks and takes nothing.
    present(&site, pki.proxy("pool a"));
    call(&site, &["true"]).option("--check").run().exited(0);
    assert_eq!(leases(), [""; 0]);
    let first = who("pool a");
    assert!(["work001", "work002"].contains(&first.as_str()), "{first}");
    assert_eq!(leases(), ["%2fdc%3dorg%2fdc%3dtrial%2fcn%3dpool%20a"]);
    let second = who("pool b");
    assert_ne!(first, second);
    assert_eq!((who("pool a"), who("pool b")), (first, second));
    assert_eq!(leases().len(), 2);
    // Another subject, whose lease would have the same name.
    present(&site, pki.proxy("pool A"));
    call(&site, &["true"]).run().stopped(Reason::NoMapping);
    // work999 is no account: it is given to nobody.
    present(&site, pki.proxy("pool c"));
    call(&site, &["true"]).run().stopped(Reason::NoFreeAccount);
    assert_eq!(leases().len(), 2);
    // The site takes a lease back by removing it.
    std::fs::remove_file(site.path(&format!("{GRIDMAPDIR}/{}", leases()[1]))).unwrap();
    assert_eq!(who("pool c"), second_of(&site, &leases));
    // Accounts may be looked up by the other helper.
    let first = who("pool a");
    let gridmap = format!("gridmapdir = \"{GRIDMAPDIR}\"");
    configure(&site, "account_source = \"nss\"", "", &gridmap);
    assert_eq!(who("pool a"), first);
    std::fs::remove_file(site.path(&format!("{GRIDMAPDIR}/{}", leases()[0]))).unwrap();
    assert_eq!(who("pool b"), first, "work999 is no account for it either");
}

/// The account of the last lease.
fn second_of(site: &Site, leases: &impl Fn() -> Vec<String>) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let inode =
        |name: &str| std::fs::metadata(site.path(&format!("{GRIDMAPDIR}/{name}"))).unwrap().ino();
    let lease = inode(leases().last().unwrap());
    ["work001", "work002"].into_iter().find(|name| inode(name) == lease).unwrap().to_owned()
}

#[test]
fn a_pool_without_a_directory_that_is_roots_alone_maps_nobody() {
    let (site, pki) = site();
    present(&site, pki.proxy("pool a"));
    let refused = |part: &str| {
        let ran = call(&site, &["true"]).run();
        ran.stopped(Reason::Mapping);
        assert!(ran.log.iter().any(|line| line.contains(part)), "{part}: {:?}", ran.log);
    };
    refused("there is no `gridmapdir`");
    plant_pool(&site, &["work001"]);
    call(&site, &["actor", "exit", "7"]).run().exited(7);
    for (mode, owner, part) in [
        (0o777, 0, "writable by everybody"),
        (0o1777, 0, "writable by everybody"),
        (0o755, PILOT, "owned by uid"),
    ] {
        site.own(GRIDMAPDIR, (owner, 0));
        site.mode(GRIDMAPDIR, mode);
        refused(part);
    }
    site.own(GRIDMAPDIR, (0, 0));
    site.mode(GRIDMAPDIR, 0o700);
    call(&site, &["actor", "exit", "7"]).run().exited(7);
    let lease = "%2fdc%3dorg%2fdc%3dtrial%2fcn%3dpool%20a";
    site.shell(&format!("ln {GRIDMAPDIR}/work001 {GRIDMAPDIR}/%2fother"))
        .by("root")
        .run()
        .exited(0);
    refused("more than two links");
    site.shell(&format!("cd {GRIDMAPDIR} && rm {lease} %2fother && ln -s work001 {lease}"))
        .by("root")
        .run()
        .exited(0);
    refused("no regular file");
    site.shell(&format!("rm -r {GRIDMAPDIR} && ln -s /etc {GRIDMAPDIR}"))
        .by("root")
        .run()
        .exited(0);
    refused(GRIDMAPDIR);
}

#[test]
fn check_tells_what_the_files_say_and_what_their_writer_did_not_mean() {
    let (site, _pki) = site();
    plant_pool(&site, &["work001"]);
    let check = || {
        let ran = site.program(["/usr/sbin/glexec-admin", "check"]).by("root").run();
        (ran.code(), ran.output())
    };
    let (code, shown) = check();
    for part in [
        "grid-mapfile: 6 lines",
        "1 authorities",
        "0 leases",
        ".work: 1 of 1 accounts are free",
        "do not exist: ghost",
        "no revocation list",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(code, 0, "{shown}");
    let map = "/O=x/CN=Bob Jones payload1\n\"/O=x/CN=[b]\" payload1\n\"/O=x/CN=c\" payload1\r\n\"/O=x/CN=D\" .work\n\"/O=x/CN=d\" .work\n\"/O=y\"\n\"/O=z\" .none\nx\n\"/O=q\n";
    site.file(GRID_MAPFILE, map, 0o644);
    let (_, shown) = check();
    for part in [
        ":1: the name ends at its first blank",
        ":2: a bracket",
        ":3: a carriage return",
        ":5: its name differs from that of line 4",
        ":6: there is no account",
        ":8: the name does not begin with `/`",
        ":9: the line has a quote that is not closed and is passed over",
        "no account of the pool .none",
    ] {
        assert!(
            shown.contains(&format!("{GRID_MAPFILE}{part}")) || shown.contains(part),
            "{part}: {shown}"
        );
    }
    configure(&site, "", "methods = [\"static\"]", "");
    assert!(check().1.contains("is never asked"), "{}", check().1);
}

#[test]
fn a_caller_that_may_not_trace_the_helper_may_not_dictate_its_answer() {
    let (site, _pki) = site();
    // It waits to be looked at: then it goes on as the helper.
    site.shell(&format!("mv {HELPER} {HELPER}.real")).by("root").run().exited(0);
    site.file(HELPER, format!("#!/bin/sh\necho $$ > /tmp/helper.pid\nread -t 1 x < /tmp/go\nexec {HELPER}.real \"$@\"\n"), 0o755);
    site.shell("mkfifo /tmp/go; chmod 666 /tmp/go; : > /tmp/helper.pid; chmod 666 /tmp/helper.pid")
        .by("root")
        .run()
        .exited(0);
    let trace = "GLEXEC_CLIENT_CERT=/home/pilot/proxy $GLEXEC /usr/bin/id -un > out & \
        while [ ! -s /tmp/helper.pid ]; do sleep 0.02; done; pid=$(cat /tmp/helper.pid); \
        cat /proc/$pid/mem >/dev/null 2>&1; cat /proc/$pid/environ 2>&1; ls /proc/$pid/fd 2>&1; \
        strace -qq -o /dev/null -p $pid 2>&1; echo x > /tmp/go; wait; cat out";
    let ran = site.shell(trace).within("/home/pilot").run();
    let output = ran.output();
    assert!(output.matches("ermi").count() >= 3, "{output}");
    assert!(!output.contains("PATH="), "{output}");
}

#[test]
fn an_administrator_is_told_whom_a_subject_or_a_credential_is_mapped_to() {
    let (site, pki) = site();
    plant_pool(&site, &["work007"]);
    let map = |words: &[&str], who: &str| {
        site.program(["/usr/sbin/glexec-admin", "map"]).words(words.iter().copied()).by(who).run()
    };
    let dn = |name: &str| format!("/DC=org/DC=trial/CN={name}");
    let shown = map(&["--dn", &dn("alice")], "root").exited(0).output();
    assert!(
        shown.contains("account      payload1 (uid 42002") && shown.contains("payload2"),
        "{shown}"
    );
    let shown = map(&["--credential", PROXY], "root").exited(0).output();
    assert!(
        shown.contains(&format!("subject      {}\n", dn("alice"))) && shown.contains("until "),
        "{shown}"
    );
    let shown = map(&["--dn", &dn("pool a")], "root").exited(0).output();
    assert!(shown.contains("account      work007"), "{shown}");
    let leases = std::fs::read_dir(site.path(GRIDMAPDIR)).unwrap().count();
    assert_eq!(leases, 1, "nothing is leased");
    for (name, part) in [
        ("stranger", "203 no-mapping"),
        ("nobody", "203 target-not-admitted"),
        ("ghost", "203 target-unknown"),
    ] {
        let shown = map(&["--dn", &dn(name)], "root").exited(1).output();
        assert!(shown.contains(part), "{name}: {shown}");
    }
    let told = |code: i32, name: &str| -> serde_json::Value {
        let ran = map(&["--json", "--dn", &dn(name)], "root");
        serde_json::from_str(&ran.exited(code).output()).unwrap()
    };
    let alice = told(0, "alice");
    let first = serde_json::json!({"name": "payload1", "uid": 42_002, "gid": 42_002});
    assert_eq!((&alice["subject"], &alice["accounts"][0]), (&dn("alice").into(), &first));
    let stranger = told(1, "stranger");
    assert_eq!((&stranger["code"], &stranger["reason"]), (&203.into(), &"no-mapping".into()));
    present(&site, Pki::of_lcmaps("rfc-expired"));
    let shown = map(&["--credential", PROXY], "root").exited(1).output();
    assert!(shown.contains("201 credential"), "{shown}");
    assert!(map(&["--dn", &dn("alice")], "pilot").code() == 1);
    assert_eq!(map(&[], "root").code(), 2);
    drop(pki);
}

#[test]
fn a_payload_has_a_copy_of_the_proxy_for_as_long_as_it_runs() {
    let (site, pki) = site();
    let alice = site.read(PROXY);
    let shows = [
        "/bin/sh",
        "-c",
        "echo $X509_USER_PROXY; stat -c '%a %U' $X509_USER_PROXY; cat $X509_USER_PROXY",
    ];
    let shown = |call: Call<'_>| {
        let output = call.run().exited(0).output();
        let mut lines = output.splitn(3, '\n').map(str::to_owned);
        [lines.next().unwrap(), lines.next().unwrap(), lines.next().unwrap()]
    };
    let gone = |path: &str| !site.path(path).exists();
    let [usual, owner, text] = shown(call(&site, &shows));
    assert!(usual.starts_with("/tmp/x509up_u42002.glexec."), "{usual}");
    assert_eq!((owner.as_str(), text == alice, gone(&usual)), ("600 payload1", true, true));
    let [again, ..] = shown(call(&site, &shows));
    assert_ne!(usual, again, "a name that nobody guesses");
    // Another proxy, under a name of the caller's choice.
    let bob = pki.proxy("bob");
    site.file("/home/pilot/bob", &bob, 0o600);
    site.own("/home/pilot/bob", (PILOT, PILOT));
    let other = |target: &str| {
        let call = call(&site, &shows).env("GLEXEC_SOURCE_PROXY", "/home/pilot/bob");
        call.env("GLEXEC_TARGET_PROXY", target)
    };
    let [path, owner, text] = shown(other("/home/payload1/p"));
    assert_eq!(
        (path.as_str(), owner.as_str(), text == bob),
        ("/home/payload1/p", "600 payload1", true)
    );
    assert!(gone("/home/payload1/p") && gone("/home/payload1/p.part"));
    let none = call(&site, &["actor", "look"]).env("GLEXEC_TARGET_PROXY", "/dev/null").run();
    assert_eq!(none.look().variable("X509_USER_PROXY"), None);
    configure(&site, "create_target_proxy = false", "", "");
    assert_eq!(call(&site, &["actor", "look"]).run().look().variable("X509_USER_PROXY"), None);
    for keeps in ["remove_target_proxy = false", "linger = false"] {
        configure(&site, keeps, "", "");
        let [path, ..] = shown(other("/home/payload1/kept"));
        assert!(!gone(&path), "{keeps}");
        // One that is there already is replaced.
        let [.., text] = shown(other("/home/payload1/kept"));
        assert!(text == bob, "{keeps}");
        std::fs::remove_file(site.path(&path)).unwrap();
    }
    // A rehearsal writes none.
    configure(&site, "", "", "");
    let rehearsal =
        call(&site, &["true"]).option("--check").env("GLEXEC_TARGET_PROXY", "/home/payload1/p");
    rehearsal.run().exited(0);
    assert!(gone("/home/payload1/p"));
}

#[test]
fn a_proxy_is_written_where_the_target_may_and_over_nobody_elses_file() {
    let (site, pki) = site();
    site.file("/tmp/pilots", "mine", 0o666);
    site.own("/tmp/pilots", (PILOT, PILOT));
    site.directory("/tmp/open", (0, 0), 0o777);
    site.file("/tmp/open/others", "theirs", 0o666);
    site.own("/tmp/open/others", (OTHER, OTHER));
    site.shell("ln -s /etc/passwd /home/payload1/link && mkdir /home/payload1/dir")
        .by("payload1")
        .run()
        .exited(0);
    let passwd = site.read("/etc/passwd");
    for (target, part) in [
        ("/root/p", "Permission denied"),
        ("/nonexistent/p", "No such file"),
        ("/tmp/pilots", "not permitted"),
        ("/tmp/open/others", "not permitted"),
        ("/etc/passwd", "not permitted"),
        ("/home/payload1/link", "exists"),
        ("/home/payload1/dir", "exists"),
        ("relative", "no absolute path"),
        ("/tmp/", "no absolute path"),
    ] {
        let ran = call(&site, &["true"]).env("GLEXEC_TARGET_PROXY", target).run();
        let said = ran.stopped(Reason::Credential).error();
        assert!(said.contains(part), "{target}: {part:?} is not in {said}");
    }
    assert_eq!(
        (site.read("/tmp/pilots"), site.read("/tmp/open/others")),
        ("mine".into(), "theirs".into())
    );
    assert_eq!(site.read("/etc/passwd"), passwd);
    // What is copied has to be the caller's alone, too.
    site.file("/home/pilot/open", pki.proxy("bob"), 0o644);
    site.own("/home/pilot/open", (PILOT, PILOT));
    for (source, part) in [
        ("/home/pilot/open", "GLEXEC_SOURCE_PROXY is open to others"),
        ("/gone", "GLEXEC_SOURCE_PROXY cannot be opened"),
    ] {
        let ran = call(&site, &["true"]).env("GLEXEC_SOURCE_PROXY", source).run();
        let said = ran.stopped(Reason::Credential).error();
        assert!(said.contains(part), "{source}: {said}");
    }
    // A run that comes to nothing leaves none behind.
    let before = std::fs::read_dir(site.path("/tmp")).unwrap().count();
    configure(&site, &format!("epilogue = \"{}\"", harness::EPILOGUE), "", "");
    site.mode("/var/lib/glexec", 0o777);
    call(&site, &["true"]).run().stopped(Reason::State);
    assert_eq!(std::fs::read_dir(site.path("/tmp")).unwrap().count(), before);
}

/// Without root's rights there is no lease to be made, and no copy; all else is as always.
#[test]
fn in_log_only_mode_the_mapping_is_logged_and_nothing_is_left_behind() {
    let (site, pki) = site();
    plant_pool(&site, &["work001"]);
    let gridmap = format!("gridmapdir = \"{GRIDMAPDIR}\"");
    configure(&site, "log_only = true", "", &gridmap);
    site.mode(harness::GLEXEC, 0o555);
    // Who is not root judges a helper by opening it.
    site.mode(HELPER, 0o755);
    let look = |site: &Site, mapped: &str| {
        let ran = call(site, &["actor", "look"]).run();
        let look = ran.exited(0).look();
        assert_eq!((look.uids[1], look.variable("X509_USER_PROXY")), (PILOT, None));
        assert!(ran.log.iter().any(|line| line.contains(mapped)), "{mapped}: {:?}", ran.log);
    };
    look(&site, "mapped_user(payload1)");
    present(&site, pki.proxy("pool a"));
    look(&site, "mapped_user(work001)");
    assert_eq!(std::fs::read_dir(site.path(GRIDMAPDIR)).unwrap().count(), 1);
    present(&site, pki.proxy("stranger"));
    call(&site, &["true"]).run().stopped(Reason::NoMapping);
    present(&site, Pki::of_lcmaps("rfc-unknownca"));
    call(&site, &["true"]).run().stopped(Reason::Credential);
}
