//! The environment variables by which callers, glexec and epilogues speak (README.md,
//! docs/epilogue.md).

/// What the name of every one of them begins with. The payload keeps its caller's, but for those of
/// the epilogue.
pub const PREFIX: &str = "GLEXEC_";
/// Of several accounts that the caller may have, this one.
pub const TARGET_USER: &str = "GLEXEC_TARGET_USER";
/// What the caller wants to be called in the log.
pub const ID: &str = "GLEXEC_ID";
/// The payload's TMPDIR; an absolute path.
pub const TMPDIR: &str = "GLEXEC_TMPDIR";
/// Which of the caller's variables are the job's own: names with blanks between them, or `*` for all.
/// The payload gets those where the site says `job_environment = "all"`, and never this one.
pub const JOB_ENVIRONMENT: &str = "GLEXEC_JOB_ENVIRONMENT";
/// The payload's soft limit of the stack: bytes, or `unlimited`; as far as the hard limit goes. At the
/// exec of a setuid program the kernel lowers what is above 8 MiB (`begin_new_exec` in fs/exec.c), so a
/// caller that wants its own back says it. The payload does not get it.
pub const STACK_LIMIT: &str = "GLEXEC_STACK_LIMIT";
/// Its word for no limit.
pub const UNLIMITED: &str = "unlimited";
/// The caller's credential, by which it is mapped.
pub const CLIENT_CERT: &str = "GLEXEC_CLIENT_CERT";
/// The proxy that is copied for the payload, where it is another.
pub const SOURCE_PROXY: &str = "GLEXEC_SOURCE_PROXY";
/// Where the payload's copy is written; /dev/null for none.
pub const TARGET_PROXY: &str = "GLEXEC_TARGET_PROXY";

/// What the name of every variable begins with that an epilogue is told; names of [`epilogue`]
/// follow.
pub const EPILOGUE_PREFIX: &str = "GLEXEC_EPILOG_";

/// The whole name of one of an epilogue's variables.
#[must_use]
pub fn of_epilogue(name: &str) -> String {
    format!("{EPILOGUE_PREFIX}{name}")
}

/// What follows [`EPILOGUE_PREFIX`].
pub mod epilogue {
    /// The run, as log and status stream call it.
    pub const RUN_ID: &str = "RUN_ID";
    /// Which attempt at the epilogue this is, from 1.
    pub const ATTEMPT: &str = "ATTEMPT";
    /// exited, killed, not-started or lost.
    pub const RESULT: &str = "RESULT";
    /// The payload's words, from 0; the number follows.
    pub const ARGV: &str = "ARGV";
    /// The job's keys; the caller's name of the variable follows.
    pub const JOB: &str = "JOB_";
    /// The caller's account.
    pub const GLEXEC_USER: &str = "GLEXEC_USER";
    /// Its primary group.
    pub const GLEXEC_GROUP: &str = "GLEXEC_GROUP";
    /// Its real uid.
    pub const GLEXEC_UID: &str = "GLEXEC_UID";
    /// Its real gid.
    pub const GLEXEC_GID: &str = "GLEXEC_GID";
    /// Its supplementary groups, with colons.
    pub const GLEXEC_SGIDS: &str = "GLEXEC_SGIDS";
    /// The glexec that lingers, or did.
    pub const GLEXEC_PID: &str = "GLEXEC_PID";
    /// Its session.
    pub const GLEXEC_SID: &str = "GLEXEC_SID";
    /// Its process group.
    pub const GLEXEC_PGID: &str = "GLEXEC_PGID";
    /// The target's account.
    pub const TARGET_USER: &str = "TARGET_USER";
    /// Its primary group.
    pub const TARGET_GROUP: &str = "TARGET_GROUP";
    /// Its uid.
    pub const TARGET_UID: &str = "TARGET_UID";
    /// Its primary gid.
    pub const TARGET_GID: &str = "TARGET_GID";
    /// Its supplementary groups, with colons.
    pub const TARGET_SGIDS: &str = "TARGET_SGIDS";
    /// Its home.
    pub const TARGET_HOME: &str = "TARGET_HOME";
    /// The payload.
    pub const TARGET_PID: &str = "TARGET_PID";
    /// Its process group.
    pub const TARGET_PGID: &str = "TARGET_PGID";
    /// The payload's exit code, 128+n where signal n ended it.
    pub const TARGET_RC: &str = "TARGET_RC";
    /// The signal that ended it; absent where it exited.
    pub const TARGET_SIGNAL: &str = "TARGET_SIGNAL";
    /// 1 where it wrote a core.
    pub const TARGET_CORE_DUMPED: &str = "TARGET_CORE_DUMPED";
    /// How many processes it left behind.
    pub const STRAGGLERS: &str = "STRAGGLERS";
    /// Seconds since 1970.
    pub const START_TIME: &str = "START_TIME";
    /// Seconds since 1970.
    pub const END_TIME: &str = "END_TIME";
    /// Its user CPU time, with microseconds.
    pub const USER_SECONDS: &str = "USER_SECONDS";
    /// Its system CPU time, with microseconds.
    pub const SYSTEM_SECONDS: &str = "SYSTEM_SECONDS";
    /// The largest resident set of one of its processes.
    pub const MAX_RSS_KIB: &str = "MAX_RSS_KIB";
}
