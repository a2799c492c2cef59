//! The refusals of a credential that gLite's certification of gLExec asks for (its scripts A and B):
//! exit code 201, nothing run, and one sentence, here word by word.

use crate::credential::{PROXY, call, configure, present, site};
use harness::Pki;
use harness::accounts::{OTHER, PILOT};

/// What a call has besides `GLEXEC_CLIENT_CERT`, and what its caller reads after `[gLExec]: `.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], &'r str);

const NONE: &str = "there is no credential to be mapped by: GLEXEC_CLIENT_CERT is not set (set it to the path of one)";
const CERT: &str = "GLEXEC_CLIENT_CERT";
const TARGET: &str = "GLEXEC_TARGET_PROXY";
const SOURCE: &str = "GLEXEC_SOURCE_PROXY";

#[test]
fn a_credential_that_certification_has_refused_ends_with_201_and_its_sentence() {
    let (site, pki) = site();
    Pki::install_lcmaps(&site, "ca");
    configure(&site, "", "", "accept = [\"rfc3820\"]");
    let put = |name: &str, text: &[u8], mode, owner| {
        let path = format!("/home/pilot/{name}");
        site.file(&path, text, mode);
        site.own(&path, (owner, owner));
        // A change of owner takes the special bits away.
        site.mode(&path, mode);
    };
    let alices = pki.proxy("alice").into_bytes();
    for (name, mode) in [("everybodys", 0o666), ("groups", 0o640), ("special", 0o4600), ("shut", 0)]
    {
        put(name, &alices, mode, PILOT);
    }
    put("others", &alices, 0o644, OTHER);
    site.file("/tmp/others", "theirs", 0o666);
    site.own("/tmp/others", (OTHER, OTHER));
    put("nokey", &Pki::of_lcmaps("rfc-nokey"), 0o600, PILOT);
    put("expired", &Pki::of_lcmaps("rfc-expired"), 0o600, PILOT);
    put("plain", pki.plain("alice").as_bytes(), 0o600, PILOT);
    let rows: &[Row<'_>] = &[
        ("it is not exported", &[], NONE),
        ("it is empty", &[(CERT, "")], NONE),
        ("only the pilot's is set", &[("X509_USER_PROXY", PROXY)], NONE),
        (
            "it is not there",
            &[(CERT, "/home/pilot/gone")],
            "the credential in GLEXEC_CLIENT_CERT cannot be opened: No such file or directory (set it to the path of yours)",
        ),
        (
            "it cannot be read",
            &[(CERT, "/home/pilot/shut")],
            "the credential in GLEXEC_CLIENT_CERT cannot be opened: Permission denied (set it to the path of yours)",
        ),
        (
            "mode 0666",
            &[(CERT, "/home/pilot/everybodys")],
            "the credential in GLEXEC_CLIENT_CERT is open to others (mode 0666); chmod 0600 it",
        ),
        (
            "mode 0640",
            &[(CERT, "/home/pilot/groups")],
            "the credential in GLEXEC_CLIENT_CERT is open to others (mode 0640); chmod 0600 it",
        ),
        (
            "a special bit",
            &[(CERT, "/home/pilot/special")],
            "the credential in GLEXEC_CLIENT_CERT is open to others (mode 4600); chmod 0600 it",
        ),
        (
            "another's",
            &[(CERT, "/home/pilot/others")],
            "the credential in GLEXEC_CLIENT_CERT belongs to uid 42003, and not to the caller (uid 42001)",
        ),
        (
            "no key",
            &[(CERT, "/home/pilot/nokey")],
            "the credential in GLEXEC_CLIENT_CERT has no private key in it",
        ),
        (
            "no proxy",
            &[(CERT, "/home/pilot/plain")],
            "the credential in GLEXEC_CLIENT_CERT is a user's own certificate; make a proxy of it",
        ),
        (
            "expired",
            &[(CERT, "/home/pilot/expired")],
            "the credential in GLEXEC_CLIENT_CERT is not valid any more: its proxy has expired",
        ),
        (
            "the source is open to others",
            &[(CERT, PROXY), (SOURCE, "/home/pilot/everybodys")],
            "the credential in GLEXEC_SOURCE_PROXY is open to others (mode 0666); chmod 0600 it",
        ),
        (
            "the source is another's",
            &[(CERT, PROXY), (SOURCE, "/home/pilot/others")],
            "the credential in GLEXEC_SOURCE_PROXY belongs to uid 42003, and not to the caller (uid 42001)",
        ),
        (
            "the copy in /root",
            &[(CERT, PROXY), (TARGET, "/root/proxy")],
            "the payload's copy cannot be written to /root/proxy: Permission denied; set GLEXEC_TARGET_PROXY to where the target may write, or to /dev/null",
        ),
        (
            "the copy nowhere",
            &[(CERT, PROXY), (TARGET, "/nonexistent/proxy")],
            "the payload's copy cannot be written to /nonexistent/proxy: No such file or directory; set GLEXEC_TARGET_PROXY to where the target may write, or to /dev/null",
        ),
        (
            "the copy over the pilot's own",
            &[(CERT, PROXY), (TARGET, PROXY)],
            "the payload's copy cannot be written to /home/pilot/proxy: Permission denied; set GLEXEC_TARGET_PROXY to where the target may write, or to /dev/null",
        ),
        (
            "the copy over another's",
            &[(CERT, PROXY), (TARGET, "/tmp/others")],
            "the payload's copy cannot be written to /tmp/others: Operation not permitted; set GLEXEC_TARGET_PROXY to where the target may write, or to /dev/null",
        ),
        (
            "no absolute path",
            &[(CERT, PROXY), (TARGET, "proxy")],
            "GLEXEC_TARGET_PROXY is no absolute path of a file (write one, or /dev/null for no copy)",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, variables, sentence) in rows {
        let words = ["/bin/sh", "-c", "echo started"];
        let call = site.glexec(words).with_status();
        let ran = variables.iter().fold(call, |call, (name, value)| call.env(name, value)).run();
        let told = (ran.code(), ran.error(), ran.output());
        if told != (201, format!("[gLExec]: {sentence}\n"), String::new()) {
            wrong.push(format!("{what}: {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What it has accepted: a relative path from the right place, `..` in one, mode 0700 and below.
    for (path, mode) in [("proxy", 0o700), ("/home/other/../pilot/proxy", 0o400)] {
        site.mode(PROXY, mode);
        let ran = call(&site, &["actor", "exit", "7"]).within("/home/pilot").env(CERT, path).run();
        ran.exited(7);
    }
    present(&site, pki.proxy("alice"));
    call(&site, &["true"]).run().exited(0);
}
