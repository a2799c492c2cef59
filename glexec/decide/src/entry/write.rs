//! Writing down what a run is: the same characters in every version, or an earlier program could
//! not read them.

use super::{Bytes, Entry, Handed, Handle, OF_CONTROL, OwedProxy, Person, Phase, Place, ProxyFile};
use contract::json::{self, Json, Object};
use system::Birth;

/// A line of the file, its newline included.
pub fn line(value: &dyn Json) -> Vec<u8> {
    json::line(value).into_bytes()
}

/// How a process is written: [`Birth`] knows nothing of files.
struct Process(Birth);

impl Json for Process {
    fn write(&self, out: &mut String) {
        let Birth { pid, start } = &self.0;
        Object::begin(out).with("pid", pid).with("start", start).end();
    }
}

impl Json for Place {
    fn write(&self, out: &mut String) {
        let Self { boot, pid_namespace } = self;
        Object::begin(out).with("boot", boot).with("pid_namespace", pid_namespace).end();
    }
}

impl Json for Person {
    fn write(&self, out: &mut String) {
        let Self { name, uid, gids } = self;
        Object::begin(out).with("name", name).with("uid", uid).with("gids", gids).end();
    }
}

impl Json for Handle {
    fn write(&self, out: &mut String) {
        let Self { kind, bytes } = self;
        Object::begin(out).with("kind", kind).with("bytes", bytes).end();
    }
}

impl Json for Handed {
    fn write(&self, out: &mut String) {
        let Self { path, device, inode, born, devices, above, handle, volatile } = self;
        Object::begin(out)
            .with("path", path)
            .with("device", device)
            .with("inode", inode)
            .with("born", born)
            .with("devices", devices)
            .with_if(!above.is_empty(), "above", above)
            .with_if(handle.is_some(), "handle", handle)
            .with_if(*volatile, "volatile", volatile)
            .end();
    }
}

impl Json for OwedProxy {
    fn write(&self, out: &mut String) {
        let Self { path, first_name } = self;
        Object::begin(out).with("path", path).with("first_name", first_name).end();
    }
}

impl Json for ProxyFile {
    fn write(&self, out: &mut String) {
        let Self { inode, stamp, directory } = self;
        Object::begin(out)
            .with("inode", inode)
            .with("stamp", stamp)
            .with("directory", directory)
            .end();
    }
}

impl Json for Entry {
    fn write(&self, out: &mut String) {
        // By name, so that none can be forgotten.
        let Self {
            version,
            run_id,
            place,
            glexec,
            session,
            group,
            since,
            caller,
            target,
            shares_group,
            exclusive,
            owes_epilogue,
            command,
            job,
            environment,
            told,
            handed,
            proxy,
        } = self;
        Object::begin(out)
            .with("version", version)
            .with("run_id", run_id)
            .with("place", place)
            .with("glexec", &Process(*glexec))
            .with("session", session)
            .with("group", group)
            .with("since", since)
            .with("caller", caller)
            .with("target", target)
            .with_if(*shares_group, "shares_group", shares_group)
            .with("exclusive", exclusive)
            .with("owes_epilogue", owes_epilogue)
            .with("command", command)
            .with("job", job)
            .with("environment", environment)
            .with("told", told)
            .with_if(!handed.is_empty(), "handed", handed)
            .with_if(proxy.is_some(), "proxy", proxy)
            .end();
    }
}

