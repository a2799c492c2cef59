//! What glexec asks of glexec-lcmaps, and what it believes of the answer. That program has run the
//! site's own code over bytes of the caller's, so each word of it is judged again.

use super::config::{CredentialRule, LcmapsRule};
use super::refusal::Refusal;
use contract::Reason;
use nix::unistd::{Gid, Uid};
use std::ffi::CString;
use system::text::{cut, one_line};

/// What is taken of a clause, in bytes.
const LONGEST_CLAUSE: usize = 1024;
/// So many groups or notes are taken.
const MOST: usize = 1024;

/// Whom LCMAPS maps a credential to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The target's uid.
    pub uid: Uid,
    /// Its primary group: the first of LCMAPS's.
    pub gid: Gid,
    /// Its other groups.
    pub groups: Vec<Gid>,
    /// What the log is to be told.
    pub notes: Vec<String>,
}

/// The words for the helper; `maps` is false where the library and its database are only tried.
pub fn words(rule: &LcmapsRule, maps: bool) -> Vec<String> {
    let mut words = vec![format!("library={}", rule.library), format!("db={}", rule.database)];
    words.extend(rule.log_file.iter().map(|path| format!("log={path}")));
    words.extend((!rule.verifies_attributes).then(|| "attributes=believed".to_owned()));
    words.extend((!maps).then(|| "only=init".to_owned()));
    words
}

/// The helper's variables: LCMAPS and its plug-ins are configured by them.
pub fn environment(
    rule: &LcmapsRule,
    credential: &CredentialRule,
    without_key: bool,
) -> Vec<CString> {
    // The number under which glexec-lcmaps keeps what LCMAPS says.
    let mut all = vec![("LCMAPS_LOG_FILE", "/proc/self/fd/63".to_owned())];
    all.push(("LCMAPS_DB_FILE", rule.database.clone()));
    all.push(("LCMAPS_DEBUG_LEVEL", rule.debug_level.to_string()));
    all.extend(rule.policies.iter().map(|names| ("LCMAPS_POLICY_NAME", names.clone())));
    for name in ["X509_CERT_DIR", "LCMAPS_X509_CERT_DIR"] {
        all.push((name, credential.ca_dir.clone()));
    }
    for name in ["X509_VOMS_DIR", "LCMAPS_X509_VOMS_DIR"] {
        all.push((name, rule.vomsdir.clone()));
    }
    let absent = ("VERIFY_PROXY_DISCARD_PRIVATE_KEY_ABSENCE", "1".to_owned());
    all.extend(without_key.then_some(absent));
    all.into_iter()
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect()
}

/// Reads the answer; `None` where the library was only tried.
///
/// # Errors
/// [`Reason::NoMapping`] where LCMAPS refuses; [`Reason::Mapping`] for a fault of the site's, and
/// where the answer is none.
pub fn read_answer(answer: &[u8]) -> Result<Option<Mapped>, Refusal> {
    let text = std::str::from_utf8(answer).map_err(|_| none("is no UTF-8"))?;
    let (mut uid, mut refused, mut detail, mut tried) = (None, None, None, false);
    let (mut primary, mut groups, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let (key, value) = line.split_once('=').ok_or_else(|| none("has a line without a key"))?;
        match key {
            "uid" if uid.is_none() => uid = Some(Uid::from_raw(number(value)?)),
            "gid" if primary.len() < MOST => primary.push(Gid::from_raw(number(value)?)),
            "group" if groups.len() < MOST => groups.push(Gid::from_raw(number(value)?)),
            "note" if notes.len() < MOST => notes.push(clause(value)),
            "refused" if refused.is_none() => refused = Some(value),
            "detail" if detail.is_none() => detail = Some(clause(value)),
            "initialised" if value == "yes" => tried = true,
            _ => return Err(none("has a line that is not known, or too many of one kind")),
        }
    }
    let why = || {
        let told: Vec<String> = detail.iter().chain(&notes).cloned().collect();
        cut(told.join("; "), 2 * LONGEST_CLAUSE)
    };
    match (refused, uid, primary.first()) {
        (Some("lcmaps"), ..) => {
            let sentence = "LCMAPS does not map your credential";
            Err(Refusal::new(Reason::NoMapping, sentence)
                .detail(format!("LCMAPS refuses: {}", why()))
                .hint("ask the site; its log has what LCMAPS says"))
        }
        (Some("sites"), ..) => Err(Refusal::mapping(why())),
        (None, None, None) if tried => Ok(None),
        (None, Some(uid), Some(gid)) => {
            let (gid, others) = (*gid, primary.iter().skip(1).chain(&groups));
            let mut groups: Vec<Gid> = others.copied().filter(|other| *other != gid).collect();
            groups.sort_unstable_by_key(|gid| gid.as_raw());
            groups.dedup();
            Ok(Some(Mapped { uid, gid, groups, notes }))
        }
        _ => Err(none("names nobody")),
    }
}

