//! Asking glexec to pay what is owed of this user's own finished runs.

use super::held_run::read_records;
use contract::{Invocation, Mode, Record};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// What became of the runs that matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Paid by this call.
    pub paid: u32,
    /// Their glexec still lived when the time was up.
    pub live: u32,
    /// They still owe.
    pub owed: u32,
}

/// Pays what is owed of the runs with these keys (`KEY=VALUE`), and waits up to `limit` for those
/// that live; `None` where glexec has not answered.
///
/// # Errors
/// Where it cannot be started.
pub fn settle(
    program: &Path,
    keys: &[OsString],
    limit: Duration,
) -> io::Result<Option<Settlement>> {
    const FIRST_NAP: Duration = Duration::from_millis(20);
    const LONGEST_NAP: Duration = Duration::from_millis(200);
    let until = Instant::now() + limit;
    let mut nap = FIRST_NAP;
    let mut paid = 0u32;
    loop {
        let invocation =
            Invocation { mode: Mode::Settle, words: keys.to_vec(), ..Invocation::default() };
        let left = until.saturating_duration_since(Instant::now());
        let records = read_records(program, invocation, Vec::new(), left)?;
        let told = records.iter().find_map(|record| {
            let Record::Settled { paid, live, owed } = record else { return None };
            Some((*paid, *live, *owed))
        });
        let Some((now, live, owed)) = told else { return Ok(None) };
        paid = paid.saturating_add(now);
        let left = until.saturating_duration_since(Instant::now());
        if live == 0 || left.is_zero() {
            return Ok(Some(Settlement { paid, live, owed }));
        }
        #[expect(clippy::disallowed_methods, reason = "bounded, and nothing tells of the end")]
        std::thread::sleep(nap.min(left));
        nap = (nap * 2).min(LONGEST_NAP);
    }
}
