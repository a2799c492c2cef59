//! A job of HTCondor's and what is known of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One job of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    /// The submission it is of.
    pub cluster: u32,
    /// Its number in that, from 0.
    pub process: u32,
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.cluster, self.process)
    }
}

impl FromStr for JobId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (cluster, process) =
            text.split_once('.').ok_or_else(|| anyhow::anyhow!("no job: {text:?}"))?;
        Ok(Self { cluster: cluster.parse()?, process: process.parse()? })
    }
}

/// A job ad: attributes with the text of their values, strings without their quotes.
#[derive(Clone, PartialEq, Eq)]
pub struct Ad(BTreeMap<String, String>);

impl Ad {
    /// The first ad of what `condor_q -long` and `condor_history -long` print.
    pub(crate) fn parse(long: &str) -> Option<Self> {
        let lines = long.lines().skip_while(|line| line.trim().is_empty());
        let lines = lines.take_while(|line| !line.trim().is_empty());
        let pairs = lines.filter_map(|line| line.split_once(" = "));
        let ad: BTreeMap<_, _> =
            pairs.map(|(name, value)| (name.to_owned(), text(value))).collect();
        (!ad.is_empty()).then_some(Self(ad))
    }

    /// An attribute's value; case does not matter in names.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.as_str()))
    }

    /// Whether an attribute has this value.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    /// An attribute that is a whole number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// Whether the job has a slot and was started there.
    pub fn is_running(&self) -> bool {
        self.is("JobStatus", "2")
    }

    /// Whether the job came to its end by itself.
    pub fn is_completed(&self) -> bool {
        self.is("JobStatus", "4")
    }

    /// Whether the job was removed.
    pub fn is_removed(&self) -> bool {
        self.is("JobStatus", "3")
    }

    /// Whether the job is held; why is in `HoldReason`.
    pub fn is_held(&self) -> bool {
        self.is("JobStatus", "5")
    }

    /// Every attribute.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What tells how a job fares: an ad has some 100 attributes.
impl fmt::Debug for Ad {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let telling = ["Status", "Exit", "Hold", "Remove", "Owner", "Cmd", "Arg", "NumJobStarts"];
        let shown = self.all().filter(|(name, _)| telling.iter().any(|word| name.contains(word)));
        formatter.debug_map().entries(shown).finish()
    }
}

/// A literal's text; any other expression as it is.
fn text(value: &str) -> String {
    let quoted = value.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(quoted) = quoted else { return value.trim().to_owned() };
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ad_is_read_to_its_first_empty_line() {
        let ad =
            Ad::parse("\nExitCode = 7\nCmd = \"/bin/\\\"x\\\\y\"\nT = a = b\n\nExitCode = 8\n");
        let ad = ad.expect("an ad");
        assert_eq!(ad.number("exitcode"), Some(7));
        assert_eq!((ad.get("Cmd"), ad.get("T")), (Some("/bin/\"x\\y"), Some("a = b")));
        assert_eq!(Ad::parse(" \n\n"), None);
    }
}
