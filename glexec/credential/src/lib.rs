//! Credentials: what a caller's certificate chain is worth, and whom a site's files map its subject
//! to. The library of glexec-credential, which runs with nothing of root's.
#![forbid(unsafe_code)]

pub mod map_file;
pub mod wildcard;