impl Json for Phase {
    fn write(&self, out: &mut String) {
        let object = Object::begin(out);
        let begin = |phase: &str| object.with("phase", &phase);
        let object = match self {
            Self::Started { payload, cgroup } => begin("started")
                .with("payload", &Process(*payload))
                .with_if(cgroup.is_some(), "cgroup", cgroup),
            Self::Ended { code, signal, core, not_started, usage, stragglers, end } => {
                begin("ended")
                    .with_if(code.is_some(), "code", code)
                    .with_if(signal.is_some(), "signal", signal)
                    .with("core", core)
                    .with_if(not_started.is_some(), "not_started", not_started)
                    .with("usage", usage)
                    .with("stragglers", stragglers)
                    .with("end", end)
            }
            Self::Attempt { number, at, epilogue, within } => begin("attempt")
                .with("number", number)
                .with("at", at)
                .with("epilogue", &Process(*epilogue))
                .with_if(*within, "within", within),
            Self::Failed { number, at, why, within } => begin("failed")
                .with("number", number)
                .with("at", at)
                .with("why", why)
                .with_if(*within, "within", within),
            Self::NotBack { number, at, why, within } => begin("not-back")
                .with("number", number)
                .with("at", at)
                .with("why", why)
                .with_if(*within, "within", within),
            Self::Back => begin("back"),
            Self::ProxyWritten { file } => begin("proxy-written").with("file", file),
            Self::ProxyGone => begin("proxy-gone"),
            Self::Again { at } => begin("again").with("at", at),
            Self::Done { result, code } => begin("done").with("result", result).with("code", code),
        };
        object.end();
    }
}

impl Json for Bytes {
    fn write(&self, out: &mut String) {
        // Most of what is written down is this.
        if let Ok(text) = std::str::from_utf8(&self.0) {
            if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                return text.write(out);
            }
        }
        let text: String = self.0.iter().copied().map(shown).collect();
        text.write(out);
    }
}

