//! The whole state of a process, as far as it can be told from inside: one text for each thing,
//! by a name that says where it is from. For comparing two processes field by field.

use crate::raw;
use std::collections::BTreeMap;
use std::fs;

/// Name and text.
pub type State = BTreeMap<String, String>;

/// Files of /proc/self that are told whole.
const FILES: [&str; 17] = [
    "cgroup",
    "comm",
    "coredump_filter",
    "cpuset",
    "gid_map",
    "ksm_stat",
    "loginuid",
    "oom_score_adj",
    "personality",
    "projid_map",
    "sessionid",
    "setgroups",
    "timens_offsets",
    "timers",
    "timerslack_ns",
    "uid_map",
    "autogroup",
];

/// Where processes differ that are the same in everything that one could have set of them.
///
/// - which process it is, and what is above it;
/// - how much memory and time it has used, and where its memory lies;
/// - of the scheduler, what it counts.
const OWN: [&str; 11] = [
    "status: Tgid",
    "status: Ngid",
    "status: Pid",
    "status: PPid",
    "status: NS",
    "status: Vm",
    "status: Rss",
    "status: voluntary",
    "status: nonvoluntary",
    "status: HugetlbPages",
    "status: SigQ",
];

/// This process, now.
pub fn state() -> State {
    let mut all = State::new();
    let mut tell = |name: String, text: String| drop(all.insert(name, text));
    for line in read("status").lines() {
        let (name, text) = line.split_once(':').unwrap_or((line, ""));
        if !OWN.iter().any(|own| format!("status: {name}").starts_with(own)) {
            tell(format!("status: {name}"), text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    for line in read("limits").lines().skip(1) {
        let (name, text) = line.split_at_checked(26).unwrap_or((line, ""));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        tell(format!("limit: {}", name.trim()), text);
    }
    for line in read("sched").lines() {
        let (name, text) = line.split_once(':').unwrap_or((line, ""));
        let name = name.trim();
        if ["policy", "prio", "ext.enabled"].contains(&name) || name.contains("uclamp") {
            tell(format!("sched: {name}"), text.trim().to_owned());
        }
    }
    FILES.iter().for_each(|name| tell((*name).to_owned(), read(name)));
    // A group's number counts sessions; its nice value is what matters.
    let group = read("autogroup");
    tell("autogroup".to_owned(), group.split_once(' ').unwrap_or_default().1.to_owned());
    for directory in ["ns", "attr"] {
        for entry in fs::read_dir(format!("/proc/self/{directory}")).into_iter().flatten().flatten()
        {
            let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
            let text = fs::read_link(entry.path()).map(|to| to.display().to_string());
            let text = text.unwrap_or_else(|_| read(&name));
            tell(name, text);
        }
    }
    for name in ["cwd", "root", "exe"] {
        let to = fs::read_link(format!("/proc/self/{name}")).unwrap_or_default();
        tell(name.to_owned(), to.display().to_string());
    }
    let look = crate::Look::around();
    for (number, what) in look.descriptors {
        let flags = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = flags.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        tell(format!("descriptor {number}"), format!("{what} {flags}"));
    }
    for entry in look.environment {
        let (name, value) = entry.split_once('=').unwrap_or((&entry, "-"));
        tell(format!("environment: {name}"), value.to_owned());
    }
    tell("arguments".to_owned(), look.arguments.join(" "));
    let [pid, _, group, session] = look.ids;
    tell("leads group and session".to_owned(), format!("{} {}", pid == group, pid == session));
    tell("terminal".to_owned(), look.terminal.to_string());
    tell("nice".to_owned(), look.nice.to_string());
    // What musl or glibc has installed before main is not the kernel's, but the same each time.
    let handlers = (1..=64).map(raw::disposition).collect::<Vec<_>>();
    tell("dispositions".to_owned(), handlers.join(" "));
    for (name, value) in raw::settings() {
        tell(name, value);
    }
    all
}

fn read(name: &str) -> String {
    match fs::read(format!("/proc/self/{name}")) {
        Ok(text) => String::from_utf8_lossy(&text).trim_matches(['\0', '\n', ' ']).to_owned(),
        Err(error) => error.kind().to_string(),
    }
}