fn number(text: &str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| none("has an id that is none"))
}

fn clause(text: &str) -> String {
    cut(one_line(text), LONGEST_CLAUSE)
}

fn none(why: &str) -> Refusal {
    Refusal::mapping(format!("the answer of glexec-lcmaps {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Syntax};

    #[test]
    fn an_answer_is_believed_word_by_word() {
        let gids = |numbers: &[u32]| numbers.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(5), Gid::from_raw(6));
        let mapped = Mapped { uid, gid, groups: gids(&[7, 9]), notes: vec!["n".to_owned()] };
        let good = b"uid=5\ngid=6\ngid=9\ngroup=7\ngroup=6\ngroup=9\nnote=n\n";
        assert_eq!(read_answer(good), Ok(Some(mapped)));
        assert_eq!(read_answer(b"initialised=yes\n"), Ok(None));
        for (bad, reason) in [
            ("", Reason::Mapping),
            ("uid=5\n", Reason::Mapping),
            ("gid=5\n", Reason::Mapping),
            ("uid=5\ngid=6\nuid=0\n", Reason::Mapping),
            ("uid=-1\ngid=6\n", Reason::Mapping),
            ("uid=5\ngid=6\nx=1\n", Reason::Mapping),
            ("root\n", Reason::Mapping),
            ("initialised=yes\nuid=5\n", Reason::Mapping),
            ("refused=lcmaps\ndetail=x\n", Reason::NoMapping),
            ("uid=5\ngid=6\nrefused=lcmaps\n", Reason::NoMapping),
            ("refused=sites\ndetail=/etc/x\nnote=y\n", Reason::Mapping),
            ("refused=nobody\n", Reason::Mapping),
        ] {
            let stop = read_answer(bad.as_bytes()).expect_err(bad);
            assert_eq!(stop.reason, reason, "{bad:?}");
            assert!(!stop.sentence.contains("/etc"), "not for the caller: {stop:?}");
        }
    }

    #[test]
    fn lcmaps_is_told_what_the_configuration_says_and_nothing_else() {
        let text = "[glexec]\nlcmaps_db_file = \"/db\"\nlcmaps_log_file = \"/l\"\nlcmaps_get_account_policy = \"a:b\"\nlcmaps_debug_level = 5\nlcmaps_voms_verification = false\n[mapping]\nmethods = [\"lcmaps\"]\n[mapping.lcmaps]\nca_dir = \"/c\"\nlibrary = \"/l.so\"\n";
        let config = Config::parse(text.as_bytes(), Syntax::Toml).unwrap();
        let (rule, credential) =
            (config.mapping.lcmaps.unwrap(), config.mapping.credential.unwrap());
        let entries: Vec<String> = environment(&rule, &credential, true)
            .into_iter()
            .map(|entry| entry.into_string().unwrap())
            .collect();
        assert_eq!(
            entries,
            [
                "LCMAPS_LOG_FILE=/proc/self/fd/63",
                "LCMAPS_DB_FILE=/db",
                "LCMAPS_DEBUG_LEVEL=5",
                "LCMAPS_POLICY_NAME=a:b",
                "X509_CERT_DIR=/c",
                "LCMAPS_X509_CERT_DIR=/c",
                "X509_VOMS_DIR=/etc/grid-security/vomsdir",
                "LCMAPS_X509_VOMS_DIR=/etc/grid-security/vomsdir",
                "VERIFY_PROXY_DISCARD_PRIVATE_KEY_ABSENCE=1",
            ]
        );
        assert_eq!(
            words(&rule, true),
            ["library=/l.so", "db=/db", "log=/l", "attributes=believed"]
        );
        let tried = words(&rule, false);
        assert_eq!(tried.last().map(String::as_str), Some("only=init"));
    }
}
