//! The files of one configuration. A place in them is one number: a byte offset in all their texts,
//! each behind the one before.

use super::entries::Bad;
use super::words::{malformed, text};
use super::{Malformed, Syntax};

/// One file of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, for what is told of it.
    pub path: String,
    /// What is in it.
    pub text: Vec<u8>,
    /// How it is written.
    pub syntax: Syntax,
}

/// The same, as text.
#[derive(Debug)]
pub(super) struct Texts<'a>(pub(super) Vec<Text<'a>>);

#[derive(Debug)]
pub(super) struct Text<'a> {
    /// Where it begins.
    pub(super) begin: usize,
    pub(super) text: &'a str,
    pub(super) file: &'a SourceFile,
}

impl<'a> Texts<'a> {
    /// Looks at the bytes of each.
    ///
    /// # Errors
    /// [`Malformed`] where they are no text.
    pub(super) fn of(files: &'a [SourceFile]) -> Result<Self, Malformed> {
        let (mut texts, mut begin) = (Vec::new(), 0);
        for file in files {
            let text = text(&file.text);
            let text = text.map_err(|bad| Malformed { path: file.path.clone(), ..bad })?;
            texts.push(Text { begin, text, file });
            // The end of a text is a place, too.
            begin += text.len() + 1;
        }
        Ok(Self(texts))
    }

