//! What an administrator does besides looking: `explain`.

use harness::{CONFIG, Ran, Site};

fn admin(site: &Site, words: &[&str]) -> Ran {
    site.program(["/usr/sbin/glexec-admin"]).words(words).by("root").run()
}

#[test]
fn what_explain_shows_of_the_log_is_what_the_log_says() {
    let site = Site::new();
    let service = || site.glexec(["true"]).env("GLEXEC_TARGET_USER", "service").run();
    let mut seen = vec![
        ("usage", site.glexec(["--colour"]).run()),
        ("no-command", site.glexec(["--"]).run()),
        ("command-not-found", site.glexec(["/nonexistent"]).run()),
        ("not-listed", site.glexec(["true"]).by("other").run()),
        ("target-not-admitted", service()),
    ];
    site.config("[glexec]\nlingr = true\n");
    seen.push(("malformed", site.glexec(["true"]).run()));
    site.config("[glexec]\nuser_white_list = [\"pilot\"]\n");
    seen.push(("no-mapping", site.glexec(["true"]).run()));
    site.config("[glexec]\nuser_white_list = [\"pilot\"]\n[mapping]\nbanned = [\"pilot\"]\n");
    seen.push(("banned", site.glexec(["true"]).run()));
    site.shell(&format!("rm {CONFIG}")).by("root").run().exited(0);
    seen.push(("missing", site.glexec(["true"]).run()));
    for (word, ran) in seen {
        let line = ran.log.last().unwrap_or_else(|| panic!("{word}: {ran:#?}"));
        let line = line
            .split_once("]: ")
            .expect(line)
            .1
            .replace("caller other", "caller pilot")
            .replace("caller 42001", "caller pilot");
        let told = admin(&site, &["explain", word]).exited(0).output();
        assert!(told.contains(&line), "{word}: the log says\n{line}\nand explain\n{told}");
        let code = ran.code().to_string();
        assert!(told.contains(&format!("exit code {code}")), "{told}");
        assert!(admin(&site, &["explain", &code]).exited(0).output().contains(word), "{word}");
    }
}

#[test]
fn explain_lists_every_word_and_knows_no_other() {
    let site = Site::new();
    let list = admin(&site, &["explain"]).exited(0).output();
    for word in ["201", "204", "audit", "no-free-account", "not-started"] {
        assert!(list.contains(&format!("  {word} ")), "{word} in {list}");
    }
    let ran = admin(&site, &["explain", "not-a-word\u{7}"]);
    assert!(ran.exited(1).output().is_empty() && ran.error().contains("explain lists"), "{ran:#?}");
    assert!(!ran.error().contains('\u{7}'), "{ran:#?}");
    // Anybody may ask.
    site.program(["/usr/sbin/glexec-admin", "explain", "202"]).by("other").run().exited(0);
}
