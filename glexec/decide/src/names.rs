//! Environment names that reach neither payload nor epilogue, whatever the configuration says.

use contract::variables::EPILOGUE_PREFIX;

/// Loader, C library and interpreters take code or paths to code from these: a caller's would be
/// obeyed by the target's programs and by a root epilogue.
const NEVER: [&[u8]; 14] = [
    b"GLIBC_TUNABLES",
    b"GCONV_PATH",
    b"LOCPATH",
    b"NLSPATH",
    b"BASH_ENV",
    b"ENV",
    b"SHELLOPTS",
    b"BASHOPTS",
    b"PS4",
    b"IFS",
    b"CDPATH",
    b"PERLLIB",
    b"NODE_OPTIONS",
    b"JAVA_TOOL_OPTIONS",
];

/// The same, with anything after it.
const NEVER_BEGINNING_WITH: [&[u8]; 6] =
    [b"LD_", b"MALLOC_", b"BASH_FUNC_", b"PYTHON", b"PERL5", b"RUBY"];

/// Whether a variable of this name is dropped even where the configuration asks for it.
pub fn never_kept(name: &[u8]) -> bool {
    NEVER.contains(&name) || NEVER_BEGINNING_WITH.iter().any(|start| name.starts_with(start))
}

/// Whether `prefix` and something after it (or nothing) can be a name that is never kept, or one
/// that only glexec sets.
pub fn may_cover_never_kept(prefix: &[u8]) -> bool {
    let overlaps = |start: &[u8]| start.starts_with(prefix) || prefix.starts_with(start);
    NEVER.iter().any(|name| name.starts_with(prefix))
        || NEVER_BEGINNING_WITH.iter().any(|start| overlaps(start))
        || overlaps(EPILOGUE_PREFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_section_7_are_never_kept_and_their_neighbours_are() {
        let never = "LD_PRELOAD LD_ LD_LIBRARY_PATH MALLOC_CHECK_ GLIBC_TUNABLES GCONV_PATH LOCPATH NLSPATH \
            BASH_ENV ENV SHELLOPTS BASHOPTS BASH_FUNC_ls%% BASH_FUNC_x() PS4 IFS CDPATH PYTHONPATH PYTHONSTARTUP \
            PERL5LIB PERL5OPT PERL5DB PERLLIB RUBYOPT RUBYLIB NODE_OPTIONS JAVA_TOOL_OPTIONS";
        for name in never.split_whitespace() {
            assert!(never_kept(name.as_bytes()), "{name}");
        }
        let kept = "HOME PATH LD MALLOC ENVIRONMENT MY_ENV BASH PS1 PERL RUB NODE_PATH JAVA_HOME ld_preload \
            XLD_PRELOAD GLIBC_TUNABLES_ IFS2 CONDOR_CONFIG _CONDOR_EXECUTE SSL_CLIENT_CERT";
        for name in kept.split_whitespace() {
            assert!(!never_kept(name.as_bytes()), "{name}");
        }
        assert!(!never_kept(b""));
        assert!(never_kept(b"LD_\xff"));
    }

    #[test]
    fn a_prefix_covers_where_some_name_that_begins_with_it_is_never_kept() {
        for prefix in [
            "",
            "L",
            "LD_",
            "LD_X_",
            "BASH_",
            "PYTHON_X_",
            "PYTHON3_",
            "PERL5_",
            "RUBY_",
            "NODE_",
            "JAVA_",
            "JAVA_TOOL_",
            "GLIBC_",
            "GCONV_",
            "GLEXEC_",
            "GLEXEC_EPILOG_",
            "GLEXEC_EPILOG_JOB_",
            "MALLOC_",
        ] {
            assert!(may_cover_never_kept(prefix.as_bytes()), "{prefix}");
        }
        for prefix in [
            "_CONDOR_",
            "SLURM_",
            "ENV_",
            "PERL_",
            "NODE_OPTIONS_",
            "GLEXEC_EPILOGUE_",
            "GLEXEC_X_",
        ] {
            assert!(!may_cover_never_kept(prefix.as_bytes()), "{prefix}");
        }
    }
}
