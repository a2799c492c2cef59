//! Colours, for who reads on a terminal and has not said otherwise.

use std::io::IsTerminal as _;

/// Whether stdout is a terminal that takes colours; `NO_COLOR`, not empty, says no (no-color.org).
pub(super) fn has_colours() -> bool {
    #[expect(clippy::disallowed_methods, reason = "no rights to lose, and one word of colour")]
    let value = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_dumb = value("TERM").is_none_or(|term| term == "dumb");
    std::io::stdout().is_terminal() && value("NO_COLOR").is_none() && !is_dumb
}

/// A word, as wide as this, in the colour of what it says.
pub(super) fn painted(word: &str, width: usize, colours: bool) -> String {
    const RED: &str = "\u{1b}[31m";
    const YELLOW: &str = "\u{1b}[33m";
    const PLAIN: &str = "\u{1b}[0m";
    let padded = format!("{word:<width$}");
    let colour = match word {
        "ERROR" => RED,
        "WARNING" => YELLOW,
        _ => return padded,
    };
    if colours { format!("{colour}{padded}{PLAIN}") } else { padded }
}

#[cfg(test)]
mod tests {
    use super::painted;

    #[test]
    fn only_what_is_wrong_has_a_colour_and_the_text_keeps_its_column() {
        assert_eq!(painted("ERROR", 7, true), "\u{1b}[31mERROR  \u{1b}[0m");
        assert_eq!(painted("WARNING", 7, true), "\u{1b}[33mWARNING\u{1b}[0m");
        assert_eq!(painted("ERROR", 7, false), "ERROR  ");
        assert_eq!(painted("config", 7, true), "config ");
    }
}
