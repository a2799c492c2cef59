//! What one line of the log file says of a run.

use contract::Reason;

/// How a payload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// With this exit code.
    Exit(u8),
    /// Of this signal.
    Signal(u8),
    /// It could not be started; what glexec returned for it.
    NotStarted(u8),
}

/// How an epilogue ended, and after how many milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epilogue<'l> {
    pub(super) result: &'l str,
    pub(super) milliseconds: u64,
}

/// What the last line of a lingering run tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended<'l> {
    pub(super) payload: Payload,
    pub(super) epilogue: Option<Epilogue<'l>>,
    /// Processes that the payload left behind, and those of them that could not be ended.
    pub(super) stragglers: (u64, u64),
    /// Processor time in user and kernel mode, in microseconds.
    pub(super) cpu: (u64, u64),
}

/// What happened, by one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'l> {
    /// A payload is about to be started, in this way.
    Begun(&'l str),
    /// Nothing was started.
    Refused(Reason),
    /// A lingering run is over.
    Ended(Ended<'l>),
    /// A sweep has run an epilogue that was owed.
    Settled(Epilogue<'l>),
}

/// A line that tells of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told<'l> {
    pub(super) event: Event<'l>,
    /// Lines before it that the log did not take.
    pub(super) lost: u64,
}

/// A line that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd;

/// What a line tells; `None` where it tells nothing of a run's begin, refusal or end.
///
/// Words that callers choose stand in quotes in it, and a quote of theirs has a backslash before it
/// (`system::text::escaped`): so ` id="` is glexec's own wherever it stands.
///
/// # Errors
/// [`Odd`] where it is no line of glexec's, or begins like one of these and does not go on so.
pub(super) fn read(line: &[u8]) -> Result<Option<Told<'_>>, Odd> {
    let line = std::str::from_utf8(line).map_err(|_| Odd)?.trim_end_matches('\n');
    let dressed = line.strip_prefix("glexec[").and_then(|rest| rest.split_once("] ")).ok_or(Odd)?;
    let (_, text) = dressed.1.split_once(": ").ok_or(Odd)?;
    let event = if text.starts_with("real_user(") {
        begun(text)
    } else if text.starts_with("end of ") {
        ended(text)
    } else if text.starts_with("settled ") {
        settled(text)
    } else {
        match refused(text) {
            Some(event) => Some(event),
            // A full disk has left half a line, and the next one stands behind it.
            None if text.starts_with("glexec[") => None,
            None => return Ok(None),
        }
    };
    Ok(Some(Told { event: event.ok_or(Odd)?, lost: lost(text) }))
}

fn begun(text: &str) -> Option<Event<'_>> {
    let text = before(before(text, " id=\""), " subject=\"");
    let launch = text.rsplit_once(" launch=")?.1;
    let known = super::LAUNCHES.into_iter().find(|known| word(launch) == *known)?;
    Some(Event::Begun(known))
}

fn refused(text: &str) -> Option<Event<'_>> {
    let (reason, rest) = text.split_once(": caller ")?;
    rest.contains(" exit_code=").then_some(())?;
    Reason::ALL.iter().find(|known| known.word() == reason).map(|reason| Event::Refused(*reason))
}

fn ended(text: &str) -> Option<Event<'_>> {
    let rest = text.rsplit_once(": payload ")?.1;
    let payload = if let Some(code) = rest.strip_prefix("exit ") {
        Payload::Exit(word(code).parse().ok()?)
    } else if let Some(signal) = rest.strip_prefix("signal ") {
        Payload::Signal(word(signal).parse().ok()?)
    } else {
        Payload::NotStarted(rest.strip_prefix("not started (")?.split_once(')')?.0.parse().ok()?)
    };
    let epilogue = match value(rest, "epilogue") {
        Some(_) => Some(epilogue(rest)?),
        None => None,
    };
    let number = |key: &str| value(rest, key)?.parse().ok();
    Some(Event::Ended(Ended {
        payload,
        epilogue,
        stragglers: (number("stragglers")?, number("left")?),
        cpu: (parts(rest, "user_seconds", 6)?, parts(rest, "system_seconds", 6)?),
    }))
}

fn settled(text: &str) -> Option<Event<'_>> {
    epilogue(text).map(Event::Settled)
}

fn epilogue(rest: &str) -> Option<Epilogue<'_>> {
    // `exit(3)`: the number is not counted apart.
    let result = value(rest, "epilogue")?.split('(').next()?;
    super::results().contains(&result).then_some(())?;
    Some(Epilogue { result, milliseconds: parts(rest, "epilogue_seconds", 3)? })
}

/// Seconds with so many digits behind the point, in units of the last of them.
fn parts(rest: &str, key: &str, digits: usize) -> Option<u64> {
    let (whole, fraction) = value(rest, key)?.split_once('.')?;
    (fraction.len() == digits).then_some(())?;
    format!("{whole}{fraction}").parse().ok()
}

