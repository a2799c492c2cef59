//! A sandbox on its way from one account to another: `pack` reads it, `stream` is its form on the
//! way, `unpack` makes it anew, `links` says which links may
//! lead where, and `room` how much there may be.

mod links;
mod pack;
mod room;
mod stream;
mod unpack;

pub(crate) use pack::{LeftOut, pack};
pub(crate) use unpack::{Rules, unpack};
