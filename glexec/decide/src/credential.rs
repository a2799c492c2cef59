//! What glexec asks of glexec-credential, and what it believes of the answer. That program has read
//! bytes of the caller's, so each word of it is judged again.

use super::config::{
    Config, CredentialRule, GridmapRule, IssuerRow, Means, TokenRule, account_name,
};
use super::environment::Environ;
use super::refusal::Refusal;
use contract::{Reason, variables};
use std::ffi::CStr;
use system::text::{cut, escaped, one_line};

/// The longest subject that is taken.
const LONGEST_SUBJECT: usize = 8192;
/// What is taken of a clause, in bytes.
const LONGEST_CLAUSE: usize = 1024;
/// So many accounts or notes are taken.
const MOST: usize = 64;

/// A verified credential's subject, and what the site's files say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The subject of the user's own certificate, as grid-mapfiles have it; of a token issuer and
    /// subject, with a comma between them.
    pub subject: String,
    /// Whether it is a token.
    pub by_token: bool,
    /// When it ends, in seconds since 1970.
    pub until: i64,
    /// Whom the subject is mapped to.
    pub mapped: Mapped,
    /// What the log is to be told.
    pub notes: Vec<String>,
    /// The verified path and the key as text, where LCMAPS is to map it; else empty.
    pub pem: Vec<u8>,
}

/// What the grid-mapfile says of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// Nothing.
    Nobody,
    /// These accounts; never empty.
    Accounts(Vec<String>),
    /// An account of this pool.
    Pool(String),
}

/// What a caller presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented<'e> {
    /// The variable that names it.
    pub variable: &'static str,
    /// Its path.
    pub path: &'e [u8],
    /// Whether it is a token.
    pub by_token: bool,
}

/// The credential that counts: of the methods that ask for one, the first whose variable is set has
/// it. What other programs find a token by, which may be a pilot's own, comes last.
pub fn presented<'e>(config: &Config, environ: &'e Environ) -> Option<Presented<'e>> {
    let find = |variable, by_token| {
        environ.get(variable).map(|path| Presented { variable, path, by_token })
    };
    let mut methods = config.mapping.methods.iter();
    let named = methods.find_map(|method| match method {
        Means::Gridmap | Means::Lcmaps => find(variables::CLIENT_CERT, false),
        Means::Token => find(variables::CLIENT_TOKEN, true),
        Means::Static | Means::Pool | Means::Lines => None,
    });
    let found = || config.mapping.token.as_ref().and(find(variables::BEARER_TOKEN_FILE, true));
    named.or_else(found)
}

/// A refusal of a credential, with its path for the log.
pub fn in_file(stop: Refusal, path: &CStr) -> Refusal {
    if stop.reason != Reason::Credential {
        return stop;
    }
    let path = cut(escaped(path.to_bytes()), LONGEST_CLAUSE);
    let detail = stop.detail.as_ref().map_or(path.clone(), |detail| format!("{path}: {detail}"));
    stop.detail(detail)
}

/// The words about the certificates of this uid on the helper's standard input.
pub fn about_certificates(owner: u32, without_key: bool, with_pem: bool) -> Vec<String> {
    let mut words = vec![format!("owner={owner}")];
    words.extend(without_key.then(|| "key=optional".to_owned()));
    words.extend(with_pem.then(|| "pem=wanted".to_owned()));
    words
}

/// The words about what tokens are verified and mapped by; `files` are the descriptors of the map
/// file and of each issuer's keys.
pub fn token_words(rule: &TokenRule, files: &[i32]) -> Vec<String> {
    let mut words = vec![format!("skew={}", rule.skew)];
    let mut files = files.iter();
    words.extend(files.next().map(|number| format!("map={number}:{}", rule.mapfile)));
    for (IssuerRow { issuer, keys, audiences, scopes }, number) in rule.issuers.iter().zip(files) {
        words.extend([format!("issuer={issuer}"), format!("keys={number}:{keys}")]);
        words.extend(audiences.iter().map(|name| format!("audience={name}")));
        words.extend(scopes.iter().map(|name| format!("scope={name}")));
    }
    words
}

