//! The copy of a proxy, or of a token, that the payload gets: of which file, and under which name.

use super::config::Config;
use super::environment::Environ;
pub use super::payload_copy::ProxyCopy;
use super::refusal::Refusal;
use contract::{Reason, variables};
use nix::unistd::Uid;
use std::ffi::CString;

/// What is a proxy's, and what a token's.
struct Kind {
    /// The variables that name what is copied; the first that is set counts.
    sources: [&'static str; 2],
    target: &'static str,
    told_in: &'static str,
    /// What the name of a copy begins with where the caller gives none.
    name: &'static str,
}

const PROXY: Kind = Kind {
    sources: [variables::SOURCE_PROXY, variables::CLIENT_CERT],
    target: variables::TARGET_PROXY,
    told_in: "X509_USER_PROXY",
    name: "x509up",
};

const TOKEN: Kind = Kind {
    sources: [variables::CLIENT_TOKEN, variables::BEARER_TOKEN_FILE],
    target: variables::TARGET_TOKEN,
    told_in: variables::BEARER_TOKEN_FILE,
    name: "bt",
};

/// The copy for a payload of this uid, of the token where the caller is mapped `by_token`; `None`
/// where the site or the caller wants none. `random` is part of its first name, and of the other
/// where the caller gives none.
///
/// # Errors
/// [`Reason::Credential`] where the name that the caller gives is no absolute path of a file.
pub fn wanted(
    config: &Config,
    environ: &Environ,
    target: Uid,
    by_token: bool,
    random: u64,
) -> Result<Option<ProxyCopy>, Refusal> {
    const NONE: &[u8] = b"/dev/null";
    let kind = if by_token { TOKEN } else { PROXY };
    let name = environ.get(kind.target);
    if !config.create_target_proxy || config.log_only || name == Some(NONE) {
        return Ok(None);
    }
    let mut sources = kind.sources.into_iter().filter_map(|name| Some((name, environ.get(name)?)));
    let Some((variable, source)) = sources.next() else { return Ok(None) };
    let path = match name {
        None => format!("/tmp/{}_u{target}.glexec.{random:016x}", kind.name).into_bytes(),
        Some(name) if name.starts_with(b"/") && !name.ends_with(b"/") => name.to_vec(),
        Some(_) => {
            let sentence = format!("{} is no absolute path of a file", kind.target);
            return Err(Refusal::new(Reason::Credential, sentence)
                .hint("write one, or /dev/null for no copy"));
        }
    };
    let first_name = [&path[..], format!(".{random:016x}").as_bytes()].concat();
    let paths = (CString::new(source), CString::new(path), CString::new(first_name));
    let (Ok(source), Ok(target), Ok(first_name)) = paths else {
        return Err(Refusal::new(Reason::Credential, "the path of a proxy has a NUL in it"));
    };
    // Who becomes the payload is not there to remove anything.
    let remove = config.remove_target_proxy && config.linger;
    let (named_in, told_in) = (kind.target, kind.told_in);
    Ok(Some(ProxyCopy { variable, source, first_name, target, named_in, told_in, remove }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Syntax;

    fn copy(lines: &str, variables: &[&str]) -> Result<Option<(String, String, bool)>, Reason> {
        let by_token = variables.iter().any(|entry| entry.contains("TOKEN"));
        let config = Config::parse(format!("[glexec]\n{lines}").as_bytes(), Syntax::Toml).unwrap();
        let raw = variables.iter().map(|entry| CString::new(*entry).unwrap()).collect();
        let copy = wanted(&config, &Environ::read(raw), Uid::from_raw(7), by_token, 0xab);
        let text = |path: CString| path.into_string().unwrap();
        let told = |copy: ProxyCopy| {
            assert_eq!(copy.owed().is_some(), copy.remove);
            let (first, target) = (text(copy.first_name), text(copy.target));
            assert_eq!(first, format!("{target}.00000000000000ab"));
            assert_eq!(copy.told_in == "BEARER_TOKEN_FILE", by_token);
            (text(copy.source), target, copy.remove)
        };
        copy.map(|copy| copy.map(told)).map_err(|stop| stop.reason)
    }

    #[test]
    fn a_copy_has_a_source_and_a_name_or_is_not_wanted() {
        let of = |source: &str, target: &str, remove| {
            Ok(Some((source.to_owned(), target.to_owned(), remove)))
        };
        let (cert, usual) = ("GLEXEC_CLIENT_CERT=/c", "/tmp/x509up_u7.glexec.00000000000000ab");
        assert_eq!(copy("", &[cert]), of("/c", usual, true));
        assert_eq!(copy("", &[cert, "GLEXEC_SOURCE_PROXY=/s"]), of("/s", usual, true));
        assert_eq!(copy("", &[cert, "GLEXEC_SOURCE_PROXY="]), of("/c", usual, true));
        assert_eq!(copy("", &[cert, "GLEXEC_TARGET_PROXY=/t/x"]), of("/c", "/t/x", true));
        assert_eq!(copy("linger = false", &[cert]), of("/c", usual, false));
        assert_eq!(copy("remove_target_proxy = false", &[cert]), of("/c", usual, false));
        assert_eq!(copy("", &[cert, "GLEXEC_TARGET_PROXY=/dev/null"]), Ok(None));
        assert_eq!(copy("create_target_proxy = false", &[cert]), Ok(None));
        assert_eq!(copy("", &["X509_USER_PROXY=/c"]), Ok(None));
        let (token, usual) = ("GLEXEC_CLIENT_TOKEN=/k", "/tmp/bt_u7.glexec.00000000000000ab");
        assert_eq!(copy("", &[cert, token, "BEARER_TOKEN_FILE=/b"]), of("/k", usual, true));
        assert_eq!(
            copy("", &["BEARER_TOKEN_FILE=/b", "GLEXEC_TARGET_PROXY=x"]),
            of("/b", usual, true)
        );
        assert_eq!(copy("", &[token, "GLEXEC_TARGET_TOKEN=/t"]), of("/k", "/t", true));
        assert_eq!(copy("", &[token, "GLEXEC_TARGET_TOKEN=/dev/null"]), Ok(None));
        for bad in ["GLEXEC_TARGET_PROXY=t", "GLEXEC_TARGET_PROXY=/t/"] {
            assert_eq!(copy("", &[cert, bad]), Err(Reason::Credential));
        }
    }
}