/// The value of ` key=`.
fn value<'l>(text: &'l str, key: &str) -> Option<&'l str> {
    text.split(' ').find_map(|one| one.strip_prefix(key)?.strip_prefix('='))
}

fn lost(text: &str) -> u64 {
    let last = text.rsplit(' ').next().unwrap_or_default();
    last.strip_prefix("lost_lines=").and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn before<'l>(text: &'l str, mark: &str) -> &'l str {
    text.rsplit_once(mark).map_or(text, |(before, _)| before)
}

fn word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str) -> String {
        format!("glexec[4711] 2026-11-29T13:19:24Z notice: {text}\n")
    }

    const BEGIN: &str = "real_user(p),real_group(p)->mapped_user(q),mapped_group(q) cwd: \"/\" cmd: \"x\" (=\"/x\")";
    const TAIL: &str = " real_uid=1 mapped_uid=2 launch=linger epilogue=yes run=1.2.3";

    fn told(text: &str) -> Result<Option<Event<'static>>, Odd> {
        let line = line(text).leak();
        read(line.as_bytes()).map(|told| told.map(|told| told.event))
    }

    #[test]
    fn each_kind_of_line_is_read() {
        let linger = Ok(Some(Event::Begun("linger")));
        assert_eq!(told(&format!("{BEGIN}{TAIL}")), linger);
        assert_eq!(
            told(&format!("{BEGIN} args: \"a b\"{TAIL} subject=\"/CN=a\" id=\"7\"")),
            linger
        );
        assert_eq!(
            told("not-listed: caller other: you are not listed exit_code=203"),
            Ok(Some(Event::Refused(Reason::NotListed)))
        );
        let end = "end of p->q: payload signal 9 (core dumped) exit_code=137 epilogue=exit(3) epilogue_seconds=1.250 stragglers=4 left=1 user_seconds=2.000001 system_seconds=0.500000 max_rss_kib=9 run=1";
        let epilogue = Epilogue { result: "exit", milliseconds: 1250 };
        assert_eq!(
            told(end),
            Ok(Some(Event::Ended(Ended {
                payload: Payload::Signal(9),
                epilogue: Some(epilogue),
                stragglers: (4, 1),
                cpu: (2_000_001, 500_000),
            })))
        );
        let plain = "end of p->q: payload not started (126) exit_code=126 stragglers=0 left=0 user_seconds=0.000000 system_seconds=0.000000 max_rss_kib=0 run=1";
        assert!(matches!(
            told(plain),
            Ok(Some(Event::Ended(Ended { payload: Payload::NotStarted(126), epilogue: None, .. })))
        ));
        let settled = "settled p->q: epilogue=ok attempt=2 epilogue_seconds=0.012 run=1.2";
        let epilogue = Epilogue { result: "ok", milliseconds: 12 };
        assert_eq!(told(settled), Ok(Some(Event::Settled(epilogue))));
        for other in ["rehearsal: real_user(p)", "epilogue: \"end of a->b: payload exit 0\"", "x"] {
            assert_eq!(told(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn what_is_no_whole_line_is_odd() {
        let cut = "end of p->q: payload exit 0 exit_code=0 stragglers=0 left=0 user_sec";
        for text in [cut, BEGIN, "end of p->q: payload exit 999 exit_code=0", "settled p->q: "] {
            assert_eq!(told(text), Err(Odd), "{text}");
        }
        let odd = "end of p->q: payload exit 0 exit_code=0 epilogue=great epilogue_seconds=0.001 stragglers=0 left=0 user_seconds=0.000000 system_seconds=0.000000 run=1";
        assert_eq!(told(odd), Err(Odd));
        for bytes in [&b"\xff\n"[..], b"\n", b"glexec", b"sshd[1]: x: y\n"] {
            assert_eq!(read(bytes), Err(Odd));
        }
    }

    #[test]
    fn lost_lines_are_told_by_the_line_after_them() {
        let line = line("not-listed: caller a: no exit_code=203 lost_lines=3");
        assert_eq!(read(line.as_bytes()).unwrap().unwrap().lost, 3);
    }

    proptest! {
        #[test]
        fn no_word_of_a_callers_is_taken_for_glexecs(argument in ".{0,80}", id in ".{0,40}") {
            let forged = |text: &str| system::text::escaped(format!("{text}\" launch=replace lost_lines=9 id=\"{text}").as_bytes());
            let text = format!("{BEGIN} args: \"{}\"{TAIL} id=\"{}\"", forged(&argument), forged(&id));
            let line = line(&text);
            let told = read(line.as_bytes());
            prop_assert_eq!(told, Ok(Some(Told { event: Event::Begun("linger"), lost: 0 })));
        }

        #[test]
        fn whatever_stands_there_nothing_breaks(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let _ = read(&[b"glexec[1] t notice: end of a->b: payload exit ", &bytes[..]].concat());
        }
    }
}