/// What the helper is to look at.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// What the site accepts.
    pub credential: &'q CredentialRule,
    /// The site's files, where "gridmap" is asked.
    pub gridmap: Option<&'q GridmapRule>,
    /// The directory of authorities, without links.
    pub ca_dir: &'q str,
    /// The descriptor of the grid-mapfile.
    pub map: Option<i32>,
    /// The descriptor of the ban file.
    pub ban: Option<i32>,
}

impl Question<'_> {
    /// The words for the bytes of a file of this uid on the helper's standard input.
    pub fn for_copy(owner: u32) -> Vec<String> {
        vec![format!("copy={owner}")]
    }

    /// The words about the files.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![format!("ca_dir={}", self.ca_dir)];
        let files = [
            ("map", self.map, self.gridmap.map(|rule| &rule.grid_mapfile)),
            ("ban", self.ban, self.gridmap.and_then(|rule| rule.ban_file.as_ref())),
        ];
        let files = files.into_iter().filter_map(|(key, number, path)| Some((key, number?, path?)));
        words.extend(files.map(|(key, number, path)| format!("{key}={number}:{path}")));
        words.extend(self.credential.accept.iter().map(|word| format!("accept={word}")));
        words
    }
}

/// Reads the answer about a file of the caller's that is to be copied: its bytes.
///
/// # Errors
/// As [`read_answer`].
pub fn read_copy<'a>(answer: &'a [u8], variable: &str) -> Result<&'a [u8], Refusal> {
    const MARK: &[u8] = b"copy\n";
    let why = || read_answer(answer, variable, &[]).err().unwrap_or_else(|| none("is no copy"));
    answer.strip_prefix(MARK).ok_or_else(why)
}

/// Reads the answer about a credential, which this variable of the caller's names: about a token of
/// these issuers, or, where there are none, about certificates.
///
/// # Errors
/// What the program refused: [`Reason::Credential`], [`Reason::Mapping`], [`Reason::Banned`]; and
/// [`Reason::Mapping`] where the answer is none.
pub fn read_answer(
    answer: &[u8],
    variable: &str,
    issuers: &[IssuerRow],
) -> Result<Credential, Refusal> {
    let (text, pem) = parted(answer);
    let text = std::str::from_utf8(text).map_err(|_| none("is no UTF-8"))?;
    let (mut subject, mut until, mut pool) = (None, None, None);
    let (mut accounts, mut notes, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let (key, value) = line.split_once('=').ok_or_else(|| none("has a line without a key"))?;
        match key {
            "subject" if subject.is_none() => subject = Some(value),
            "until" if until.is_none() => until = value.parse().ok(),
            "pool" if pool.is_none() => pool = Some(value),
            "account" if accounts.len() < MOST => accounts.push(value.to_owned()),
            "note" if notes.len() < MOST => notes.push(clause(value)),
            "refused" | "clause" | "detail" if refused.len() < 3 => refused.push((key, value)),
            _ => return Err(none("has a line that is not known, or too many of one kind")),
        }
    }
    if !refused.is_empty() {
        let refusal = refusal(&refused, variable);
        return Err(refusal.unwrap_or_else(|| none("refuses without a word")));
    }
    let by_token = !issuers.is_empty();
    let subject = subject.filter(|subject| is_subject(subject, issuers));
    let subject = subject.ok_or_else(|| none("has no subject"))?;
    let until = until.ok_or_else(|| none("has no end"))?;
    let is_name = |name: &str| account_name(name).is_ok();
    if !accounts.iter().map(String::as_str).chain(pool).all(is_name) {
        return Err(none("names no account"));
    }
    let mapped = match (accounts.is_empty(), pool) {
        (true, None) => Mapped::Nobody,
        (true, Some(pool)) if !by_token => Mapped::Pool(pool.to_owned()),
        (false, None) => Mapped::Accounts(accounts),
        (_, Some(_)) => return Err(none("maps to a pool what has none")),
    };
    let (subject, pem) = (subject.to_owned(), pem.to_vec());
    Ok(Credential { subject, by_token, until, mapped, notes, pem })
}

