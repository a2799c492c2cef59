//! The lines of the control descriptor (docs/streams.md).

/// Signals that can be ordered, by name. What is not here a payload does not expect from outside.
const KNOWN: [(&str, u8); 13] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("XCPU", 24),
    ("WINCH", 28),
];

/// The signal that a line names, newline excluded: upper case, with or without `SIG`.
#[must_use]
pub fn order(line: &str) -> Option<u8> {
    let name = line.strip_prefix("SIG").unwrap_or(line);
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The line, newline excluded, that orders this signal; `None` where it cannot be ordered.
#[must_use]
pub fn order_line(signal: u8) -> Option<&'static str> {
    KNOWN.iter().find(|(_, known)| *known == signal).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_upper_case_names() {
        assert_eq!(order("TERM"), Some(15));
        assert_eq!(order("SIGUSR1"), Some(10));
        for bad in ["", "term", "9", "KILL ", "SIGSIGKILL", "SEGV"] {
            assert_eq!(order(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_ordered_is_understood() {
        for signal in 0..=64 {
            if let Some(line) = order_line(signal) {
                assert_eq!(order(line), Some(signal));
            }
        }
    }
}
