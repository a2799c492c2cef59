//! glexec runs a command under another identity, lingers, and runs a trusted epilogue.
//!
//! Observe, decide, act, report: each a crate beside this one, and only `act` is ever root. Here is
//! the walk of one call through them.
#![forbid(unsafe_code)]

mod run;

#[global_allocator]
static ARENA: system::kernel::Arena = system::kernel::Arena;

fn main() {
    run::run()
}
