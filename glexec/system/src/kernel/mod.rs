//! The kernel's doors that no safe crate opens for us. The only unsafe code of the program.
//!
//! Every function here is one system call (or one function of the C library) with plain values in
//! and a plain value out; none of them decides anything. One thread is assumed throughout: the
//! program never starts another. `calls` lists what is asked of the kernel directly, and makes all
//! of it in three blocks; the others are beside what is unsafe about them.
#![allow(unsafe_code)]

mod arena;
mod calls;
mod files;
mod processes;
mod settings;
mod signals;
mod wildcard;

pub use arena::Arena;
pub use files::borrow;
use files::new_descriptor;
pub use files::{
    Status, adopt, attribute, attribute_into, close_between, close_number, close_on_exec_from,
    for_each_name, handle_of, kind_and_device, set_attribute, status_of,
};
pub use processes::exit_now;
pub use processes::{
    Block, Side, Waited, execute, execute_descriptor, fork, fork_sharing_descriptors,
    has_process_of, pidfd, take_environment, wait, wait_for_end,
};
pub use settings::{
    Limit, Resource, capabilities, clear_inheritable, control, control_with, file_system_ids,
    join_new_keyring, limit, reading_time_is_fatal, reset_key_destination, reset_personality,
    reset_priority, set_gids, set_groups, set_uids, timer_slack,
};
pub use signals::{
    LAST_SIGNAL, kill, kill_every_process_of_euid, set_disposition, set_mask, signal_descriptor,
    signal_pidfd, stop_timers,
};
pub use wildcard::wildcards_match;
