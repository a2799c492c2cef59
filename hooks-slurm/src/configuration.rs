//! What `scontrol show config` says. Pure.

/// `Key = value`, a line each.
#[derive(Debug, Default)]
pub(crate) struct Configuration(Vec<(String, String)>);

impl Configuration {
    pub(crate) fn read(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self(lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// A key's value; empty and Slurm's literal `(null)` are `None`.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str()).filter(|v| !v.is_empty() && *v != "(null)")
    }

    /// The values of a key that may be there several times, `Key[0]`, `Key[1]` and so on.
    pub(crate) fn values(&self, key: &str) -> Vec<String> {
        let is_it = |known: &str| known.split('[').next() == Some(key);
        let all = self.0.iter().filter(|(known, _)| is_it(known)).map(|(_, value)| value.clone());
        all.filter(|value| !value.is_empty() && value != "(null)").collect()
    }

    /// A span such as `30 sec`; none where Slurm sets no limit.
    pub(crate) fn seconds(&self, key: &str) -> Option<u64> {
        // NO_VAL16 of slurm.h.
        const NO_LIMIT: u64 = 65534;
        let number = self.value(key)?.split(' ').next()?.parse().ok()?;
        (number < NO_LIMIT).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurms_configuration_is_read_by_lines() {
        let text = "Configuration data as of x\nKillWait                = 30 sec\nProlog                  = (null)\nA = b=c\n";
        let all = Configuration::read(text);
        assert_eq!(all.value("KillWait"), Some("30 sec"));
        assert_eq!(all.value("A"), Some("b=c"));
        assert_eq!((all.value("Prolog"), all.value("None")), (None, None));
        assert_eq!(all.seconds("KillWait"), Some(30));
        let several =
            Configuration::read("Prolog[0] = /a\nProlog[1] = /b\nPrologFlags = x\nT = 65534\n");
        assert_eq!(several.values("Prolog"), ["/a", "/b"]);
        assert_eq!((several.seconds("T"), all.values("Prolog").len()), (None, 0));
    }
}
