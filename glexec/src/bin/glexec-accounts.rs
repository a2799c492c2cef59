//! `glexec-accounts QUESTION…`: looks accounts and groups up where the C library finds them, and
//! answers in the form of the files: lines of passwd(5), an empty line, lines of group(5).
//!
//! Questions: `uid=N`, `user=NAME`, `gid=N`, `group=NAME`, `groups=NAME` (those the account is
//! in), `members=NAME` (the accounts that the group lists, and the group). What does not exist gives no line. Exit code 1 where a name service failed, 2 where a
//! question is none. Runs with nothing of root's; glexec reads the answer as it reads the files.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut answer = Answer::default();
    for word in std::env::args().skip(1) {
        let Some((kind, value)) = word.split_once('=') else { return ExitCode::from(2) };
        match answer.look_up(kind, value) {
            Some(Ok(())) => {}
            Some(Err(_)) => return ExitCode::from(1),
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
    fn look_up(&mut self, kind: &str, value: &str) -> Option<Result<(), Errno>> {
        Some(match kind {
            "uid" => self.user(User::from_uid(Uid::from_raw(value.parse().ok()?))),
            "user" => self.user(User::from_name(value)),
            "gid" => self.group(Group::from_gid(Gid::from_raw(value.parse().ok()?))),
            "group" => self.group(Group::from_name(value)),
            "groups" => self.groups_of(value),
            "members" => self.members_of(value),
            _ => return None,
        })
    }

    fn user(&mut self, found: Result<Option<User>, Errno>) -> Result<(), Errno> {
        let Some(user) = missing_is_none(found)? else { return Ok(()) };
        let [home, shell] = [&user.dir, &user.shell].map(|path| path.to_str().unwrap_or("/"));
        let fields = [user.name.as_str(), home, shell];
        if fields.iter().any(|field| is_odd(field)) {
            return Err(Errno::EINVAL);
        }
        let (name, uid, gid) = (&user.name, user.uid, user.gid);
        self.passwd += &format!("{name}:x:{uid}:{gid}::{home}:{shell}\n");
        Ok(())
    }

    /// Without its members, of which there may be many: who asks for a name asks for no more.
    fn group(&mut self, found: Result<Option<Group>, Errno>) -> Result<(), Errno> {
        let Some(group) = missing_is_none(found)? else { return Ok(()) };
        if is_odd(&group.name) {
            return Err(Errno::EINVAL);
        }
        self.groups += &format!("{}:x:{}:\n", group.name, group.gid);
        Ok(())
    }

    fn groups_of(&mut self, name: &str) -> Result<(), Errno> {
        let Some(user) = missing_is_none(User::from_name(name))? else { return Ok(()) };
        let word = CString::new(name).map_err(|_| Errno::EINVAL)?;
        for gid in getgrouplist(&word, user.gid)? {
            let group = missing_is_none(Group::from_gid(gid))?;
            // A gid without a name is a group all the same.
            let group = group.map_or_else(|| format!("gid{gid}"), |group| group.name);
            if is_odd(&group) {
                return Err(Errno::EINVAL);
            }
            self.groups += &format!("{group}:x:{gid}:{}\n", user.name);
        }
        Ok(())
    }

    /// A member whose account does not exist gives no line.
    fn members_of(&mut self, name: &str) -> Result<(), Errno> {
        let Some(group) = missing_is_none(Group::from_name(name))? else { return Ok(()) };
        if is_odd(&group.name) || group.mem.iter().any(|member| is_odd(member)) {
            return Err(Errno::EINVAL);
        }
        for member in &group.mem {
            self.user(User::from_name(member))?;
        }
        self.groups += &format!("{}:x:{}:{}\n", group.name, group.gid, group.mem.join(","));
        Ok(())
    }
}

/// What would shift the fields of a line.
fn is_odd(field: &str) -> bool {
    field.contains(|c: char| c == ':' || c.is_control())
}

/// getpwnam(3): "The given name or uid was not found" comes with many an errno.
fn missing_is_none<T>(found: Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        found => found,
    }
}
