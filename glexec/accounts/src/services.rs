//! Whether the C library's answer is whole. getgrouplist(3) passes over a service that fails, and
//! getpwnam(3) may take a failure for "unknown": an account would lose supplementary groups, or
//! not exist, while a service is down. So every service of the line is asked for itself.

use crate::module::{GateOpener, Module, Said};
use crate::switch::{Service, services};
use std::ffi::CStr;
use std::io::ErrorKind;

/// passwd or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Passwd,
    Group,
}

impl Database {
    const fn name(self) -> &'static str {
        match self {
            Self::Passwd => "passwd",
            Self::Group => "group",
        }
    }

    const fn function(self, key: GateOpener<'_>) -> &'static str {
        match (self, key) {
            (Self::Passwd, GateOpener::Name(_)) => "getpwnam_r",
            (Self::Passwd, GateOpener::Id(_)) => "getpwuid_r",
            (Self::Group, GateOpener::Name(_)) => "getgrnam_r",
            (Self::Group, GateOpener::Id(_)) => "getgrgid_r",
        }
    }
}

/// That no service knows an account or group that the C library does not.
///
/// # Errors
/// A clause that names the service which failed, or knows it.
pub(crate) fn none_knows(database: Database, key: GateOpener<'_>) -> Result<(), String> {
    let line = line(&[database.name()])?.0;
    for service in line {
        match ask(
            &service.name,
            || file_knows(database, key),
            |m| m.knows(database.function(key), key),
        ) {
            Said::NotFound if service.goes_on_after_not_found => {}
            Said::NotFound => return Ok(()),
            Said::Knows(()) => {
                return Err(format!("{}: it knows what the C library does not", service.name));
            }
            Said::Fails(why) => return Err(format!("{}: {why}", service.name)),
        }
    }
    Ok(())
}

/// That the C library's answer has every group that a service tells of this account.
///
/// # Errors
/// A clause that names the service which failed, or whose group is not there.
pub(crate) fn are_all_groups(user: &CStr, primary: u32, answer: &[u32]) -> Result<(), String> {
    let (line, own_line) = line(&["initgroups", "group"])?;
    for service in line {
        let files = || file_groups(user);
        let goes_on = match ask(&service.name, files, |m| m.groups_of(user, primary)) {
            Said::NotFound => service.goes_on_after_not_found,
            Said::Knows(gids) => {
                let lost = gids.iter().find(|gid| **gid != primary && !answer.contains(gid));
                if let Some(gid) = lost {
                    let what = "which the C library has not told";
                    return Err(format!("{}: it tells group {gid}, {what}", service.name));
                }
                // As in the C library: a line of `group` is gone through to its end.
                !own_line || service.goes_on_after_success
            }
            Said::Fails(why) => return Err(format!("{}: {why}", service.name)),
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// The services of the first of these databases that has a line, and whether it was the first.
fn line(databases: &[&str]) -> Result<(Vec<Service>, bool), String> {
    const SWITCH: &str = "/etc/nsswitch.conf";
    let text = match text_of(SWITCH) {
        Ok(text) => text,
        // Then the files are all there is.
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(format!("{SWITCH} cannot be read: {error}")),
    };
    let text = String::from_utf8_lossy(&text);
    let found = databases.iter().enumerate().find_map(|(at, name)| {
        let several = databases.len() > 1;
        services(&text, name).map(|line| (line, several && at == 0))
    });
    Ok(found.unwrap_or_else(|| (vec![Service::files()], false)))
}

/// systemd's service may be named where it is not installed, as Debian does: glexec does not ask
/// it where it reads the files itself, either.
fn ask<T>(
    service: &str,
    files: impl FnOnce() -> Said<T>,
    module: impl FnOnce(&Module) -> Said<T>,
) -> Said<T> {
    match service {
        "files" => files(),
        name => match Module::load(name) {
            Ok(loaded) => module(&loaded),
            Err(_) if name == "systemd" => Said::NotFound,
            Err(why) => Said::Fails(why),
        },
    }
}

#[expect(clippy::disallowed_methods, reason = "as the C library does, with nothing of root's")]
fn text_of(path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').collect()
}

fn read<T>(database: Database, find: impl FnOnce(&[u8]) -> Said<T>) -> Said<T> {
    let path = format!("/etc/{}", database.name());
    match text_of(&path) {
        Ok(text) => find(&text),
        Err(error) => Said::Fails(format!("{path} cannot be read: {error}")),
    }
}

fn file_knows(database: Database, key: GateOpener<'_>) -> Said<()> {
    read(database, |text| {
        let is_it = |line: &[u8]| {
            let fields = fields(line);
            match key {
                GateOpener::Name(name) => {
                    fields.len() > 3 && fields.first() == Some(&name.to_bytes())
                }
                GateOpener::Id(id) => fields.get(2) == Some(&id.to_string().as_bytes()),
            }
        };
        let known = text.split(|byte| *byte == b'\n').any(is_it);
        if known { Said::Knows(()) } else { Said::NotFound }
    })
}

fn file_groups(user: &CStr) -> Said<Vec<u32>> {
    read(Database::Group, |text| {
        let gids = groups_in(text, user.to_bytes());
        if gids.is_empty() { Said::NotFound } else { Said::Knows(gids) }
    })
}

/// The groups of group(5) that list an account.
fn groups_in(text: &[u8], user: &[u8]) -> Vec<u32> {
    let gid = |line: &[u8]| {
        let fields = fields(line);
        let members = fields.get(3)?;
        let gid = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
        members.split(|byte| *byte == b',').any(|member| member == user).then_some(gid)
    };
    text.split(|byte| *byte == b'\n').filter_map(gid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_that_list_an_account_are_found() {
        let text = b"root:x:0:\na:x:5:u,v\nb:x:6:vu\nc:x:7:x,u\nodd:x:u\n";
        assert_eq!(groups_in(text, b"u"), [5, 7]);
        assert_eq!(groups_in(b"", b"u"), [] as [u32; 0]);
    }
}
