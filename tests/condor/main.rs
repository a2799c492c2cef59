//! glexec under HTCondor: real pools, in which root has the machine, or a pilot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod again;
mod attributes;
mod copied;
mod fidelity;
mod glidein;
mod hostile;
mod jobs;
mod kills;
mod refusals;
mod sandbox;
mod smoke;

use harness::{Pool, SharedPool};

/// Every daemon is root's.
static ROOT: SharedPool = SharedPool::new(|| with_glexec(Pool::root("")));

/// The machine is the pilot's.
static PILOT: SharedPool = SharedPool::new(|| with_glexec(Pool::pilot("")));

/// With the hooks, as conf/condor has them, and root's daemons.
static HOOKED_ROOT: SharedPool =
    SharedPool::new(|| with_hooks(Pool::root(&format!("{ROOTS_CONFIG}{OURS}"))));

/// The same, and the machine is the pilot's.
static HOOKED_PILOT: SharedPool =
    SharedPool::new(|| with_hooks(Pool::pilot(&format!("{PILOTS_CONFIG}{OURS}"))));

/// Seats are what one test's jobs take of the machine, and no other's: who gets all of them comes
/// after these. And a queue that looks after its jobs every second.
const OURS: &str = "MACHINE_RESOURCE_SEATS = 5\nPERIODIC_EXPR_INTERVAL = 1\n";

/// Machine and access point are one here.
pub(crate) const ROOTS_CONFIG: &str = concat!(
    include_str!("../../conf/condor/50-glexec.config"),
    include_str!("../../conf/condor/60-glexec-access-point.config")
);
/// The same lines for the pilot's daemons and for those beside it.
pub(crate) const PILOTS_CONFIG: &str = concat!(
    include_str!("../../conf/condor/50-glexec-pilot.config"),
    include_str!("../../conf/condor/60-glexec-access-point.config")
);

/// The site's epilogue as docs/htcondor.md has it, and then it looks around for the tests.
const EPILOGUE: &str =
    concat!(include_str!("../../conf/condor/epilogue"), "exec /usr/local/bin/actor look-into\n");

fn with_glexec(pool: Pool) -> Pool {
    pool.install_glexec("epilogue = \"/usr/libexec/site/epilogue\"");
    pool
}

pub(crate) fn with_hooks(pool: Pool) -> Pool {
    with_lines(pool, include_str!("../../conf/condor/glexec.toml.condor"))
}

/// With the hooks, and a copy of the sandbox for the payload.
pub(crate) fn with_copies(pool: Pool) -> Pool {
    let pool = with_lines(pool, include_str!("../../conf/condor/glexec.toml.condor-copy"));
    let hooks = pool.read("/etc/glexec-condor.toml");
    pool.file("/etc/glexec-condor.toml", &hooks.replace("\"hand-over\"", "\"copy\""), 0o644);
    pool.directory("/var/spool/glexec-condor", (0, 0), 0o1777);
    pool
}

/// With these lines of ours in glexec's own configuration.
fn with_lines(pool: Pool, ours: &str) -> Pool {
    let ours = ours.replace("/usr/libexec/glexec/glexec-condor-record", harness::EPILOGUE);
    pool.install_glexec(&ours);
    pool.file(harness::EPILOGUE, EPILOGUE, 0o755);
    // The target has to get to the sandbox, and a pilot's is below its home.
    let pilot = harness::accounts::PILOT;
    pool.directory("/home/pilot", (pilot, pilot), 0o711);
    pool.file(
        "/etc/glexec-condor.toml",
        include_str!("../../conf/condor/glexec-condor.toml"),
        0o644,
    );
    pool
}