    fn within(&self, at: usize) -> Option<&Text<'a>> {
        self.0.iter().rev().find(|text| text.begin <= at)
    }

    /// Whether a place is in a file of the original's syntax.
    pub(super) fn is_original(&self, at: usize) -> bool {
        self.within(at).is_some_and(|text| text.file.syntax == Syntax::Original)
    }

    /// What is wrong, with its place.
    pub(super) fn malformed(&self, bad: &Bad) -> Malformed {
        let Some(Text { begin, text, file }) = self.within(bad.at) else {
            return malformed("", 0, &bad.sentence);
        };
        Malformed { path: file.path.clone(), ..malformed(text, bad.at - begin, &bad.sentence) }
    }

    /// Path and line of a place.
    pub(super) fn place(&self, at: usize) -> (String, usize) {
        let Malformed { path, line, .. } = self.malformed(&Bad { at, sentence: String::new() });
        (path, line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Listed, LogDestination, LogRule, Means, shown};
    use super::*;

    fn files(texts: &[&str]) -> Vec<SourceFile> {
        let source_file = |(at, text): (usize, &&str)| SourceFile {
            path: format!("/{at}"),
            text: text.as_bytes().to_vec(),
            // As at a site: the first alone may be in the original's.
            syntax: if at == 0 && text.starts_with('#') { Syntax::Original } else { Syntax::Toml },
        };
        texts.iter().enumerate().map(source_file).collect()
    }

    fn read(texts: &[&str]) -> Result<Config, Malformed> {
        Config::read(&files(texts))
    }

    #[track_caller]
    fn refused(texts: &[&str], place: (&str, usize, usize), part: &str) {
        let bad = read(texts).expect_err("must be refused");
        assert_eq!((bad.path.as_str(), bad.line, bad.column), place, "{bad:?}");
        assert!(bad.sentence.contains(part), "{part} in {bad:?}");
    }

    fn row(caller: &str) -> String {
        format!("[[mapping.static]]\ncaller = \"{caller}\"\naccount = \"a\"\n")
    }

    #[test]
    fn tables_of_several_files_are_one_and_their_rows_are_joined_in_order() {
        let all = [
            "[glexec]\nkill_grace = 1\n[mapping]\nbanned = [\"x\"]\n".to_owned() + &row("b"),
            "[glexec]\nlinger = false\n".to_owned(),
            row("c") + &row("a") + "[mapping.gridmap]\ngrid_mapfile = \"/g\"\n",
            "[mapping]\nmethods = [\"gridmap\", \"static\"]\n[mapping.gridmap]\nca_dir = \"/c\"\n"
                .to_owned(),
        ];
        let one = "[glexec]\nkill_grace = 1\nlinger = false\n[mapping]\nbanned = [\"x\"]\n\
            methods = [\"gridmap\", \"static\"]\n[mapping.gridmap]\ngrid_mapfile = \"/g\"\n\
            ca_dir = \"/c\"\n"
            .to_owned()
            + &row("b")
            + &row("c")
            + &row("a");
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(read(&all), read(&[&one]));
        assert_eq!(read(&all).map(|config| config.mapping.rows.len()), Ok(3));
    }

    #[test]
    fn a_key_of_two_files_is_refused_with_both_places() {
        let first = "\n[glexec]\nkill_grace = 1\nuser_white_list = []\n[mapping]\nstatic = []\n";
        for (second, place, part) in [
            ("[glexec]\n kill_grace = 1", (2, 2), "`kill_grace` stands in /0:3 already; keep one"),
            ("[glexec]\nuser_white_list = []", (2, 1), "stands in /0:4 already"),
            ("[mapping]\nstatic = []", (2, 1), "`static` stands in /0:6 already"),
            ("\nglexec = 3", (2, 10), "`glexec`: invalid type"),
        ] {
            refused(&[first, second], ("/1", place.0, place.1), part);
            let between = "[glexec]\nlinger = true\n";
            refused(&[first, between, second], ("/2", place.0, place.1), part);
        }
        let row = row("a");
        let rows_and_words = "[mapping]\nstatic = [1]";
        refused(&[&row, rows_and_words], ("/1", 2, 11), "`static`: invalid type");
    }

    #[test]
    fn a_list_is_added_to_in_the_order_of_the_files() {
        let named = |names: &[&str]| {
            names.iter().map(|name| Listed::Name((*name).to_owned())).collect::<Vec<_>>()
        };
        let list = |word: &str, names: &str| format!("[glexec]\nuser_white_list{word} = [{names}]");
        let texts = [
            list("_add", "\"b\", \"c\""),
            list("", "\"a\""),
            list("_add", "\"d\""),
            "[glexec]\ngroup_white_list_add = [\"g\"]".to_owned(),
            "[mapping]\nmethods_add = [\"pool\"]".to_owned(),
        ];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let config = read(&texts).expect("a configuration");
        assert_eq!(config.user_white_list, named(&["a", "b", "c", "d"]));
        assert_eq!(config.group_white_list, named(&["g"]));
        assert_eq!(config.mapping.methods, [Means::Static, Means::Pool]);
        let shown = shown(&files(&texts)).expect("a configuration");
        let of = |name: &str| shown.iter().find(|shown| shown.key == name).expect("shown");
        let places = |names: &[(&str, usize)]| {
            names.iter().map(|(path, line)| ((*path).to_owned(), *line)).collect::<Vec<_>>()
        };
        assert_eq!(of("user_white_list").places, places(&[("/1", 2), ("/0", 2), ("/2", 2)]));
        assert_eq!(of("mapping.methods").places, places(&[("/4", 2)]));
        assert_eq!(of("mapping.methods").value, "[\"static\", \"pool\"]");
        assert!(of("user_white_list").about.contains("`user_white_list_add` adds to it"));
        assert!(!of("kill_grace").about.contains("_add"));
    }

    #[test]
    fn what_is_no_list_is_not_added_to() {
        let row = format!("{}accounts_add = [\"b\"]", row("a"));
        for (text, place) in [
            ("[glexec]\nkill_grace_add = 1", (2, 1)),
            ("[glexec]\nuser_white_list_add_add = []", (2, 1)),
            ("[mapping]\nstatic_add = []", (2, 1)),
            (&row, (4, 1)),
        ] {
            refused(&["", text], ("/1", place.0, place.1), "unknown key");
        }
        refused(&["", "[glexec]\nuser_white_list_add = 1"], ("/1", 2, 23), "invalid type");
        refused(&["", "[glexec]\nuser_white_list_add = [\"\"]"], ("/1", 2, 24), "empty");
    }

    #[test]
    fn what_is_wrong_in_a_later_file_is_told_with_its_path_line_and_column() {
        let first = "[glexec]\n# one\n# two\n";
        for (second, line, column, part) in [
            ("[glexec]\nlingr = true", 2, 1, "did you mean `linger`"),
            ("[glexec]\nlinger = 1", 2, 10, "invalid type"),
            ("[glexec", 1, 8, "not TOML"),
            ("\n\n[glexec]\nlinger =\n", 4, 9, "not TOML"),
            ("[glexec]\nlinger = true\nlinger = true", 3, 1, "stands in line 2 already"),
            ("\u{1}", 1, 1, "control character"),
            ("[glexec]\npath = \"x\"", 2, 8, "`path`"),
        ] {
            refused(&[first, second, "[glexec]\nkill_grace = 1"], ("/1", line, column), part);
        }
    }

    #[test]
    fn a_file_beside_the_first_that_was_cut_to_nothing_is_none_that_says_nothing() {
        let first = "[glexec]\nuser_white_list = [\"pilot\"]\n".to_owned() + &row("pilot");
        for cut in ["", "# of the site's\n", "[mapping]\n", "\n[mapping]\n[mapping.gridmap]\n"] {
            refused(&[&first, cut], ("/1", 1, 1), "no key at all");
        }
        assert!(read(&[&first, "[mapping]\nbanned = []\n"]).is_ok());
        assert!(read(&[""]).is_ok(), "the first alone refuses everybody");
    }

    #[test]
    fn a_mapping_of_its_own_beside_the_originals_file_is_enough() {
        let old = "# old\n[glexec]\nuser_white_list = pilot\nlog_level = 9\nunknown = 1\n";
        let added = format!("[glexec]\nuser_white_list_add = [\"ops\"]\n{}", row("pilot"));
        let config = read(&[old, &added]).expect("a configuration");
        assert_eq!((config.mapping.rows.len(), config.user_white_list.len()), (1, 2));
        assert_eq!(config.log.level, 5);
        // Ours stays strict.
        refused(&[old, "[glexec]\nunknown = 1"], ("/1", 2, 1), "unknown key");
        refused(&["# old\n", "[glexec]\nlog_level = 9"], ("/1", 2, 13), "9 is not in");
        let lines = "# old\n[mapping]\npilot = a\n";
        refused(&[lines, &row("x")], ("/1", 1, 1), "`static`: /0:3 maps in the original's syntax");
        assert!(read(&[lines, "[glexec]\nkill_grace = 3"]).is_ok());
    }

    #[test]
    fn the_log_is_known_from_every_file_though_one_is_wrong() {
        let log = "[glexec]\nlog_destination = \"journal\"\n";
        for texts in [["[glexec]\nlingr = 1", log], [log, "[glexec]\nlinger = 7"], [log, "[gl"]] {
            let rule = LogRule::of_what_can_be_read(&files(&texts));
            assert_eq!(
                rule.map(|rule| rule.destination),
                Some(LogDestination::Journal),
                "{texts:?}"
            );
        }
    }
}
