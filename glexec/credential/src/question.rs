//! What glexec asks: words of the command line, one thing each. The files that root has opened come
//! as descriptors, each with its path for what is said of it; the credential is standard input.

use crate::Authorities;
use crate::refused::Refused;
use crate::site_file::MapFile;
use crate::token::Issuer;
use crate::verify::Rules;

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
