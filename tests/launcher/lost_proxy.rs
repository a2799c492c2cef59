//! The payload's proxy where its glexec was killed: a sweep removes it, and no other file.

use crate::credential::{call, configure, present, site};
use contract::Reason;
use harness::accounts::PAYLOAD1;
use harness::{Call, Ran, Running, Site};

const STATE: &str = "/var/lib/glexec";
const PLACE: &str = "/home/payload1/p";

fn entries(site: &Site) -> Vec<String> {
    let list = std::fs::read_dir(site.path(STATE)).unwrap();
    let names = list.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("run.")).collect()
}

fn sweep(site: &Site) -> Ran {
    site.program(["/usr/sbin/glexec-admin"]).words(["sweep", "--now"]).by("root").run()
}

/// A payload that has its proxy in [`PLACE`] and waits.
fn waiting(site: &Site) -> Running<'_> {
    let words = ["/bin/sh", "-c", "cat $X509_USER_PROXY; echo; echo ready; sleep 60"];
    let running = call(site, &words).env("GLEXEC_TARGET_PROXY", PLACE).start();
    running.says("ready\n");
    running
}

fn killed(running: Running<'_>) {
    running.signal_by("root", libc::SIGKILL).unwrap();
    running.wait();
}

fn as_payload<'s>(site: &'s Site, text: &str) -> Call<'s> {
    site.shell(text).by("payload1")
}

#[test]
fn the_proxy_of_a_killed_glexec_is_removed_by_the_sweep() {
    let (site, _pki) = site();
    killed(waiting(&site));
    assert!(site.path(PLACE).exists());
    assert_eq!(entries(&site).len(), 1, "a debt, without epilogue and pool");
    sweep(&site).exited(0);
    assert!(!site.path(PLACE).exists() && entries(&site).is_empty());
    // Under the usual name, too.
    let running = call(&site, &["/bin/sh", "-c", "echo ready; sleep 60"]).start();
    running.says("ready\n");
    killed(running);
    let proxies = || {
        let list = std::fs::read_dir(site.path("/tmp")).unwrap();
        let names = list.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("x509up")).count()
    };
    assert_eq!(proxies(), 1);
    sweep(&site).exited(0);
    assert_eq!((proxies(), entries(&site).len()), (0, 0));
}

#[test]
fn another_file_at_the_place_of_a_lost_proxy_is_left_there() {
    let (site, pki) = site();
    let bobs = pki.proxy("bob");
    site.file("/home/payload1/other", &bobs, 0o600);
    site.own("/home/payload1/other", (PAYLOAD1, PAYLOAD1));
    for put in ["mv other p", "cat other > q && mv q p", "rm p && mkdir p", "rm p && ln -s other p"]
    {
        site.file("/home/payload1/other", &bobs, 0o600);
        site.own("/home/payload1/other", (PAYLOAD1, PAYLOAD1));
        killed(waiting(&site));
        as_payload(&site, put).within("/home/payload1").run().exited(0);
        let ran = sweep(&site);
        ran.exited(0);
        assert!(entries(&site).is_empty(), "{put}");
        let still = std::fs::symlink_metadata(site.path(PLACE));
        assert!(still.is_ok(), "{put}: another file was removed");
        let told = "is another file than a lost run's proxy";
        assert!(site.log().iter().any(|line| line.contains(told)), "{put}: {:?}", site.log());
        as_payload(&site, "rm -rf p").within("/home/payload1").run().exited(0);
    }
}

#[test]
fn a_lost_proxy_that_cannot_be_told_to_be_gone_stays_a_debt() {
    let (site, _pki) = site();
    killed(waiting(&site));
    let root = |text: &str| {
        site.shell(text).by("root").run().exited(0);
    };
    root("mv /home/payload1 /home/away && mkdir /home/payload1 && chown 42002 /home/payload1");
    let ran = sweep(&site);
    ran.exited(1);
    assert!(ran.output().contains("its directory is another one"), "{ran:?}");
    assert_eq!(entries(&site).len(), 1);
    root("rmdir /home/payload1 && mv /home/away /home/payload1");
    sweep(&site).exited(0);
    assert!(!site.path(PLACE).exists() && entries(&site).is_empty());
}

#[test]
fn a_run_that_keeps_its_proxy_owes_none() {
    let (site, pki) = site();
    configure(&site, "remove_target_proxy = false", "", "");
    present(&site, pki.proxy("alice"));
    killed(waiting(&site));
    assert!(entries(&site).is_empty() && site.path(PLACE).exists());
}

#[test]
fn a_proxy_that_is_renewed_stays_with_the_run_that_has_it() {
    let (site, pki) = site();
    let running = waiting(&site);
    let alices = site.read(PLACE);
    present(&site, pki.proxy_of("alice", "language:1.3.6.1.4.1.3536.1.1.1.9"));
    // By a call without a command, and by one whose command is none of the payload's.
    for words in [&[][..], &["/bin/pwd"]] {
        let renewed = call(&site, words).env("GLEXEC_TARGET_PROXY", PLACE).run();
        renewed.exited(0);
        let (now, new) = (site.read(PLACE), site.read(crate::credential::PROXY));
        assert!(now == new && now != alices, "{words:?}: {renewed:?}");
        assert_eq!(renewed.output().is_empty(), words.is_empty());
        present(&site, pki.proxy("alice"));
    }
    let told = "renewal: pilot->payload1: the proxy /home/payload1/p is written";
    assert!(site.log().iter().any(|line| line.contains(told)), "{:?}", site.log());
    running.signal_by("root", libc::SIGTERM).unwrap();
    running.wait();
    assert!(!site.path(PLACE).exists() && entries(&site).is_empty());
    // Where nothing is to be renewed there has to be a command.
    let without = |call: Call<'_>| call.run().stopped(Reason::NoCommand).code();
    assert_eq!(without(call(&site, &[])), 201);
    let named = || call(&site, &[]).env("GLEXEC_TARGET_PROXY", PLACE);
    assert_eq!(without(call(&site, &[]).env("GLEXEC_TARGET_PROXY", "/dev/null")), 201);
    configure(&site, "create_target_proxy = false", "", "");
    assert_eq!(without(named()), 201);
    // As for a run: who is not mapped gets nothing, and the target writes where it may.
    configure(&site, "", "", "");
    let ran = call(&site, &[]).env("GLEXEC_TARGET_PROXY", "/root/p").run();
    assert!(ran.stopped(Reason::Credential).error().contains("Permission denied"), "{ran:?}");
    present(&site, pki.proxy("stranger"));
    named().run().stopped(Reason::NoMapping);
}
