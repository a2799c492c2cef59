//! `glexec-accounts QUESTION…`: looks accounts and groups up where the C library finds them, and
//! answers in the form of the files: lines of passwd(5), an empty line, lines of group(5).
//!
//! Questions: `uid=N`, `user=NAME`, `gid=N`, `group=NAME`, `groups=NAME` (those the account is
//! in), `members=NAME` (the accounts that the group lists, and the group). What does not exist
//! gives no line. Exit code 1 where a name service failed, with a clause
//! that says which instead of an answer; 2 where a question is none. Runs with nothing of root's;
//! glexec reads the answer as it reads the files.

mod module;
mod services;
mod switch;

use module::GateOpener;
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use services::Database;
use std::ffi::CString;
use std::io::Write as _;
use std::process::ExitCode;

/// What it says of itself.
const ABOUT: about::Program = about::Program {
    name: "glexec-accounts",
    words: "QUESTION...",
    summary: "looks accounts and groups up where the C library finds them",
    details: &[
        "Called by glexec, with nothing of root's, where /etc/nsswitch.conf names more than files and systemd. Questions are uid=N, user=NAME, gid=N, group=NAME, groups=NAME and members=NAME; the answer is lines of passwd(5), an empty line, and lines of group(5).",
        "Exit code 1 where a name service failed, 2 where a question is none, else 0.",
    ],
};

fn main() -> ExitCode {
    if let Some(code) = about::answered!(ABOUT) {
        return code;
    }
    let mut answer = Answer::default();
    for word in std::env::args().skip(1) {
        let Some((kind, value)) = word.split_once('=') else { return ExitCode::from(2) };
        match answer.look_up(kind, value) {
            Some(Ok(())) => {}
            Some(Err(why)) => {
                // Who cannot be told why is told by the code.
                let _ = std::io::stdout().write_all(format!("{word}: {why}\n").as_bytes());
                return ExitCode::from(1);
            }
            None => return ExitCode::from(2),
        }
    }
    let text = format!("{}\n{}", answer.passwd, answer.groups);
    let written = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(written.is_err()))
}

#[derive(Default)]
struct Answer {
    passwd: String,
    groups: String,
}

impl Answer {
    /// `None` where this is no question.
    fn look_up(&mut self, kind: &str, value: &str) -> Option<Result<(), String>> {
        Some(match kind {
            "uid" => self.uid(value.parse().ok()?),
            "user" => self.user(value),
            "gid" => self.gid(value.parse().ok()?),
            "group" => self.group(value),
            "groups" => self.groups_of(value),
            "members" => self.members_of(value),
            _ => return None,
        })
    }

    fn uid(&mut self, uid: u32) -> Result<(), String> {
        let found = User::from_uid(Uid::from_raw(uid));
        self.add_user(known(found, (Database::Passwd, GateOpener::Id(uid)))?.as_ref())
    }

    fn user(&mut self, name: &str) -> Result<(), String> {
        self.add_user(user(name)?.as_ref())
    }

    fn gid(&mut self, gid: u32) -> Result<(), String> {
        let found = Group::from_gid(Gid::from_raw(gid));
        self.add_group(known(found, (Database::Group, GateOpener::Id(gid)))?.as_ref())
    }

    fn group(&mut self, name: &str) -> Result<(), String> {
        let word = CString::new(name).map_err(|e| e.to_string())?;
        let found = Group::from_name(name);
        self.add_group(known(found, (Database::Group, GateOpener::Name(&word)))?.as_ref())
    }

    /// The accounts that a group lists, and the group. A member whose account does not exist gives
    /// no line.
    fn members_of(&mut self, name: &str) -> Result<(), String> {
        let word = CString::new(name).map_err(|e| e.to_string())?;
        let found = Group::from_name(name);
        let Some(group) = known(found, (Database::Group, GateOpener::Name(&word)))? else {
            return Ok(());
        };
        if is_odd(&group.name) || group.mem.iter().any(|member| is_odd(member)) {
            return Err("a name in it has a colon or a control character".to_owned());
        }
        for member in &group.mem {
            self.user(member)?;
        }
        self.groups += &format!("{}:x:{}:{}\n", group.name, group.gid, group.mem.join(","));
        Ok(())
    }

    fn add_user(&mut self, user: Option<&User>) -> Result<(), String> {
        let Some(user) = user else { return Ok(()) };
        let [home, shell] = [&user.dir, &user.shell].map(|path| path.to_str().unwrap_or("/"));
        let fields = [user.name.as_str(), home, shell];
        if fields.iter().any(|field| is_odd(field)) {
            return Err("a field of it has a colon or a control character".to_owned());
        }
        let (name, uid, gid) = (&user.name, user.uid, user.gid);
        self.passwd += &format!("{name}:x:{uid}:{gid}::{home}:{shell}\n");
        Ok(())
    }

    /// Without its members, of which there may be many: who asks for a name asks for no more.
    fn add_group(&mut self, group: Option<&Group>) -> Result<(), String> {
        let Some(group) = group else { return Ok(()) };
        if is_odd(&group.name) {
            return Err("its name has a colon or a control character".to_owned());
        }
        self.groups += &format!("{}:x:{}:\n", group.name, group.gid);
        Ok(())
    }

    fn groups_of(&mut self, name: &str) -> Result<(), String> {
        let Some(user) = user(name)? else { return Ok(()) };
        let word = CString::new(name).map_err(|e| e.to_string())?;
        let gids = getgrouplist(&word, user.gid).map_err(|e| e.desc().to_owned())?;
        let numbers: Vec<u32> = gids.iter().map(|gid| gid.as_raw()).collect();
        services::are_all_groups(&word, user.gid.as_raw(), &numbers)?;
        for gid in gids {
            let found = Group::from_gid(gid);
            let group = known(found, (Database::Group, GateOpener::Id(gid.as_raw())))?;
            // A gid without a name is a group all the same.
            let group = group.map_or_else(|| format!("gid{gid}"), |group| group.name);
            if is_odd(&group) {
                return Err(format!("the name of gid {gid} has a colon or a control character"));
            }
            self.groups += &format!("{group}:x:{gid}:{}\n", user.name);
        }
        Ok(())
    }
}

fn user(name: &str) -> Result<Option<User>, String> {
    let word = CString::new(name).map_err(|e| e.to_string())?;
    known(User::from_name(name), (Database::Passwd, GateOpener::Name(&word)))
}

/// What would shift the fields of a line.
fn is_odd(field: &str) -> bool {
    field.contains(|c: char| c == ':' || c.is_control())
}

/// getpwnam(3): "The given name or uid was not found" comes with many an errno, and so does a
/// service that failed. Unknown is what every service says it does not know.
fn known<T>(
    found: Result<Option<T>, Errno>,
    (database, key): (Database, GateOpener<'_>),
) -> Result<Option<T>, String> {
    match found {
        Ok(Some(found)) => Ok(Some(found)),
        Ok(None) | Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => {
            services::none_knows(database, key).map(|()| None)
        }
        Err(errno) => Err(errno.desc().to_owned()),
    }
}
