//! A sandbox on its way from one account to another: `pack` reads it, `stream` is its form on the
//! way, `unpack` makes it anew, and `links` says which links may lead where.

mod links;
mod pack;
mod stream;
mod unpack;

pub(crate) use pack::{LeftOut, clear, open_directory, pack, remove};
pub(crate) use unpack::{Rules, unpack};
