//! What glexec asks: words of the command line, one thing each. The files that root has opened come
//! as descriptors, each with its path for what is said of it; the credential is standard input.

use crate::Authorities;
use crate::refused::Refused;
use crate::token::Issuer;
use crate::verify::Rules;
use std::io::Read as _;
use std::os::fd::RawFd;
use system::kernel::borrow;

/// The largest map file: a million lines.
const MOST_OF_MAP: u64 = 128 << 20;

/// A question.
#[derive(Debug)]
pub struct Question {
    /// Whose credential is to be read from standard input, or the subject itself.
    pub about: About,
    /// What is accepted.
    pub rules: Rules,
    /// The directory of authorities.
    pub authorities: Option<String>,
    /// The grid-mapfile; about tokens, the map file of `HTCondor`'s form.
    pub map: Option<MapFile>,
    /// The ban file.
    pub ban: Option<MapFile>,
    /// Whether the verified path is to be given as text.
    pub with_pem: bool,
    /// Who may issue tokens; none where they are not asked about.
    pub issuers: Vec<Issuer>,
    /// By so many seconds their clocks may differ.
    pub skew: i64,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The credential on standard input, of this uid.
    Credential(u32),
    /// The token on standard input, which is this uid's.
    Token(u32),
    /// The bytes of the file on standard input, which is this uid's.
    Copy(u32),
    /// This subject, whoever has it.
    Subject(String),
    /// The files, whoever asks.
    Files,
}

/// A file of the site's that was opened by who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapFile {
    /// Its descriptor.
    number: RawFd,
    /// Its path, for what is said of it.
    pub path: String,
}

impl Question {
    /// Reads the words; `None` where they are no question.
    pub fn of(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut about = None;
        let mut rules = Rules { rfc3820: false, plain: false, without_key: false };
        let (mut authorities, mut map, mut ban, mut with_pem) = (None, None, None, false);
        let (mut issuers, mut skew): (Vec<Issuer>, _) = (Vec::new(), 0);
        for word in words {
            match word.split_once('=')? {
                ("owner", uid) => about = Some(About::Credential(uid.parse().ok()?)),
                ("token", uid) => about = Some(About::Token(uid.parse().ok()?)),
                ("copy", uid) => about = Some(About::Copy(uid.parse().ok()?)),
                ("subject", subject) => about = Some(About::Subject(subject.to_owned())),
                ("about", "files") => about = Some(About::Files),
                ("accept", "rfc3820") => rules.rfc3820 = true,
                ("accept", "plain") => rules.plain = true,
                ("pem", "wanted") => with_pem = true,
                ("key", "optional") => rules.without_key = true,
                ("ca_dir", path) => authorities = Some(path.to_owned()),
                ("map", file) => map = Some(MapFile::of(file)?),
                ("ban", file) => ban = Some(MapFile::of(file)?),
                ("skew", seconds) => skew = seconds.parse().ok()?,
                ("issuer", name) => issuers.push(Issuer::of(name)),
                // What follows an issuer is of it.
                ("keys", file) => issuers.last_mut()?.keys = Some(MapFile::of(file)?),
                ("audience", name) => issuers.last_mut()?.audiences.push(name.to_owned()),
                ("scope", name) => issuers.last_mut()?.scopes.push(name.to_owned()),
                _ => return None,
            }
        }
        Some(Self { about: about?, rules, authorities, map, ban, with_pem, issuers, skew })
    }

    /// The directory of authorities, root's.
    ///
    /// # Errors
    /// [`Refused::site`] where none was named.
    pub fn authorities(&self) -> Result<Authorities, Refused> {
        const ROOT: u32 = 0;
        let directory = self.authorities.as_ref();
        let directory = directory.ok_or_else(|| Refused::site("there is no `ca_dir`"))?;
        Ok(Authorities::new(directory, ROOT))
    }
}

impl Issuer {
    fn of(name: &str) -> Self {
        let (audiences, scopes) = (Vec::new(), Vec::new());
        Self { name: name.to_owned(), keys: None, audiences, scopes }
    }
}

impl MapFile {
    fn of(word: &str) -> Option<Self> {
        let (number, path) = word.split_once(':')?;
        let number = number.parse().ok().filter(|number| *number > 2)?;
        Some(Self { number, path: path.to_owned() })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`Refused::site`].
    pub fn read(&self) -> Result<Vec<u8>, Refused> {
        let failed = |why: &str| Refused::site(format!("{} {why}", self.path));
        let file = borrow(self.number).try_clone_to_owned();
        let file = file.map_err(|error| failed(&format!("is not open: {error}")))?;
        let file = std::fs::File::from(file);
        // Read into room for all of it, and a byte more, by which its end is seen.
        let size = file.metadata().map_or(0, |meta| meta.len()).min(MOST_OF_MAP);
        let room = usize::try_from(size + 1).map_err(|_| failed("is too large"))?;
        let mut text = Vec::with_capacity(room);
        let read = file.take(MOST_OF_MAP + 1).read_to_end(&mut text);
        read.map_err(|error| failed(&format!("cannot be read: {error}")))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST_OF_MAP) {
            return Err(failed(&format!("is larger than {MOST_OF_MAP} bytes")));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_question_or_none() {
        let of = |words: &str| Question::of(words.split(' ').map(str::to_owned));
        let question = of("owner=7 accept=rfc3820 ca_dir=/c map=5:/m ban=6:/b").unwrap();
        assert_eq!(question.about, About::Credential(7));
        assert_eq!(question.map, Some(MapFile { number: 5, path: "/m".to_owned() }));
        assert!(question.rules.rfc3820 && !question.rules.plain && !question.rules.without_key);
        let words =
            "token=7 skew=9 map=5:/m issuer=i keys=6:/k audience=a audience=b issuer=j scope=s";
        let question = of(words).unwrap();
        assert_eq!((question.about, question.skew), (About::Token(7), 9));
        let [i, j] = question.issuers.as_slice() else { panic!("{:?}", question.issuers) };
        assert_eq!(
            (i.name.as_str(), &i.audiences[..], i.scopes.len()),
            ("i", &["a".to_owned(), "b".to_owned()][..], 0)
        );
        assert_eq!(i.keys, Some(MapFile { number: 6, path: "/k".to_owned() }));
        assert_eq!((j.name.as_str(), &j.keys, j.scopes.len()), ("j", &None, 1));
        for bad in [
            "",
            "owner=x",
            "accept=rfc3820",
            "owner=7 map=1:/m",
            "owner=7 x=y",
            "owner=7 accept=all",
            "token=7 keys=5:/k",
            "token=7 issuer=i keys=1:/k",
            "token=7 skew=x",
            "token=x",
        ] {
            assert!(of(bad).is_none(), "{bad}");
        }
    }
}
