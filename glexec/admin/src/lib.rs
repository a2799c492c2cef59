//! `glexec-admin`: what the administrator asks of a node. Not setuid.

mod advice;
mod check;
mod credentials;
mod doctor;
mod epilogue;
mod explain;
mod findings;
mod grants;
mod init;
mod install;
mod leases;
mod map;
mod metrics;
mod migrate;
mod node;
mod obeyed;
mod rehearse;
mod runs;
mod selftest;
mod show;
mod terminal;

pub use explain::reasons_page;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "glexec-admin", version, about = "Looks after glexec on this node.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate the configuration and show what it grants. Exit code 0: usable; 1: not
    Check {
        /// Look at this file alone, instead of those of the site
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Also rehearse a run of this account (name or uid); its answer changes no exit code
        #[arg(long = "as", value_name = "USER")]
        user: Option<String>,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say what is wrong with configuration, node and scheduler (Slurm, HTCondor), each with what to
    /// do. Exit code 0: nothing by which runs or jobs fail; 1: something
    Doctor {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what the configuration in force says, key by key, and where it is from. Exit code 0:
    /// usable; 1: not
    Show {
        /// With what each key takes and what it is for
        #[arg(long)]
        explain: bool,
        /// As one JSON array
        #[arg(long, conflicts_with = "explain")]
        json: bool,
    },
    /// Show whom a subject, or the credential or token in a file, is mapped to, as a run would be; makes no
    /// lease, unless LCMAPS is asked. Exit code 0: to an account; 1: to none
    Map {
        /// A subject as grid-mapfiles have it
        #[arg(long, value_name = "DN", required_unless_present_any = ["credential", "token"])]
        dn: Option<String>,
        /// A credential in a file, as its owner would present it
        #[arg(long, value_name = "FILE", conflicts_with = "dn")]
        credential: Option<PathBuf>,
        /// A token in a file, as its owner would present it
        #[arg(long, value_name = "FILE", conflicts_with_all = ["dn", "credential"])]
        token: Option<PathBuf>,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print gLExec 0.9's configuration as one for /etc/glexec.toml, with a comment for each change.
    /// Exit code 0: it is one; 1: it is none
    Migrate {
        /// Read this file instead of /etc/glexec.conf
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    #[command(hide = true, name = rehearse::AS_USER)]
    RehearseAs { user: String },
    /// Say what an exit code, a reason (one of HTCondor's hooks, too) or an epilogue's result means,
    /// and what to do; without a word, list them. Exit code 0: it is one; 1: it is none
    Explain {
        /// An exit code (202), a reason (not-listed), or an epilogue's result (timeout)
        #[arg(value_name = "WORD", allow_hyphen_values = true)]
        word: Option<String>,
    },
    /// Write a configuration that works, and say what comes next. Makes no accounts and replaces
    /// nothing. Exit code 0: written; 1: not
    Init(init::Asked),
    /// Run /usr/bin/id through the installed glexec, as one of its callers, and show what came of
    /// it: ids, exit code, epilogue, log. Exit code 0: all as it should be; 1: not
    Selftest {
        /// Who calls it, instead of the first who is listed and mapped by name
        #[arg(long, value_name = "USER")]
        caller: Option<String>,
    },
    #[command(hide = true, name = selftest::AS_CALLER)]
    SelftestAs { user: String },
    /// Show what lingers or is owed
    Ps {
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show the accounts of pools and gridmapdirs, and whose they are. Exit code 0; 1: --release was
    /// refused because a run has the account; 2: it could not be done
    Leases {
        /// Take the lease of this subject, or of this account of a gridmapdir, back
        #[arg(long, value_name = "SUBJECT|ACCOUNT", conflicts_with = "json")]
        release: Option<String>,
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Count on, from the log file, and show launches, refusals, ends, epilogues and what is owed as
    /// metrics of Prometheus. Exit code 0; 2: it could not be done
    Metrics {
        /// Write them here, whole or not at all, for node_exporter's textfile collector
        #[arg(long, value_name = "FILE")]
        textfile: Option<PathBuf>,
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
    /// End what is left of runs whose glexec is gone, and run the epilogues they owe. Exit code
    /// 0: nothing is owed; 1: something still is; 2: it could not be done; 3: with --job or
    /// --wait, all that is left lives
    Sweep {
        /// Only runs with this job key; several must all match. Does not wait for pauses
        #[arg(long, value_name = "KEY=VALUE")]
        job: Vec<OsString>,
        /// Only runs of this caller
        #[arg(long, value_name = "UID")]
        caller: Option<u32>,
        /// Wait so long for runs that live
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u32>,
        /// Without the pauses between attempts
        #[arg(long)]
        now: bool,
        /// Try again what was set aside (a name or run id of ps), and nothing else
        #[arg(long, value_name = "NAME")]
        retry: Vec<String>,
        /// Give up what was set aside (a name or run id of ps): what it owes is never run
        #[arg(long, value_name = "NAME")]
        drop: Vec<String>,
        /// As one JSON array
        #[arg(long)]
        json: bool,
    },
}

/// The command line of glexec-admin, for who documents it.
#[must_use]
pub fn command_line() -> clap::Command {
    CommandLine::command()
}

/// The door of glexec-admin. `build` is the commit and the C library, for `--version`.
#[must_use]
pub fn admin(build: Option<&str>) -> ExitCode {
    // clap puts the name before it, and an end of line behind it.
    let version = about::version("", build).trim().to_owned();
    let matches = command_line().version(&*version.leak()).get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    ExitCode::from(match line.command {
        Command::Check { config, user, json } => check::run(check::Asked { config, user, json }),
        Command::Doctor { json } => doctor::run(json),
        Command::Show { explain, json } => show::run(explain, json),
        Command::Migrate { file } => migrate::run(file),
        Command::Map { dn, credential, token, json } => {
            let about = match (dn, credential, token) {
                (_, Some(file), _) => map::About::Credential(file),
                (_, None, Some(file)) => map::About::Token(file),
                (dn, None, None) => map::About::Subject(dn.unwrap_or_default()),
            };
            map::run(&about, json)
        }
        Command::RehearseAs { user } => told(rehearse::become_user(&user)),
        Command::Explain { word } => explain::run(word.as_deref()),
        Command::Init(asked) => init::run(&asked),
        Command::Selftest { caller } => selftest::run(caller),
        Command::SelftestAs { user } => told(selftest::become_caller(&user)),
        Command::Ps { json } => runs::ps(json),
        Command::Metrics { textfile, json } => metrics::run(textfile.as_deref(), json),
        Command::Leases { release: Some(whose), .. } => leases::release(&whose),
        Command::Leases { release: None, json } => leases::list(json),
        Command::Sweep { job, caller, wait, now, retry, drop, json } => {
            let wait = wait.map(|seconds| std::time::Duration::from_secs(seconds.into()));
            let by_caller = false;
            let wanted =
                decide::settling::Wanted { job, caller, wait, now, by_caller, retry, drop };
            runs::sweep(&wanted, json)
        }
    })
}

/// Prints what a child of this program's tells it.
fn told(done: Result<String, String>) -> u8 {
    match done {
        Ok(text) => u8::from(!report::print(&text)),
        Err(sentence) => {
            let line = sentence + "\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            1
        }
    }
}
