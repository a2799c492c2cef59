//! A payload cannot type into its caller's terminal.

use harness::Site;
use std::time::Duration;

#[test]
fn the_payload_has_no_controlling_terminal_and_cannot_type_into_the_callers() {
    for lines in ["", "linger = false", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let running = site.glexec(["actor", "type"]).on_terminal().start();
        let ran = running.wait();
        let output = ran.exited(0).output();
        assert!(output.contains("tty: no"), "{lines}: {output}");
        assert!(!output.contains("Ok"), "{lines}: {output}");
    }
}

#[test]
fn the_payload_stays_in_glexecs_session_where_there_is_no_terminal() {
    let site = Site::with_epilogue("");
    let ran = site.glexec(["actor", "look"]).with_status().run();
    let [pid, _, group, session] = ran.look().ids;
    let told = site.epilogues().remove(0);
    assert_eq!(told.variable("GLEXEC_EPILOG_GLEXEC_SID"), Some(session.to_string().as_str()));
    assert_eq!(group, pid, "a group of its own");
    assert_ne!(session, pid);
}

#[test]
fn an_interrupt_typed_on_the_terminal_reaches_the_payload_and_the_epilogue_runs() {
    use std::io::Write as _;
    for lines in ["", "epilogue = \"/usr/libexec/site/epilogue\""] {
        let site = Site::with(lines);
        let script = "trap 'echo interrupted; exit 7' INT; echo ready; i=0; while [ $i -lt 100 ]; do i=$((i+1)); sleep 0.05; done";
        let running = site.glexec(["sh", "-c", script]).on_terminal().start();
        running.says("ready");
        std::thread::sleep(Duration::from_millis(50));
        let terminal = running.terminal.as_ref().unwrap().try_clone().unwrap();
        std::fs::File::from(terminal).write_all(&[3]).unwrap();
        running.says("interrupted");
        running.wait().exited(7);
        assert_eq!(site.epilogues().len(), usize::from(!lines.is_empty()));
    }
}

#[test]
fn a_terminal_is_shared_where_the_site_wants_the_originals_way() {
    let site = Site::with("terminal = \"share\"");
    let ran = site.glexec(["actor", "look"]).on_terminal().start().wait();
    let text = ran.exited(0).output();
    let look: harness::Look =
        serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_ne!(look.terminal, 0);
}
