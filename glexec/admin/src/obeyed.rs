//! Variables that programs of an epilogue obey.

use decide::config::Kept;

/// Names from which programs that an epilogue may start take files, programs, plug-ins or servers.
const OBEYED_BEGINNING_WITH: [&str; 26] = [
    "SLURM_",
    "SQUEUE_",
    "SACCT_",
    "SCONTROL_",
    "_CONDOR_",
    "CONDOR_",
    "PBS_",
    "SGE_",
    "LSF_",
    "GIT_",
    "KRB5",
    "OPENSSL_",
    "SSL_",
    "XDG_",
    "X509_",
    "CURL_",
    "AWS_",
    "DBUS_",
    "SYSTEMD_",
    "NOTIFY_",
    "LESS",
    "TERMINFO",
    "GNUPG",
    "RSYNC_",
    "MAN",
    "RES_",
];

/// The same, whole names.
const OBEYED: [&str; 18] = [
    "CURL_HOME",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "BROWSER",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "TZDIR",
    "TMP",
    "TEMP",
];

/// Whether a caller who may set this variable, or those that begin with this prefix, chooses what a
/// program of an epilogue obeys. A prefix covers its own `_CONF`, whatever it is.
pub(crate) fn is_obeyed(kept: &Kept) -> bool {
    match kept {
        // What is kept of these is looked at, value by value.
        Kept::Prefix(prefix) => prefix != "LC_",
        Kept::Name(name) => {
            name.contains("_CONF")
                || OBEYED.contains(&name.as_str())
                || OBEYED_BEGINNING_WITH.iter().any(|start| name.starts_with(start))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_obey_is_named_and_what_says_something_of_the_job_is_not() {
        let is = |name: &str| is_obeyed(&Kept::Name(name.to_owned()));
        for name in
            "SLURM_CONF _CONDOR_X CONDOR_CONFIG GIT_SSH KRB5CCNAME OPENSSL_CONF XDG_DATA_HOME \
            MY_CONFIG_FILE PAGER LESSOPEN http_proxy"
                .split_whitespace()
        {
            assert!(is(name), "{name}");
        }
        for name in "LANG TZ TERM BATCH_SYSTEM OMP_NUM_THREADS CUDA_VISIBLE_DEVICES".split(' ') {
            assert!(!is(name), "{name}");
        }
        assert!(is_obeyed(&Kept::Prefix("PMI_".to_owned())), "PMI_CONF");
        assert!(!is_obeyed(&Kept::Prefix("LC_".to_owned())));
    }
}
