//! Adapters between glexec and Slurm: task wrapper, prologs, epilogs, and the record of what the
//! payload did. docs/slurm.md is the site's guide, and shared facts about Slurm's hooks are named
//! there.
//!
//! `dialect` and `configuration` know Slurm's words, `verdict` and `findings` decide, `settings` is the
//! site's file, `store` and `places` are what is kept on the node, `groups` is what Slurm leaves of its
//! own, `membership` says of which job a process is; `hooks` puts them together, one function for each
//! hook, and `about` has what each says of itself.

pub mod about;
mod configuration;
mod dialect;
mod findings;
mod groups;
mod hooks;
mod membership;
mod places;
mod settings;
mod store;
mod verdict;

pub use hooks::{
    check_site, epilog, epilog_ctld, prolog, record, script, task, task_epilog, task_prolog,
};
