//! nsswitch.conf(5): which name services are asked, and after which answer no more.

/// A service of a line, and what follows from its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// Whether the next one is asked where this one knew something.
    pub(crate) goes_on_after_success: bool,
    /// The same where it knew nothing.
    pub(crate) goes_on_after_not_found: bool,
}

/// The services of a database's line; `None` where there is no such line. Of several the last
/// counts.
pub(crate) fn services(text: &str, database: &str) -> Option<Vec<Service>> {
    let lines = text.lines().filter_map(|line| line.split('#').next()?.split_once(':'));
    let (_, rest) = lines.rev().find(|(name, _)| name.trim() == database)?;
    let mut found: Vec<Service> = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (actions, behind) = inside.split_once(']').unwrap_or((inside, ""));
            if let Some(service) = found.last_mut() {
                actions.split_whitespace().for_each(|action| service.obey(action));
            }
            rest = behind.trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '[').unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            let name = name.to_owned();
            let (goes_on_after_success, goes_on_after_not_found) = (false, true);
            found.push(Service { name, goes_on_after_success, goes_on_after_not_found });
            rest = behind.trim_start();
        }
    }
    Some(found)
}

impl Service {
    /// The files alone: what there is without a line.
    pub(crate) fn files() -> Self {
        let name = "files".to_owned();
        Self { name, goes_on_after_success: false, goes_on_after_not_found: true }
    }

    /// One `STATUS=ACTION` or `!STATUS=ACTION`. What fails is an error here whatever it says.
    fn obey(&mut self, action: &str) {
        let Some((status, action)) = action.split_once('=') else { return };
        let goes_on = !action.eq_ignore_ascii_case("return");
        let (others, status) = status.strip_prefix('!').map_or((false, status), |s| (true, s));
        if status.eq_ignore_ascii_case("success") != others {
            self.goes_on_after_success = goes_on;
        }
        if status.eq_ignore_ascii_case("notfound") != others {
            self.goes_on_after_not_found = goes_on;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_actions() {
        let text = "# group: no\npasswd: files systemd\n group:\tfiles [NOTFOUND=return] sss[!SUCCESS=return] ldap [ success=continue Unavail=return ]  # x\ngroups: y\n";
        let read = |database| {
            services(text, database).map(|all| {
                let one = |s: &Service| {
                    (s.name.clone(), s.goes_on_after_success, s.goes_on_after_not_found)
                };
                all.iter().map(one).collect::<Vec<_>>()
            })
        };
        let of = |name: &str, success, not_found| (name.to_owned(), success, not_found);
        assert_eq!(read("passwd").unwrap(), [of("files", false, true), of("systemd", false, true)]);
        let group = [of("files", false, false), of("sss", false, false), of("ldap", true, true)];
        assert_eq!(read("group").unwrap(), group);
        assert_eq!(read("initgroups"), None);
        assert_eq!(services("group:", "group"), Some(vec![]));
        assert_eq!(services("group: [x", "group"), Some(vec![]));
        assert_eq!(services("group: a\ngroup: b", "group").unwrap()[0].name, "b");
    }
}
