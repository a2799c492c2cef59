//! Why glexec stopped before or without a payload: a stable word, and whose fault it was.

/// Whose move it is. The exit code follows from it and from nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller must change something (201).
    Client,
    /// The site must act (202).
    Internal,
    /// Refused: not listed, banned, not mapped (203).
    Denied,
}

impl Fault {
    /// The exit code of a fault: 201, 202 or 203 (Nikhef wiki, "Exit codes of gLExec").
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Client => super::outcome::CALLER_MUST_ACT,
            Self::Internal => super::outcome::ADMIN_MUST_ACT,
            Self::Denied => super::outcome::REFUSED,
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal, $fault:ident;)*) => {
        /// Why a run stopped. The words are stable: scripts and hooks may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason there is, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word, as in the status stream and the log.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Whose fault it is; the exit code follows from this.
            #[must_use]
            pub const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }

            /// What has happened, in a sentence or two, for documents.
            #[cfg(feature = "read")]
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*),)* }
            }
        }
    };
}

reasons! {
    /// The command line cannot be understood.
    Usage = "usage", Client;
    /// There is no command to run.
    NoCommand = "no-command", Client;
    /// The command does not exist for the target.
    CommandNotFound = "command-not-found", Client;
    /// The command exists and the target may not execute it.
    CommandNotExecutable = "command-not-executable", Client;
    /// The caller's working directory is gone and the command is relative to it.
    DirectoryGone = "directory-gone", Client;
    /// A named descriptor is not an open pipe or socket above 2.
    Descriptor = "descriptor", Client;
    /// The epilogue could not be given this command line: too long for exec.
    ArgumentsTooLong = "arguments-too-long", Client;
    /// The caller's resource limits are too low and may not be raised.
    Limits = "limits", Client;
    /// The caller's process has a setting that root's own program would inherit, that would harm
    /// it, and that cannot be undone.
    ProcessState = "process-state", Client;
    /// A directory that was to be handed over cannot be.
    HandOver = "hand-over", Client;
    /// The credential is missing, unreadable, or cannot be verified.
    Credential = "credential", Client;
    /// The option is known and what it needs is not built yet, or not switched on.
    NotAvailable = "not-available", Client;
    /// glexec has no root rights: not installed setuid root.
    NotSetuid = "not-setuid", Internal;
    /// The caller runs with `no_new_privs`.
    NoNewPrivs = "no-new-privs", Internal;
    /// glexec lies on a file system mounted nosuid.
    NosuidMount = "nosuid-mount", Internal;
    /// glexec was called inside a user namespace.
    UserNamespace = "user-namespace", Internal;
    /// The configuration file does not exist.
    ConfigMissing = "missing", Internal;
    /// The configuration file could be changed by others, or could not be opened safely.
    ConfigUntrusted = "untrusted", Internal;
    /// The configuration file cannot be understood, or asks for what cannot be had.
    ConfigMalformed = "malformed", Internal;
    /// The epilogue, or the path to it, could be changed by somebody who is not trusted.
    EpilogueUntrusted = "epilogue-untrusted", Internal;
    /// Caller or target is the epilogue's own identity, or that identity cannot be had.
    EpilogueIdentity = "epilogue-identity", Internal;
    /// The account database cannot be read.
    Accounts = "accounts", Internal;
    /// The files that map by credential, or the program that reads them, cannot be used.
    Mapping = "mapping", Internal;
    /// The audit line could not be delivered.
    Audit = "audit", Internal;
    /// The state directory cannot be used.
    State = "state", Internal;
    /// The caller has as many lingering runs as the site allows.
    TooManyRuns = "too-many-runs", Internal;
    /// The target may not enter the directory in which the payload has to begin, or one above what is
    /// handed over.
    DirectoryClosed = "directory-closed", Internal;
    /// Every account of the pool is in use.
    NoFreeAccount = "no-free-account", Internal;
    /// There is no usable /proc.
    NoProc = "no-proc", Internal;
    /// /dev/null is missing, or is not the null device.
    NoDevNull = "no-dev-null", Internal;
    /// A step of the identity switch failed.
    Switch = "switch", Internal;
    /// A system call that never fails did.
    Internal = "internal", Internal;
    /// The caller is on no white list.
    NotListed = "not-listed", Denied;
    /// The caller is banned.
    Banned = "banned", Denied;
    /// No mapping rule names the caller.
    NoMapping = "no-mapping", Denied;
    /// The mapped account does not exist.
    TargetUnknown = "target-unknown", Denied;
    /// The mapped account may not be a target.
    TargetNotAdmitted = "target-not-admitted", Denied;
    /// The mapped ids are not the ids the caller named.
    IdsDiffer = "ids-differ", Denied;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_different_and_plain() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
