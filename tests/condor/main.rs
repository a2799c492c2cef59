//! glexec under HTCondor: real pools, in which root has the machine, or a pilot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod smoke;

use harness::{Pool, SharedPool};

/// Every daemon is root's.
static ROOT: SharedPool = SharedPool::new(|| with_glexec(Pool::root("")));

/// The machine is the pilot's.
static PILOT: SharedPool = SharedPool::new(|| with_glexec(Pool::pilot("")));

fn with_glexec(pool: Pool) -> Pool {
    pool.install_glexec("epilogue = \"/usr/libexec/site/epilogue\"");
    pool
}