/// The lines of an answer, and the text behind the last of them, where there is one.
fn parted(answer: &[u8]) -> (&[u8], &[u8]) {
    const MARK: &[u8] = b"\npem\n";
    let at = answer.windows(MARK.len()).position(|window| window == MARK);
    let parts = at.and_then(|at| Some((answer.get(..at)?, answer.get(at + MARK.len()..)?)));
    parts.unwrap_or((answer, &[]))
}

/// Printable, and begun as every subject is: with one of the issuers, where there are any.
fn is_subject(text: &str, issuers: &[IssuerRow]) -> bool {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let of = |row: &IssuerRow| text.strip_prefix(&row.issuer)?.strip_prefix(',');
    let is_begun = match issuers {
        [] => text.starts_with('/'),
        rows => rows.iter().any(|row| of(row).is_some_and(|subject| !subject.is_empty())),
    };
    is_begun && text.len() <= LONGEST_SUBJECT && printable
}

fn clause(text: &str) -> String {
    cut(one_line(text), LONGEST_CLAUSE)
}

fn none(why: &str) -> Refusal {
    Refusal::mapping(format!("the answer of glexec-credential {why}"))
}

fn refusal(lines: &[(&str, &str)], variable: &str) -> Option<Refusal> {
    let of = |key: &str| lines.iter().find(|(found, _)| *found == key).map(|(_, value)| *value);
    let (whose, told) = (of("refused")?, clause(of("clause")?));
    let detail = of("detail").filter(|detail| !detail.is_empty()).map(clause);
    let refusal = match whose {
        "callers" => {
            let sentence = format!("the credential in {variable} {told}");
            let refusal = Refusal::new(Reason::Credential, sentence);
            return Some(match detail {
                Some(detail) => refusal.detail(detail),
                None => refusal,
            });
        }
        "sites" => Refusal::mapping(detail.unwrap_or(told)),
        "banned" => Refusal::refused(Reason::Banned, detail.unwrap_or(told)),
        _ => return None,
    };
    Some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Syntax;
    use proptest::prelude::*;
    use std::ffi::CString;

    const NAME: &str = "GLEXEC_CLIENT_CERT";

    fn reason(answer: &str) -> Reason {
        read_answer(answer.as_bytes(), NAME, &[]).expect_err("is refused").reason
    }

    #[test]
    fn an_answer_is_believed_word_by_word() {
        let good = "subject=/CN=A b\\/c\nuntil=7\naccount=a\naccount=b\nnote=x\n";
        let expected = Credential {
            subject: "/CN=A b\\/c".to_owned(),
            by_token: false,
            until: 7,
            mapped: Mapped::Accounts(vec!["a".to_owned(), "b".to_owned()]),
            notes: vec!["x".to_owned()],
            pem: vec![],
        };
        let with_pem = Credential { pem: b"a=\n\npem\n".to_vec(), ..expected.clone() };
        let told = format!("{good}pem\na=\n\npem\n");
        assert_eq!(read_answer(told.as_bytes(), NAME, &[]), Ok(with_pem));
        assert_eq!(read_answer(good.as_bytes(), NAME, &[]), Ok(expected));
        let mapped = |rest: &str| {
            read_answer(format!("subject=/x\nuntil=1\n{rest}").as_bytes(), NAME, &[])
                .map(|c| c.mapped)
        };
        assert_eq!(mapped(""), Ok(Mapped::Nobody));
        assert_eq!(mapped("pool=p\n"), Ok(Mapped::Pool("p".to_owned())));
        for bad in [
            "account=../a\n",
            "account=a b\n",
            "account=\n",
            "pool=\n",
            "pool=a/b\n",
            "pool=p\npool=q\n",
            "account=a\npool=p\n",
            "root\n",
            "key=value\n",
            "subject=/y\n",
        ] {
            assert_eq!(mapped(bad).expect_err(bad).reason, Reason::Mapping);
        }
        for bad in [
            "",
            "until=1\n",
            "subject=/x\n",
            "subject=x\nuntil=1\n",
            "subject=/\u{e4}\nuntil=1\n",
            "subject=/x\nuntil=y\n",
        ] {
            assert_eq!(reason(bad), Reason::Mapping, "{bad:?}");
        }
        let long = format!("subject=/{}\nuntil=1\n", "x".repeat(LONGEST_SUBJECT));
        assert_eq!(reason(&long), Reason::Mapping);
        let many = format!("subject=/x\nuntil=1\n{}", "account=a\n".repeat(MOST + 1));
        assert_eq!(reason(&many), Reason::Mapping);
    }

    #[test]
    fn a_refusal_says_whose_move_it_is() {
        let of = |whose: &str| {
            format!("subject=/x\nrefused={whose}\nclause=is\u{1b} bad\ndetail=/f:3: x\n")
        };
        let callers = read_answer(of("callers").as_bytes(), NAME, &[]).expect_err("refused");
        assert_eq!(callers.exit_code(), 201);
        assert_eq!(callers.sentence, "the credential in GLEXEC_CLIENT_CERT is\\x1b bad");
        let sites = read_answer(of("sites").as_bytes(), NAME, &[]).expect_err("refused");
        assert_eq!((sites.exit_code(), sites.detail.as_deref()), (202, Some("/f:3: x")));
        assert!(!sites.sentence.contains("/f"), "not for the caller: {sites:?}");
        let banned = read_answer(of("banned").as_bytes(), NAME, &[]).expect_err("refused");
        assert_eq!((banned.exit_code(), &*banned.sentence), (203, "refused"));
        assert_eq!(reason(&of("nobodys")), Reason::Mapping);
        assert_eq!(read_copy(b"copy\nabc", NAME), Ok(&b"abc"[..]));
        let refused =
            read_copy(of("callers").as_bytes(), "GLEXEC_SOURCE_PROXY").expect_err("refused");
        assert!(refused.sentence.contains("in GLEXEC_SOURCE_PROXY is"), "{refused:?}");
        assert_eq!(read_copy(b"", NAME).map_err(|stop| stop.reason), Err(Reason::Mapping));
        assert_eq!(reason("refused=callers\n"), Reason::Mapping);
    }

    fn config(methods: &str) -> Config {
        let text = format!(
            "[mapping]\nmethods = [{methods}]\ntoken_mapfile = \"/m\"\n[[mapping.token]]\nissuer = \"https://i\"\nkeys = \"/k\"\naudience = [\"a\", \"b\"]\nscope = [\"s\"]\n[[mapping.token]]\nissuer = \"https://i/\"\nkeys = \"/l\"\naudience = [\"a\"]\nscope = []\n[mapping.gridmap]\ngrid_mapfile = \"/g\"\nca_dir = \"/c\"\n"
        );
        Config::parse(text.as_bytes(), Syntax::Toml).unwrap()
    }

    #[test]
    fn of_what_a_caller_presents_the_first_methods_counts() {
        let of = |methods: &str, variables: &str| {
            let raw = variables.split(' ').map(|entry| CString::new(entry).unwrap()).collect();
            let environ = Environ::read(raw);
            let found = presented(&config(methods), &environ);
            found.map(|p| (p.variable, String::from_utf8_lossy(p.path).into_owned(), p.by_token))
        };
        let cert = || Some(("GLEXEC_CLIENT_CERT", "/c".to_owned(), false));
        let token = || Some(("GLEXEC_CLIENT_TOKEN", "/t".to_owned(), true));
        let all = "GLEXEC_CLIENT_CERT=/c GLEXEC_CLIENT_TOKEN=/t BEARER_TOKEN_FILE=/b";
        assert_eq!(of("\"gridmap\", \"token\"", all), cert());
        assert_eq!(of("\"token\", \"gridmap\"", all), token());
        assert_eq!(of("\"token\"", all), token());
        assert_eq!(of("\"gridmap\"", all), cert());
        assert_eq!(of("\"static\"", all), None);
        let pilots = "GLEXEC_CLIENT_CERT=/c GLEXEC_CLIENT_TOKEN= BEARER_TOKEN_FILE=/b";
        let bearer = || Some(("BEARER_TOKEN_FILE", "/b".to_owned(), true));
        assert_eq!(of("\"token\", \"gridmap\"", pilots), cert());
        assert_eq!(of("\"token\"", pilots), bearer());
        assert_eq!(of("\"gridmap\"", "BEARER_TOKEN_FILE=/b"), None);
        assert_eq!(of("\"gridmap\", \"token\"", "BEARER_TOKEN_FILE=/b"), bearer());
    }

    #[test]
    fn a_token_is_of_an_issuer_that_the_site_names() {
        let rule = config("\"token\"").mapping.token.unwrap();
        assert_eq!(
            token_words(&rule, &[5, 6, 7]).join(" "),
            "skew=60 map=5:/m issuer=https://i keys=6:/k audience=a audience=b scope=s issuer=https://i/ keys=7:/l audience=a"
        );
        let read = |answer: &str| read_answer(answer.as_bytes(), NAME, &rule.issuers);
        let good = read("subject=https://i,alice\nuntil=7\naccount=a\n").unwrap();
        assert!(good.by_token && good.subject == "https://i,alice");
        assert_eq!(good.mapped, Mapped::Accounts(vec!["a".to_owned()]));
        assert!(read("subject=https://i/,alice b\nuntil=7\n").is_ok());
        for bad in [
            "subject=https://i\nuntil=7\n",
            "subject=https://i,\nuntil=7\n",
            "subject=https://ix,alice\nuntil=7\n",
            "subject=/CN=alice\nuntil=7\n",
            "subject=https://i,alice\u{e4}\nuntil=7\n",
            "subject=https://i,alice\n",
            "subject=https://i,alice\nuntil=7\npool=p\n",
            "subject=https://i,alice\nuntil=7\naccount=../x\n",
        ] {
            assert_eq!(read(bad).expect_err(bad).reason, Reason::Mapping, "{bad}");
        }
        // And no certificate's subject looks like one.
        let of_token = b"subject=https://i,alice\nuntil=7\n";
        assert!(read_answer(of_token, NAME, &[]).is_err());
    }

    #[test]
    fn a_refusal_names_the_file_in_the_log_alone() {
        let stop = |reason| Refusal::new(reason, "s").detail("d");
        let named = in_file(stop(Reason::Credential), c"/a\nb");
        assert_eq!((named.detail.as_deref(), &*named.sentence), (Some("/a\\nb: d"), "s"));
        assert_eq!(in_file(stop(Reason::Mapping), c"/a"), stop(Reason::Mapping));
        let bare = in_file(Refusal::new(Reason::Credential, "s"), c"/a");
        assert_eq!(bare.detail.as_deref(), Some("/a"));
    }

    proptest! {
        #[test]
        fn no_answer_makes_an_account_that_is_none(answer in "(subject|until|account|pool|refused|note)=[ -~]{0,8}\n{0,6}") {
            if let Ok(Credential { mapped: Mapped::Accounts(accounts), .. }) = read_answer(answer.as_bytes(), NAME, &[]) {
                prop_assert!(!accounts.is_empty() && accounts.iter().all(|name| account_name(name).is_ok()));
            }
        }
    }
}
