//! What is read and opened before a debt is paid, and the program that does it.

use crate::sweep::{Settled, Sweep, Which};
use act::root::{Privilege, Root};
use act::sink::Post;
use act::state::{Settling, StateDir, is_of_caller};
use act::threshold;
use contract::Reason;
use decide::config::Config;
use decide::recorded_run::{RecordedRun, Trigger};
use decide::refusal::Refusal;
use decide::reporter::Reporter;
use decide::settling::{Became, Row, SettleCall, Wanted, answer, pairs};
use nix::unistd::{Gid, Uid};
use observe::accounts::{AccountFiles, Lookups};
use observe::config_file;
use report::SiteReporter;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::time::Instant;
use system::Birth;
use system::kernel;

/// The exit code where the program was not called by glexec.
const NOT_STARTED: u8 = 127;

/// The program: glexec-settle is executed by a process that is root's alone, and answers on the
/// descriptor that it is told of.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|_| kernel::exit_now(Reason::Internal.fault().exit_code())));
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(call) = SettleCall::read(&words) else { kernel::exit_now(NOT_STARTED) };
    let (uid, gid) = call.answer_as;
    let started = threshold::of_root_alone((Uid::from_raw(uid), Gid::from_raw(gid)));
    let Ok((privilege, root)) = started else { kernel::exit_now(NOT_STARTED) };
    let lock = call.lock.map(|(number, caller)| Settling::inherited(number, caller));
    let answered = answer(&swept(&root, &privilege, &call, lock.as_ref()));
    // The reader may sleep and the pipe may be small: this may wait, so it is done as the caller.
    let told = privilege.give_up().is_ok()
        && File::from(kernel::adopt(call.answer)).write_all(answered.as_bytes()).is_ok();
    kernel::exit_now(u8::from(!told))
}

/// Pays, and logs it where the site wants it.
fn swept(
    root: &Root,
    privilege: &Privilege,
    call: &SettleCall,
    lock: Option<&Settling>,
) -> Result<Vec<Row>, Refusal> {
    let config = config_file::read()?;
    let early = Post::syslog(Some(privilege));
    let post = Post::open(Some(privilege), &config.log);
    let reporter = SiteReporter::new(&early, Uid::current().to_string());
    if let Ok(post) = &post {
        reporter.use_log(&config.log, post);
    }
    let settled =
        sweep(root, (privilege, call.asides.clone()), (&config, &call.wanted), &reporter)?;
    if let Some(lock) = lock {
        StateDir::open(root, &config.state)?.is_settled(lock);
    }
    Ok(settled.into_iter().map(row).collect())
}

/// Pays what is owed.
///
/// # Errors
/// [`Reason::Usage`] for a word that is no `KEY=VALUE`; those of state directory and accounts.
fn sweep(
    root: &Root,
    (privilege, closers): (&Privilege, Vec<Birth>),
    (config, wanted): (&Config, &Wanted),
    reporter: &dyn Reporter,
) -> Result<Vec<(String, Settled)>, Refusal> {
    let job = pairs(&wanted.job)?;
    let directory = StateDir::open(root, &config.state)?;
    let identity = match &config.epilogue {
        Some(rule) => {
            let files = AccountFiles::read(&config_file::Etc::open());
            let mut lookups = Lookups::new(Some(privilege), files, config.account_source)?;
            Some(lookups.epilogue(|| privilege.raise(), rule)?)
        }
        None => None,
    };
    let epilogue = config.epilogue.as_ref().zip(identity.as_ref());
    let mut sweep = Sweep::new(root, &directory, epilogue, config.kill_grace, reporter)?;
    sweep.asides = closers;
    let is_wanted = |recorded: &RecordedRun| {
        wanted.caller.is_none_or(|uid| recorded.entry.caller.uid == uid) && recorded.matches(&job)
    };
    let until = wanted.wait.map(|wait| Instant::now() + wait);
    // Who asks for one job wants it done, not scheduled.
    let at_once = wanted.now || !job.is_empty();
    let payer = match (wanted.by_caller, at_once) {
        (true, _) => Trigger::Caller,
        (false, true) => Trigger::RootAtOnce,
        (false, false) => Trigger::Root,
    };
    let mut rows = Vec::new();
    for name in &wanted.drop {
        rows.push(sweep.drop_aside(name)?);
    }
    let retried: Vec<String> =
        wanted.retry.iter().map(|name| sweep.take_up(name)).collect::<Result<_, _>>()?;
    let by_hand = !(wanted.drop.is_empty() && wanted.retry.is_empty());
    let is_named = |name: &str| {
        wanted.caller.is_none_or(|uid| is_of_caller(name, uid))
            && (!by_hand || retried.iter().any(|retried| retried == name))
    };
    if !by_hand || !retried.is_empty() {
        rows.extend(sweep.run(Which { named: &is_named, wanted: &is_wanted }, payer, until)?);
    }
    Ok(rows)
}

fn row((name, settled): (String, Settled)) -> Row {
    let (result, detail) = match settled {
        Settled::Paid(word) => (Became::Paid, word),
        Settled::Dropped => (Became::Dropped, "nothing of it is run".to_owned()),
        Settled::Later(at) => (Became::Later, format!("next attempt not before {at}")),
        Settled::Failed(why) => (Became::Owed, why),
        Settled::Aside(why) => (Became::Aside, why),
        Settled::Live(pid) => (Became::Live, format!("pid {pid}")),
        Settled::Odd(why) => (Became::Odd, why),
    };
    Row { name, result, detail }
}
