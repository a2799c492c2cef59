//! The cases of tests/vectors/lcmaps: what LCMAPS was asked, and what it answered.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) note: String,
    /// The subject, where it is given as text.
    pub(crate) dn: String,
    /// The file of certificates, where it is given in one.
    pub(crate) pem: Option<String>,
    /// Whom LCMAPS has mapped it to.
    pub(crate) uid: Option<u32>,
    /// The subject that LCMAPS has read from the certificates.
    pub(crate) told_dn: Option<String>,
    pub(crate) value: Value,
}

/// Where the cases are.
pub(crate) fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/lcmaps")
}

fn all() -> Value {
    serde_json::from_slice(&fs::read(vectors().join("vectors.json")).unwrap()).unwrap()
}

/// The cases of an area.
pub(crate) fn of_area(area: &str) -> Vec<Case> {
    let all = all();
    let of_it = all["vectors"].as_array().unwrap().iter().filter(|case| case["area"] == area);
    of_it.map(|value| Case::of(value.clone())).collect()
}

/// The uid of an account of the cases.
pub(crate) fn uid_of(account: &str) -> Option<u32> {
    let all = all();
    let lines = all["meta"]["passwd"].as_str().unwrap().lines().map(str::to_owned);
    let mut fields = lines.map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    fields.find(|fields| fields[0] == account).map(|fields| fields[2].parse().unwrap())
}

impl Case {
    fn of(value: Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("id"),
            note: text("note"),
            dn: text("dn"),
            pem: value["pem"].as_str().map(str::to_owned),
            uid: value["expect"]["uid"].as_u64().map(|uid| u32::try_from(uid).unwrap()),
            told_dn: value["expect"]["dn"].as_str().map(str::to_owned),
            value,
        }
    }

    /// A file of the case; `None` where there is none.
    pub(crate) fn file(&self, name: &str) -> Option<Vec<u8>> {
        let file = &self.value["files"][name];
        if let Some(base64) = file["b64"].as_str() {
            return Some(decode(base64));
        }
        file.as_str().map(|text| text.as_bytes().to_vec())
    }

    /// Whether the policy of the case has this plug-in or option.
    pub(crate) fn uses(&self, word: &str) -> bool {
        let plugins = self.value["plugins"].as_array().unwrap();
        plugins.iter().any(|line| line.as_str().unwrap().contains(word))
    }
}

fn decode(base64: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for letter in base64.chars().filter(|letter| *letter != '=') {
        bits = bits << 6 | u32::try_from(LETTERS.find(letter).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap());
            bits &= (1 << count) - 1;
        }
    }
    out
}
