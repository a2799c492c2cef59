//! Which subjects an authority may issue certificates for: `<hash>.signing_policy` of the Globus
//! Toolkit, with its entries of `access_id_CA`, `pos_rights` and `cond_subjects`.

use crate::wildcard;

/// One authority's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    authority: String,
    may_sign: bool,
    subjects: Vec<String>,
}

/// A file's entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SigningPolicy(Vec<Rule>);

impl SigningPolicy {
    /// Reads a file.
    ///
    /// # Errors
    /// The line, from 1, and a clause to follow it.
    pub fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut rules: Vec<Rule> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let bad = |why| (at + 1, why);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, rest) = word(line);
            let (kind, value) = self::word(rest);
            match (word, kind) {
                ("access_id_CA", "X509") => rules.push(Rule {
                    authority: unquoted(value)
                        .ok_or(bad("has no name of an authority"))?
                        .to_owned(),
                    may_sign: false,
                    subjects: Vec::new(),
                }),
                ("pos_rights", "globus") => {
                    let rule = rules.last_mut().ok_or(bad("stands before every access_id_CA"))?;
                    rule.may_sign |= value == "CA:sign";
                }
                ("cond_subjects", "globus") => {
                    let rule = rules.last_mut().ok_or(bad("stands before every access_id_CA"))?;
                    rule.subjects
                        .extend(subjects(value).ok_or(bad("has quotes that do not close"))?);
                }
                _ => return Err(bad("is no access_id_CA, pos_rights or cond_subjects")),
            }
        }
        Ok(Self(rules))
    }

    /// Whether this authority may issue a certificate for this subject; both as texts.
    #[must_use]
    pub fn allows(&self, authority: &str, subject: &str) -> bool {
        let (authority, subject) = (plain(authority), plain(subject));
        self.0.iter().filter(|rule| rule.may_sign && plain(&rule.authority) == authority).any(
            |rule| {
                rule.subjects.iter().any(|pattern| {
                    // `*` is the one wildcard there is.
                    let pattern = plain(pattern).replace('[', "[[]").replace('?', "[?]");
                    wildcard::matches(pattern.as_bytes(), subject.as_bytes()) == Ok(true)
                })
            },
        )
    }
}

fn word(line: &str) -> (&str, &str) {
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    (word, rest.trim())
}

/// What stands in a pair of single or double quotes, or without any.
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.chars().next()? {
        quote @ ('\'' | '"') => value.get(1..)?.strip_suffix(quote)?,
        _ => value,
    };
    Some(inner.trim()).filter(|inner| !inner.is_empty())
}

/// The patterns of a list: each in double quotes and all in single ones, or one without.
fn subjects(value: &str) -> Option<Vec<String>> {
    let inner = unquoted(value)?;
    if !inner.contains('"') {
        return Some(vec![inner.to_owned()]);
    }
    let pieces: Vec<&str> = inner.split('"').collect();
    let closed =
        pieces.len() % 2 == 1 && pieces.iter().step_by(2).all(|between| between.trim().is_empty());
    closed.then(|| pieces.iter().skip(1).step_by(2).map(|piece| (*piece).to_owned()).collect())
}

/// A name without what has changed in the texts of names since these files are written: the
/// backslash before `/` and `+`, and the words for a mail address and a user.
fn plain(name: &str) -> String {
    let name = name.replace("\\/", "/").replace("\\+", "+");
    let name = name.replace("/Email=", "/emailAddress=").replace("/E=", "/emailAddress=");
    name.replace("/USERID=", "/UID=")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n access_id_CA   X509   '/C=NL/O=CA'\n pos_rights     globus CA:sign\n cond_subjects  globus  '\"/C=NL/O=Users/*\" \"/DC=org/*\"'\n\naccess_id_CA X509 '/O=Other'\npos_rights globus CA:sign\ncond_subjects globus '/O=Other/OU=a b/*'\n";

    #[test]
    fn an_authority_signs_for_its_own_subjects() {
        let policy = SigningPolicy::parse(FILE).unwrap();
        for (authority, subject, allowed) in [
            ("/C=NL/O=CA", "/C=NL/O=Users/CN=host\\/x", true),
            ("/C=NL/O=CA", "/DC=org/CN=y", true),
            ("/C=NL/O=CA", "/O=Other/OU=a b/CN=y", false),
            ("/O=Other", "/O=Other/OU=a b/CN=y", true),
            ("/O=Other", "/DC=org/CN=y", false),
            ("/O=Third", "/DC=org/CN=y", false),
        ] {
            assert_eq!(policy.allows(authority, subject), allowed, "{authority} {subject}");
        }
        let no_rights = FILE.replace("CA:sign", "CA:look");
        assert!(!SigningPolicy::parse(&no_rights).unwrap().allows("/C=NL/O=CA", "/DC=org/CN=y"));
    }

    #[test]
    fn a_line_that_is_not_understood_is_told_with_its_number() {
        for (text, line) in [
            ("access_id_CA X509 '/O=x'\nneg_rights globus CA:sign\n", 2),
            ("\ncond_subjects globus '\"/O=x\"'\n", 2),
            ("access_id_CA X509 '/O=x'\ncond_subjects globus '\"/O=x'\n", 2),
            ("access_id_CA X509 '/O=x\n", 1),
            ("access_id_CA X509\n", 1),
        ] {
            assert_eq!(SigningPolicy::parse(text).map_err(|(line, _)| line), Err(line), "{text}");
        }
    }
}
