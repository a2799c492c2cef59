//! What pilots call beside glexec: an environment in one variable, and a directory of the target's.

use harness::accounts::{PAYLOAD1, PILOT};
use harness::{GLEXEC, Ran, Site};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

/// That it ended so, and said why in one line.
fn failed(ran: &Ran, code: i32, by: &str) {
    ran.exited(code);
    let error = ran.error();
    assert!(error.starts_with(&format!("{by}: ")) && error.lines().count() == 1, "{error}");
}

const MAKE: &str = "/usr/sbin/mkgltempdir";

#[test]
fn an_environment_passes_glexec_in_one_variable() {
    let site = Site::new();
    let wrap = "export GLEXEC_ENV=$(glexec-wrapenv --exclude=SECRET 2>/dev/null)";
    let read = "glexec /usr/sbin/glexec-unwrapenv --exclude=OTHER -- \
                /bin/sh -c 'echo \"$NOTE|$SECRET|$OTHER|$ME|$HOME|$USER\"'";
    let call = site.shell(&format!("PATH=/usr/sbin:$PATH; {wrap}; {read}"));
    let call = call.env("NOTE", "two\nlines").env("SECRET", "s").env("OTHER", "o").env("ME", "m");
    let ran = call.env("HOME", "/home/pilot").env("USER", "pilot").run();
    ran.exited(0);
    assert_eq!(ran.output(), "two\nlines|||m|/home/payload1|payload1\n");
}

#[test]
fn what_cannot_be_unwrapped_starts_nothing() {
    let site = Site::new();
    let unwrap = "/usr/sbin/glexec-unwrapenv";
    failed(&site.program([unwrap, "--", "/bin/echo", "started"]).run(), 255, "glexec-unwrapenv");
    let forged = site.program([unwrap, "--", "/bin/echo", "started"]).env("GLEXEC_ENV", "AAAA");
    assert_eq!(forged.run().exited(255).output(), "");
    let wrap = "GLEXEC_ENV=$(/usr/sbin/glexec-wrapenv 2>/dev/null) exec /usr/sbin/glexec-unwrapenv";
    failed(&site.shell(&format!("{wrap} /nowhere/command")).run(), 127, "glexec-unwrapenv");
    failed(&site.shell(&format!("{wrap} /etc/passwd")).run(), 126, "glexec-unwrapenv");
}

/// A site with a directory of the pilot's that nobody else may enter.
fn site() -> Site {
    let site = Site::new();
    site.directory("/work", (0, 0), 0o755);
    site.directory("/work/pilot", (PILOT, PILOT), 0o700);
    site
}

/// What is in the pilot's directory.
fn left(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.path("/work/pilot")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_directory_of_the_targets_is_made_and_removed() {
    let site = site();
    let ran = site.program([MAKE, "-t", "0750", "/work/pilot"]).run();
    ran.exited(0);
    let made = ran.output().trim_end().to_owned();
    let about = fs::symlink_metadata(site.path(&made)).unwrap();
    assert_eq!((about.uid(), about.permissions().mode()), (PAYLOAD1, 0o40750), "{made}");
    // Who is neither pilot nor target puts nothing beside it; the pilot does.
    let above = made.rsplit_once('/').unwrap().0;
    let parent = fs::metadata(site.path(above)).unwrap();
    assert_eq!((parent.uid(), parent.permissions().mode()), (PILOT, 0o40755), "{above}");
    site.shell(&format!("touch {above}/x")).by("busy").run().exited(1);
    site.shell(&format!("echo in >{above}/given")).run().exited(0);
    let work = format!("cd {made} && cp ../given . && mkdir -p a/b && touch a/b/c && cat given");
    assert_eq!(site.glexec(["/bin/sh", "-c", &work]).run().exited(0).output(), "in\n");

    failed(&site.program([MAKE, "-r", &*made]).run(), 1, "mkgltempdir");
    assert!(site.path(&made).join("a/b/c").exists());
    site.program([MAKE, "-r", &*made, "-f"]).run().exited(0);
    assert!(left(&site).is_empty(), "{:?}", left(&site));

    let made = site.program([MAKE, "/work/pilot"]).run().exited(0).output().trim_end().to_owned();
    assert_eq!(fs::metadata(site.path(&made)).unwrap().permissions().mode(), 0o40700);
    site.program([MAKE, "-r", &*made]).run().exited(0);
    assert!(left(&site).is_empty(), "{:?}", left(&site));
}

#[test]
fn where_glexec_refuses_nothing_is_left_and_its_code_comes_back() {
    let site = site();
    site.settings("user_white_list = [\"root\"]");
    let ran = site.program([MAKE, "/work/pilot"]).run();
    assert_eq!(ran.exited(203).output(), "");
    assert!(left(&site).is_empty(), "{:?}", left(&site));
    // A glexec that does not change the account makes none of the target's.
    site.file("/work/glexec", "#!/bin/sh\nexec \"$@\"\n", 0o755);
    let ran = site.program([MAKE, "/work/pilot"]).env("OSG_GLEXEC_LOCATION", "/work/glexec").run();
    assert!(ran.exited(1).error().contains("glexec has not switched"), "{}", ran.error());
    assert!(left(&site).is_empty(), "{:?}", left(&site));
    let ran = site.program([MAKE, "-r", "/home/pilot"]).run();
    assert!(ran.exited(1).error().contains("was not made by mkgltempdir"), "{}", ran.error());
}

#[test]
fn what_somebody_else_puts_beside_it_is_not_handed_to_the_pilot() {
    let site = site();
    // Between the opening of the directory and its end another account makes a link in it.
    let text = format!(
        "#!/bin/sh\n{GLEXEC} \"$@\" && {GLEXEC} /bin/ln -s /home/pilot/x \"${{5%/*}}/given\"\n"
    );
    site.file("/work/glexec", text, 0o755);
    let ran = site.program([MAKE, "/work/pilot"]).env("OSG_GLEXEC_LOCATION", "/work/glexec").run();
    assert!(ran.exited(1).error().contains("somebody else has put"), "{}", ran.error());
    assert!(left(&site).is_empty(), "{:?}", left(&site));
}
