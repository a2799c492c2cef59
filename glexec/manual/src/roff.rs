//! Man pages in the macros of man(7).

/// A page while it is written. In texts, what stands between backticks is set in bold.
#[derive(Debug)]
pub(crate) struct Roff(String);

impl Roff {
    /// A page with its head and its first section. `summary` is one clause.
    pub(crate) fn new((name, section): (&str, u8), date: &str, summary: &str) -> Self {
        let title = name.to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        let head = format!(".TH \"{title}\" {section} {date} \"glexec {version}\" \"glexec\"\n");
        let mut page = Self(head);
        page.section("NAME");
        page.0 += &format!("{} \\- {}\n", plain(name), marked(summary));
        page
    }

    /// The whole page.
    pub(crate) fn end(self) -> String {
        self.0
    }

    pub(crate) fn section(&mut self, title: &str) {
        self.0 += &format!(".SH \"{}\"\n", plain(title));
    }

    pub(crate) fn subsection(&mut self, title: &str) {
        self.0 += &format!(".SS \"{}\"\n", plain(title));
    }

    /// Begins a paragraph; the first of a section begins by itself.
    fn begin(&mut self) {
        let last = self.0.lines().next_back().unwrap_or_default();
        if !last.starts_with(".SH") && !last.starts_with(".SS") {
            self.0 += ".PP\n";
        }
    }

    /// A call: a name, and what may stand behind it, in one paragraph.
    pub(crate) fn call(&mut self, name: &str, words: &str) {
        self.begin();
        self.0 += format!("\\fB{}\\fR {}", plain(name), plain(words)).trim_end();
        self.0 += "\n";
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.begin();
        self.0 += &format!("{}\n", marked(text));
    }

    /// A term and what is said of it.
    pub(crate) fn entry(&mut self, term: &str, text: &str) {
        self.0 += &format!(".TP\n{}\n{}\n", marked(term).replace('\n', " "), marked(text));
    }

    /// Lines as they are.
    pub(crate) fn verbatim(&mut self, text: &str) {
        self.begin();
        self.0 += &format!(".RS 4\n.EX\n{}.EE\n.RE\n", lines(text));
    }
}

/// Lines as they are; an empty one is a space, for roff makes something of its own of it.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", guarded(&plain(line)))).collect()
}

/// Bytes that roff would take for its own.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => out += "\\e",
            '-' => out += "\\-",
            '\'' => out += "\\(aq",
            '"' => out += "\\(dq",
            '^' => out += "\\(ha",
            '~' => out += "\\(ti",
            '…' => out += "...",
            '−' => out += "\\-",
            other => out.push(other),
        }
    }
    out
}

/// A line that begins with a control character of roff's, or with nothing, is none of its own.
fn guarded(line: &str) -> String {
    if line.is_empty() || line.starts_with(['.', ' ']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}

/// Running text: a sentence a line, and in bold what stands between backticks.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.trim().split('`').enumerate() {
        let part = plain(part);
        if at % 2 == 1 {
            out += &format!("\\fB{part}\\fR");
        } else {
            out += &part.replace(". ", ".\n").replace("..\n", ".. ");
        }
    }
    out.lines().map(guarded).collect::<Vec<_>>().join("\n")
}

/// A clause as a sentence; one that begins with a name stays as it is.
pub(crate) fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// What a reader sees of a page: without macros and escapes.
#[must_use]
pub fn shown(page: &str) -> String {
    let macros = [".SH ", ".SS ", ".TH "];
    let mut out = String::new();
    for line in page.lines() {
        let line = macros.iter().find_map(|name| line.strip_prefix(name)).unwrap_or(line);
        let is_macro = line.starts_with('.');
        let pairs = [
            ("\\fB", ""),
            ("\\fR", ""),
            ("\\&", ""),
            ("\\-", "-"),
            ("\\(aq", "'"),
            ("\\(dq", "\""),
            ("\\(ha", "^"),
            ("\\(ti", "~"),
            ("\\e", "\\"),
        ];
        let text = pairs.iter().fold(line.to_owned(), |text, (from, to)| text.replace(from, to));
        if !is_macro {
            out += &text;
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_roff_would_take_for_its_own_is_shown_as_it_is() {
        let text = "`-x` of \"it's\" a\\b. `.pool` and ~^. 'q' is next.";
        let mut page = Roff::new(("x", 1), "2026-01-01", "a page");
        page.paragraph(text);
        page.verbatim(".TH y\n\n'z");
        let page = page.end();
        assert!(!page.lines().any(|line| line.starts_with('\'') || line.starts_with(".pool")));
        assert_eq!(page.matches("\n.TH").count(), 0, "{page}");
        let seen = shown(&page);
        let text = text.replace('`', "").replace(". ", ".\n");
        assert!(seen.contains(&text) && seen.contains(".TH y\n\n'z\n"), "{seen}");
    }
}