fn shown(byte: u8) -> char {
    let control = byte.is_ascii_control().then(|| char::from_u32(OF_CONTROL + u32::from(byte)));
    control.flatten().unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{STARTED, attempt, entry, within};
    use super::super::{Made, VERSION};
    use super::*;
    use crate::recorded_run::RecordedRun;
    use contract::{Ending, ResourceUsage};
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;

    fn written(value: &dyn Json) -> String {
        String::from_utf8(line(value)).unwrap()
    }

    /// An earlier program may have to read it.
    #[test]
    fn the_first_line_is_this() {
        let handed = Handed {
            path: Bytes(b"/d\"\\".to_vec()),
            device: (8, 1),
            inode: 5,
            born: (6, 7),
            devices: vec![(8, 1), (0, 40)],
            above: vec![],
            handle: None,
            volatile: false,
        };
        let known = Handed {
            above: vec![(2, (1, 1)), (9, (0, 0))],
            handle: Some(Handle { kind: -1, bytes: Bytes(b"\0\xfe".to_vec()) }),
            volatile: true,
            ..handed.clone()
        };
        assert_eq!(
            written(&entry()),
            r#"{"version":2,"run_id":"5.6.7","place":{"boot":"b","pid_namespace":7},"glexec":{"pid":10,"start":11},"session":9,"group":10,"since":1700000000,"caller":{"name":"u1","uid":1,"gids":[1,5]},"target":{"name":"u2","uid":2,"gids":[2,5]},"exclusive":false,"owes_epilogue":true,"command":"sleep","job":[["JOB","4711"]],"environment":["A=ÿĊ"],"told":[]}"#
                .to_owned()
                + "\n"
        );
        let proxy = OwedProxy { path: Bytes(b"/p".to_vec()), first_name: Bytes(b"/p.0".to_vec()) };
        let (handed, proxy) = (vec![handed, known], Some(proxy));
        let more = Entry { shares_group: true, handed, proxy, ..entry() };
        let (line, tail) = (
            written(&more),
            r#""told":[],"handed":[{"path":"/d\"\\","device":[8,1],"inode":5,"born":[6,7],"devices":[[8,1],[0,40]]},{"path":"/d\"\\","device":[8,1],"inode":5,"born":[6,7],"devices":[[8,1],[0,40]],"above":[[2,[1,1]],[9,[0,0]]],"handle":{"kind":-1,"bytes":"Āþ"},"volatile":true}],"proxy":{"path":"/p","first_name":"/p.0"}}"#,
        );
        assert!(line.ends_with(&(tail.to_owned() + "\n")), "{line}");
        assert!(line.contains(r#""gids":[2,5]},"shares_group":true,"exclusive":false,"#), "{line}");
    }

    #[test]
    fn the_other_lines_are_these() {
        let (why, usage) = (|| "\u{1b} no".to_owned(), ResourceUsage::default());
        let ended = |ending| Phase::ended(ending, usage, 3, 77);
        for (phase, line) in [
            (STARTED, r#"{"phase":"started","payload":{"pid":20,"start":21}}"#),
            (
                Phase::Started {
                    payload: Birth { pid: 1, start: u64::MAX },
                    cgroup: Some("/g".to_owned()),
                },
                r#"{"phase":"started","payload":{"pid":1,"start":18446744073709551615},"cgroup":"/g"}"#,
            ),
            (
                ended(Ok(Ending::Exited(0))),
                r#"{"phase":"ended","code":0,"core":false,"usage":{"user_us":0,"system_us":0,"max_rss_kib":0},"stragglers":3,"end":77}"#,
            ),
            (
                ended(Ok(Ending::Killed { signal: 9, core: true })),
                r#"{"phase":"ended","signal":9,"core":true,"usage":{"user_us":0,"system_us":0,"max_rss_kib":0},"stragglers":3,"end":77}"#,
            ),
            (
                ended(Err(126)),
                r#"{"phase":"ended","core":false,"not_started":126,"usage":{"user_us":0,"system_us":0,"max_rss_kib":0},"stragglers":3,"end":77}"#,
            ),
            (
                attempt(1, 80),
                r#"{"phase":"attempt","number":1,"at":80,"epilogue":{"pid":30,"start":31}}"#,
            ),
            (
                within(2, 81),
                r#"{"phase":"attempt","number":2,"at":81,"epilogue":{"pid":30,"start":31},"within":true}"#,
            ),
            (
                Phase::Failed { number: 1, at: 2, why: why(), within: false },
                r#"{"phase":"failed","number":1,"at":2,"why":"\u001b no"}"#,
            ),
            (
                Phase::NotBack { number: 1, at: 2, why: why(), within: true },
                r#"{"phase":"not-back","number":1,"at":2,"why":"\u001b no","within":true}"#,
            ),
            (Phase::Back, r#"{"phase":"back"}"#),
            (
                Phase::ProxyWritten { file: ProxyFile { inode: 5, stamp: (6, 7), directory: 8 } },
                r#"{"phase":"proxy-written","file":{"inode":5,"stamp":[6,7],"directory":8}}"#,
            ),
            (Phase::ProxyGone, r#"{"phase":"proxy-gone"}"#),
            (Phase::Again { at: 5 }, r#"{"phase":"again","at":5}"#),
            (
                Phase::Done { result: "timeout".to_owned(), code: None },
                r#"{"phase":"done","result":"timeout","code":null}"#,
            ),
        ] {
            assert_eq!(written(&phase), line.to_owned() + "\n");
        }
    }

    fn any_birth() -> impl Strategy<Value = Birth> {
        any::<(i32, u64)>().prop_map(|(pid, start)| Birth { pid, start })
    }

    fn any_bytes() -> impl Strategy<Value = Bytes> {
        any::<Vec<u8>>().prop_map(Bytes)
    }

    fn any_person() -> impl Strategy<Value = Person> {
        any::<(String, u32, Vec<u32>)>().prop_map(|(name, uid, gids)| Person { name, uid, gids })
    }

    fn any_handed() -> impl Strategy<Value = Handed> {
        let handle = (any::<i32>(), any_bytes()).prop_map(|(kind, bytes)| Handle { kind, bytes });
        let numbers = any::<((u32, u32), u64, (u64, u32), Vec<(u32, u32)>, Vec<Made>, bool)>();
        (any_bytes(), numbers, of(handle)).prop_map(|(path, numbers, handle)| {
            let (device, inode, born, devices, above, volatile) = numbers;
            Handed { path, device, inode, born, devices, above, handle, volatile }
        })
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let place =
            any::<(String, u64)>().prop_map(|(boot, pid_namespace)| Place { boot, pid_namespace });
        let who = (place, any_birth(), any_person(), any_person());
        let plain = any::<(String, i32, i32, u64, bool, bool, bool, String)>();
        let texts = || vec(any_bytes(), 0..3);
        let lists = (vec((any::<String>(), any_bytes()), 0..3), texts(), texts());
        let proxy = of((any_bytes(), any_bytes()));
        let rest = (vec(any_handed(), 0..3), proxy);
        (who, plain, lists, rest).prop_map(|(who, plain, lists, (handed, proxy))| {
            let proxy = proxy.map(|(path, first_name)| OwedProxy { path, first_name });
            let (place, glexec, caller, target) = who;
            let (run_id, session, group, since, shares_group, exclusive, owes_epilogue, command) =
                plain;
            let (job, environment, told) = lists;
            Entry {
                version: VERSION,
                run_id,
                place,
                glexec,
                session,
                group,
                since,
                caller,
                target,
                shares_group,
                exclusive,
                owes_epilogue,
                command,
                job,
                environment,
                told,
                handed,
                proxy,
            }
        })
    }

    fn any_phase() -> impl Strategy<Value = Phase> {
        let usage = any::<(u64, u64, u64)>().prop_map(|(user_us, system_us, max_rss_kib)| {
            ResourceUsage { user_us, system_us, max_rss_kib }
        });
        let ended = any::<(Option<u8>, Option<u8>, bool, Option<u8>, u32, u64)>();
        prop_oneof![
            (any_birth(), any::<Option<String>>())
                .prop_map(|(payload, cgroup)| Phase::Started { payload, cgroup }),
            (ended, usage).prop_map(
                |((code, signal, core, not_started, stragglers, end), usage)| {
                    Phase::Ended { code, signal, core, not_started, usage, stragglers, end }
                }
            ),
            (any::<(u32, u64, bool)>(), any_birth()).prop_map(
                |((number, at, within), epilogue)| {
                    Phase::Attempt { number, at, epilogue, within }
                }
            ),
            any::<(u32, u64, String, bool)>().prop_map(|(number, at, why, within)| Phase::Failed {
                number,
                at,
                why,
                within
            }),
            any::<(u32, u64, String, bool)>()
                .prop_map(|(number, at, why, within)| Phase::NotBack { number, at, why, within }),
            Just(Phase::Back),
            any::<(u64, (u64, u32), u64)>().prop_map(|(inode, stamp, directory)| {
                Phase::ProxyWritten { file: ProxyFile { inode, stamp, directory } }
            }),
            Just(Phase::ProxyGone),
            any::<u64>().prop_map(|at| Phase::Again { at }),
            any::<(String, Option<u8>)>().prop_map(|(result, code)| Phase::Done { result, code }),
        ]
    }

    /// Whether serde_json writes a line of the same value and length: its order of the members
    /// aside, the same characters.
    fn is_plain_json(line: &[u8]) -> bool {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        value.to_string().len() + 1 == line.len()
    }

    proptest! {
        #[test]
        fn every_entry_and_phase_comes_back(
            entry in any_entry(),
            phases in vec(any_phase(), 0..5),
        ) {
            let first = line(&entry);
            let lines: Vec<Vec<u8>> = phases.iter().map(|phase| line(phase)).collect();
            prop_assert!(is_plain_json(&first) && lines.iter().all(|line| is_plain_json(line)));
            let recorded = RecordedRun::read(&[first, lines.concat()].concat()).unwrap();
            prop_assert_eq!(recorded, RecordedRun { entry, phases });
        }
    }
}
