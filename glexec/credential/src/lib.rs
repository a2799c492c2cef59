//! Credentials: what a caller's certificate chain or token is worth, and whom a site's files map its
//! subject to. The library of glexec-credential, which runs with nothing of root's.
#![forbid(unsafe_code)]

mod answer;
mod authorities;
mod certificate;
pub mod credential_file;
mod der;
mod inspect;
pub mod map_file;
mod path;
mod question;
mod refused;
pub mod signing_policy;
mod site_file;
pub mod subject;
pub mod token;
pub mod token_map;
mod verify;
pub mod wildcard;

pub use answer::answer;
pub use authorities::Authorities;
pub use question::{About, Question};
pub use refused::{Refused, Whose};
pub use site_file::MapFile;
pub use verify::{Rules, Verified, verify};
