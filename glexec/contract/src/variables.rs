//! The environment variables by which callers, glexec and epilogues speak (docs/callers.md,
//! docs/epilogue.md).

/// What the name of every one of them begins with, but for `BEARER_TOKEN_FILE`, which other programs
/// have, too. The payload keeps its caller's, but for those of the epilogue.
pub const PREFIX: &str = "GLEXEC_";
/// `GLEXEC_STACK_LIMIT`'s word for no limit.
pub const UNLIMITED: &str = "unlimited";

/// Constants of names, and of all of them a table with what each says, for documents.
macro_rules! variables {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal;)*) => {
        $($(#[doc = $doc])* pub const $name: &str = $word;)*

        /// Every one of these, by its name, with what it says.
        #[cfg(feature = "read")]
        pub const ALL: &[(&str, &str)] = &[$(($word, concat!($($doc),*)),)*];
    };
}

variables! {
    /// Of several accounts that the caller may have, this one.
    TARGET_USER = "GLEXEC_TARGET_USER";
    /// What the caller wants to be called in the log.
    ID = "GLEXEC_ID";
    /// The payload's TMPDIR; an absolute path.
    TMPDIR = "GLEXEC_TMPDIR";
    /// Which of the caller's variables are the job's own: names with blanks between them, or `*` for all.
    /// The payload gets those where the site says `job_environment = "all"`, and never this one.
    JOB_ENVIRONMENT = "GLEXEC_JOB_ENVIRONMENT";
    /// The payload's soft limit of the stack: bytes, or `unlimited`; as far as the hard limit goes. At the
    /// exec of a setuid program the kernel lowers what is above 8 MiB (begin_new_exec in fs/exec.c), so a
    /// caller that wants its own back says it. The payload does not get this variable.
    STACK_LIMIT = "GLEXEC_STACK_LIMIT";
    /// The caller's credential, by which it is mapped.
    CLIENT_CERT = "GLEXEC_CLIENT_CERT";
    /// The proxy that is copied for the payload, where it is another.
    SOURCE_PROXY = "GLEXEC_SOURCE_PROXY";
    /// Where the payload's copy is written; /dev/null for none.
    TARGET_PROXY = "GLEXEC_TARGET_PROXY";
    /// The token by which the caller is mapped: the path of a file.
    CLIENT_TOKEN = "GLEXEC_CLIENT_TOKEN";
    /// Where the payload's copy of the token is written; /dev/null for none.
    TARGET_TOKEN = "GLEXEC_TARGET_TOKEN";
    /// The token by which the caller is mapped, where neither GLEXEC_CLIENT_TOKEN nor GLEXEC_CLIENT_CERT
    /// counts (WLCG Bearer Token Discovery). In the payload's environment: its copy.
    BEARER_TOKEN_FILE = "BEARER_TOKEN_FILE";
}

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
    variables! {
        /// What the run is called, as log, status stream and `glexec-admin ps` call it.
        RUN_ID = "RUN_ID";
        /// Which attempt at the epilogue this is, from 1.
        ATTEMPT = "ATTEMPT";
        /// How the payload ended: `exited`, `killed`, `not-started`, or `lost` where glexec was killed.
        RESULT = "RESULT";
        /// The payload's words, the caller's to choose: `ARGV0` is the command.
        ARGV = "ARGV";
        /// The caller's variables that `job_variables` lists, by their names: the caller's to choose.
        JOB = "JOB_";
        /// The caller's account.
        GLEXEC_USER = "GLEXEC_USER";
        /// The name of the caller's primary group.
        GLEXEC_GROUP = "GLEXEC_GROUP";
        /// The caller's real uid.
        GLEXEC_UID = "GLEXEC_UID";
        /// The caller's real gid.
        GLEXEC_GID = "GLEXEC_GID";
        /// The caller's supplementary gids, with colons between them; may be empty.
        GLEXEC_SGIDS = "GLEXEC_SGIDS";
        /// The pid of the glexec that lingers, or did.
        GLEXEC_PID = "GLEXEC_PID";
        /// The session of that glexec.
        GLEXEC_SID = "GLEXEC_SID";
        /// The process group of that glexec.
        GLEXEC_PGID = "GLEXEC_PGID";
        /// The target's account.
        TARGET_USER = "TARGET_USER";
        /// The name of the target's primary group.
        TARGET_GROUP = "TARGET_GROUP";
        /// The target's uid.
        TARGET_UID = "TARGET_UID";
        /// The target's primary gid.
        TARGET_GID = "TARGET_GID";
        /// The target's supplementary gids, with colons between them; may be empty.
        TARGET_SGIDS = "TARGET_SGIDS";
        /// The target's home directory.
        TARGET_HOME = "TARGET_HOME";
        /// The pid that the payload had.
        TARGET_PID = "TARGET_PID";
        /// The process group that the payload began in.
        TARGET_PGID = "TARGET_PGID";
        /// The payload's exit code, or 128+n where signal n ended it.
        TARGET_RC = "TARGET_RC";
        /// The signal that ended the payload; absent where it exited.
        TARGET_SIGNAL = "TARGET_SIGNAL";
        /// 1 where the payload wrote a core, else 0.
        TARGET_CORE_DUMPED = "TARGET_CORE_DUMPED";
        /// How many processes the payload left behind.
        STRAGGLERS = "STRAGGLERS";
        /// When the payload began, in seconds since 1970.
        START_TIME = "START_TIME";
        /// When the payload ended, in seconds since 1970.
        END_TIME = "END_TIME";
        /// The payload's user CPU time in seconds, with a fraction.
        USER_SECONDS = "USER_SECONDS";
        /// The payload's system CPU time in seconds, with a fraction.
        SYSTEM_SECONDS = "SYSTEM_SECONDS";
        /// The largest resident set of one of the payload's processes, in KiB.
        MAX_RSS_KIB = "MAX_RSS_KIB";
    }
}
