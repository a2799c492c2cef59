//! What glexec-credential answers: lines `key=value`, which glexec judges again.

use crate::map_file::{self, Mapped};
use crate::question::{About, Question};
use crate::refused::{Refused, Whose};
use crate::site_file::MapFile;
use crate::token::{self, Clock};
use crate::{credential_file, token_map, verify};
use std::time::{SystemTime, UNIX_EPOCH};
use system::text::one_line;

/// So many lines of a file that cannot be understood are told at every run.
const MOST_NOTES: usize = 3;

/// An answer.
///
/// - `subject=` the text of the user's own name, or a token's issuer and subject with a comma between
///   them, `until=` seconds since 1970, or 0 where only a subject was given;
/// - `account=` once for each, or `pool=`, or neither;
/// - `note=` for the log;
/// - where it is wanted, `pem` and an end of line, and the verified path and its key as text, last;
/// - or `copy` and an end of line, and the bytes of the file;
/// - or `refused=callers`, `sites` or `banned`, with `clause=` and `detail=`.
#[must_use]
pub fn answer(question: &Question) -> Vec<u8> {
    let found = match question.about {
        About::Copy(owner) => credential_file::read(std::io::stdin().lock(), owner)
            .map(|bytes| [b"copy\n", bytes.as_slice()].concat()),
        About::Token(owner) => of_token(question, owner),
        About::Credential(_) | About::Subject(_) | About::Files => found(question),
    };
    match found {
        Ok(answer) => answer,
        Err(Refused { whose, clause, detail }) => {
            let whose = match whose {
                Whose::Callers => "callers",
                Whose::Sites => "sites",
                Whose::Banned => "banned",
            };
            let (clause, detail) = (line("clause", &clause), line("detail", &detail));
            format!("refused={whose}\n{clause}{detail}").into_bytes()
        }
    }
}

fn line(key: &str, value: &str) -> String {
    format!("{key}={}\n", one_line(value))
}

fn found(question: &Question) -> Result<Vec<u8>, Refused> {
    let (subject, until, pem) = match &question.about {
        About::Credential(owner) => {
            let pem = credential_file::read(std::io::stdin().lock(), *owner)?;
            let verified = verify(&pem, question.rules, &question.authorities()?)?;
            (verified.subject, verified.until, verified.pem)
        }
        About::Subject(subject) => (subject.clone(), 0, Vec::new()),
        About::Files | About::Copy(_) | About::Token(_) => {
            return Ok(crate::inspect::inspect(question).into_bytes());
        }
    };
    if let Some(ban) = &question.ban {
        is_not_banned(ban, &subject)?;
    }
    let mut text = line("subject", &subject);
    text += &format!("until={until}\n");
    if let Some(map) = &question.map {
        text += &mapped(map, &subject)?;
    }
    if question.with_pem {
        text += "pem\n";
    }
    let pem = if question.with_pem { pem } else { Vec::new() };
    Ok([text.into_bytes(), pem].concat())
}

fn of_token(question: &Question, owner: u32) -> Result<Vec<u8>, Refused> {
    let text = credential_file::read(std::io::stdin().lock(), owner)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let now = now.and_then(|now| i64::try_from(now.as_secs()).ok());
    let now = now.ok_or_else(|| Refused::site("the time cannot be told"))?;
    let verified = token::verify(&text, &question.issuers, Clock { now, skew: question.skew })?;
    let principal = &verified.principal;
    let file = question.map.as_ref().ok_or_else(|| Refused::site("there is no map file"))?;
    let found = token_map::look_up(&file.read()?, principal);
    let found = found.map_err(|map_file::Unusable { line, why }| {
        Refused::site(format!("{}:{line}: the line {why}; mend it ({principal})", file.path))
    })?;
    let account = found.map(|(_, account)| line("account", &account)).unwrap_or_default();
    Ok(format!("{}until={}\n{account}", line("subject", principal), verified.until).into_bytes())
}

fn is_not_banned(ban: &MapFile, subject: &str) -> Result<(), Refused> {
    let path = &ban.path;
    match map_file::banned(&ban.read()?, subject.as_bytes()) {
        Ok(None) => Ok(()),
        Ok(Some(line)) => Err(Refused {
            whose: Whose::Banned,
            clause: "refused".to_owned(),
            detail: format!("{path}:{line}: {subject} is banned"),
        }),
        Err(map_file::Unusable { line, why }) => Err(Refused::site(format!(
            "{path}:{line}: the line {why}, and whom it bans cannot be told; mend it"
        ))),
    }
}

fn mapped(map: &MapFile, subject: &str) -> Result<String, Refused> {
    let path = &map.path;
    let found = map_file::look_up(&map.read()?, subject.as_bytes());
    let found = found.map_err(|map_file::Unusable { line, why }| {
        Refused::site(format!("{path}:{line}: the line {why}; mend it"))
    })?;
    let mut text = match &found.mapped {
        None => String::new(),
        Some((_, Mapped::Accounts(accounts))) => {
            accounts.iter().map(|account| line("account", account)).collect()
        }
        Some((_, Mapped::Pool(pool))) => line("pool", pool),
    };
    for (number, why) in found.broken.iter().take(MOST_NOTES) {
        text += &line("note", &format!("{path}:{number}: the line {why} and is passed over"));
    }
    if let Some(more) = found.broken.len().checked_sub(MOST_NOTES).filter(|more| *more > 0) {
        text += &line("note", &format!("{path}: {more} more lines are passed over"));
    }
    Ok(text)
}
