//! What the end-to-end tests stand on: a [`Site`] (accounts, configuration and the installed
//! setuid binary, in a mount namespace of its own, so that the host stays as it was), a [`Call`]
//! of anything as anybody in any hostile state, and what came of it. A [`Pool`] is a site with
//! HTCondor in it.
//!
//! ```text
//! let site = Site::with_epilogue("epilogue_timeout = 5");   // Site::new(), Site::with(lines)
//! let ran = site.glexec(["actor", "exit", "42"]).env("A", "1").with_status().run();
//! assert_eq!(ran.code(), 42);                               // ran.refused(202, "audit") ...
//! let running = site.glexec(["sleep", "20"]).with_status().with_control().start();
//! running.signal_by("pilot", 9); running.order("TERM"); let ran = running.wait();
//! site.log(); site.epilogues();                             // lines; what each epilogue saw
//! ```
//! Linux only, root only. A process that a Site starts dies with the Site.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::missing_panics_doc,
    clippy::must_use_candidate
)]

pub mod accounts;
mod ad;
mod call;
mod caller;
mod cluster;
pub mod fidelity;
mod fuse;
pub mod instructions;
mod issuer;
mod look;
mod pki;
mod pool;
mod procfs;
pub mod raw;
mod running;
mod site;
mod socket;
mod state;
pub mod tamper;
mod tree;
mod world;

pub use ad::{Ad, JobId};
pub use call::{Call, Limit};
pub use caller::become_caller;
pub use cluster::{CHOICE, Cluster, Job, POOL, Shape};
pub use fuse::Sleepy;
pub use issuer::{AUDIENCE, ISSUER, Issuer, base64url};
pub use look::{Limits, Look};
pub use pki::{CA_DIR, GRID_MAPFILE, Pki};
pub use pool::{Pool, SharedPool};
pub use procfs::{Process, processes};
pub use running::{Ran, Running};
pub use site::{
    ACTOR, CONFIG, EPILOGUE, GLEXEC, LIBEXEC, SAW, Site, TOLD, built, flavour, may_raise_limits,
};
pub use state::{State, state};
