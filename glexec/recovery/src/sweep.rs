//! Paying what a glexec owes that is gone: end what is left of its payload, run the epilogue,
//! remove the entry. Never two at a time: the entry's lock is held throughout.

use crate::entries::{self, Taken};
use crate::hand_back::{self, HandBack};
use crate::orphans::{self, Left, Lost};
use act::clock::now;
use act::descendants::Exempt;
use act::epilogue::{self, EpilogueContext};
use act::event_sources::EventSources;
use act::launch::leave_foreign;
use act::leases;
use act::root::Root;
use act::state::{self, RunRecord, StateDir};
use act::stragglers::{EventWait, Graces};
use contract::{EpilogueResult, Reason, ResourceUsage};
use decide::config::EpilogueRule;
use decide::entry::{Bytes, Place};
use decide::epilogue_environment::{Late, environment};
use decide::epilogue_identity::EpilogueIdentity;
use decide::recorded_run::{Owed, RecordedRun, Trigger};
use decide::refusal::Refusal;
use decide::reporter::{Level, Reporter};
use decide::state_machine::{Clocks, Progress, StateMachine};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, Uid};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};
use system::Birth;
use system::kernel;
use system::process;
use system::text::escaped;

/// So many debts are held, and their processes ended, at a time.
const AT_ONCE: usize = 64;
/// How long a sweep waits, all in all, for entries that somebody else than their glexec has locked.
const MOMENT: Duration = Duration::from_secs(2);

/// Which entries a sweep goes through.
pub(crate) struct Which<'w> {
    /// By their file's name.
    pub named: &'w dyn Fn(&str) -> bool,
    /// By what they tell.
    pub wanted: &'w dyn Fn(&RecordedRun) -> bool,
}

/// An entry's name, and the debt.
type Debtor = (String, (RunRecord, RecordedRun));

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The epilogue ran to its own end, or was timed out; or it had before.
    Paid(String),
    /// Not yet due again: seconds since 1970.
    Later(u64),
    /// Still owed.
    Failed(String),
    /// It was set aside, and a person does not want it any more.
    Dropped,
    /// Set aside: somebody has to look.
    Aside(String),
    /// Its glexec lives (pid).
    Live(i32),
    /// Not to be read, or none of ours; left as it is.
    Odd(String),
}

/// What a sweep works with.
pub(crate) struct Sweep<'a> {
    pub root: &'a Root,
    pub directory: &'a StateDir,
    /// Today's epilogue, and as whom it runs.
    pub epilogue: Option<(&'a EpilogueRule, &'a EpilogueIdentity)>,
    pub kill_grace: Duration,
    pub reporter: &'a dyn Reporter,
    watch: EventSources,
    machine: StateMachine,
    hurry: bool,
    place: Place,
    payer: Trigger,
    /// Children of this process that are nobody's stragglers.
    pub asides: Vec<Birth>,
    /// The control groups in which this process is nobody's but root's.
    safe: Option<Vec<u8>>,
    /// Until when entries are waited for that somebody else than their glexec has locked.
    moment: Instant,
}

impl<'a> Sweep<'a> {
    /// Makes this process one that can run epilogues: it reaps what they leave behind.
    ///
    /// # Errors
    /// [`Reason::Internal`], [`Reason::NoProc`].
    pub(crate) fn new(
        root: &'a Root,
        directory: &'a StateDir,
        epilogue: Option<(&'a EpilogueRule, &'a EpilogueIdentity)>,
        kill_grace: Duration,
        reporter: &'a dyn Reporter,
    ) -> Result<Self, Refusal> {
        let failed = |what: &str, errno: nix::errno::Errno| {
            Refusal::new(Reason::Internal, "the sweep could not start; see the log")
                .detail(format!("{what}: {}", errno.desc()))
        };
        kernel::control(libc::PR_SET_CHILD_SUBREAPER, 1)
            .map_err(|e| failed("PR_SET_CHILD_SUBREAPER", e))?;
        let safe = leave_foreign(root, None, reporter);
        let watch = EventSources::new(None, None).map_err(|e| failed("signalfd", e))?;
        let place = state::place()
            .ok_or_else(|| Refusal::new(Reason::NoProc, "there is no usable /proc"))?;
        let mut machine = StateMachine::new(Clocks { kill_grace, term_grace: None });
        machine.progress = Progress::After;
        let hurry = false;
        let payer = Trigger::Root;
        Ok(Self {
            root,
            directory,
            epilogue,
            kill_grace,
            reporter,
            watch,
            machine,
            hurry,
            place,
            payer,
            asides: Vec::new(),
            safe,
            moment: Instant::now(),
        })
    }

    /// Takes up again what was set aside; gives the entry's name.
    ///
    /// # Errors
    /// [`Reason::Usage`] for a name that is none of theirs; [`Reason::State`].
    pub(crate) fn take_up(&self, wanted: &str) -> Result<String, Refusal> {
        let record = entries::take_aside(self.directory, wanted)?;
        let failed = by_hand_failed(record.name(), "taken up");
        let name = record.take_up(now()).map_err(failed)?;
        self.reporter.log(Level::Notice, &format!("{name} is taken up again by hand"));
        Ok(name)
    }

    /// Drops what was set aside: nothing of it is run any more.
    ///
    /// # Errors
    /// As [`Sweep::take_up`].
    pub(crate) fn drop_aside(&self, wanted: &str) -> Result<(String, Settled), Refusal> {
        let record = entries::take_aside(self.directory, wanted)?;
        record.remove().map_err(by_hand_failed(record.name(), "dropped"))?;
        let name = record.name().to_owned();
        let text = format!("{name} is dropped by hand: what it owed is not run");
        self.reporter.log(Level::Warning, &text);
        Ok((name, Settled::Dropped))
    }

    /// Goes through every entry that `which` wants. `until` is how long those that live are waited
    /// for.
    ///
    /// # Errors
    /// [`Reason::State`].
    pub(crate) fn run(
        &mut self,
        Which { named, wanted }: Which<'_>,
        payer: Trigger,
        until: Option<Instant>,
    ) -> Result<Vec<(String, Settled)>, Refusal> {
        self.payer = payer;
        self.moment = Instant::now() + MOMENT;
        let mut names = self.directory.entries()?;
        names.retain(|name| named(name));
        let (mut all, mut owed) = (Vec::new(), Vec::new());
        for name in names {
            match self.take(&name, wanted, until) {
                None => {}
                Some(Taken::Owed(debt)) => owed.push((name, *debt)),
                Some(Taken::Odd(why)) => all.push((name, Settled::Odd(why))),
                Some(Taken::Held { holder, .. }) => {
                    let pid = holder.map_or(0, Pid::as_raw);
                    all.push((name, Settled::Live(pid)));
                }
            }
            // Each debt holds a descriptor, and so does each process that is ended.
            if owed.len() >= AT_ONCE {
                self.settle_all(&mut owed, &mut all);
            }
        }
        self.settle_all(&mut owed, &mut all);
        Ok(all)
    }

    /// Takes one entry. One whose glexec lives is waited for, for as long as the sweep's caller
    /// wants; one that another sweep is at, at least a moment: it lets go when it has paid.
    fn take(
        &self,
        name: &str,
        wanted: &dyn Fn(&RecordedRun) -> bool,
        until: Option<Instant>,
    ) -> Option<Taken> {
        let moment = self.moment;
        loop {
            let taken = entries::take(self.directory, name, wanted)?;
            let Taken::Held { recorded, holder } = &taken else { return Some(taken) };
            let own =
                recorded.as_ref().is_some_and(|recorded| self.is_own_glexec(recorded, *holder));
            let until = if own { until } else { Some(until.map_or(moment, |u| u.max(moment))) };
            if !until.is_some_and(|until| wait_for(*holder, until)) {
                return Some(taken);
            }
        }
    }

    /// Whether the holder of an entry's lock is the glexec that wrote it. Where that cannot be told
    /// it is.
    fn is_own_glexec(&self, recorded: &RecordedRun, holder: Option<Pid>) -> bool {
        let (entry, Some(holder)) = (&recorded.entry, holder) else { return false };
        if entry.place != self.place {
            return true;
        }
        entry.glexec.pid == holder.as_raw()
            && process::birth(holder).map_or(true, |birth| birth == Some(entry.glexec))
    }

    /// Ends what is left of all these runs, side by side, and then pays one after another.
    fn settle_all(&mut self, owed: &mut Vec<Debtor>, all: &mut Vec<(String, Settled)>) {
        // Whether it was due is to be told before the time that ending takes.
        let due: Vec<Owed> =
            owed.iter().map(|(_, (_, recorded))| recorded.debt(now(), self.payer)).collect();
        let lost: Vec<Lost<'_>> =
            owed.iter().filter_map(|(_, (_, recorded))| self.lost(recorded)).collect();
        let mut left = orphans::end(self.root, &lost, self.kill_grace).into_iter();
        let unknown = Left { payload: 1, epilogue: 1 };
        let left: Vec<Left> = owed
            .iter()
            .map(|(_, (_, recorded))| match self.lost(recorded) {
                Some(_) => left.next().unwrap_or(unknown),
                None => Left::default(),
            })
            .collect();
        for ((name, (record, recorded)), (due, left)) in
            owed.drain(..).zip(due.into_iter().zip(left))
        {
            let settled = self.settle((record, &recorded), due, left);
            all.push((name, settled));
        }
    }

    /// In another boot there is nothing left; in a foreign pid namespace no pid says anything,
    /// and an account that was the run's alone still does.
    fn lost<'s>(&self, recorded: &'s RecordedRun) -> Option<Lost<'s>> {
        let place = &recorded.entry.place;
        let pids = place.pid_namespace == self.place.pid_namespace;
        let epilogue_user =
            self.epilogue.map_or(Uid::from_raw(0), |(_, identity)| identity.account.uid);
        (place.boot == self.place.boot).then_some(Lost { recorded, pids, epilogue_user })
    }

    fn settle(
        &mut self,
        (mut record, recorded): (RunRecord, &RecordedRun),
        due: Owed,
        left: Left,
    ) -> Settled {
        let Left { payload: left, epilogue: running } = left;
        if left + running > 0 {
            let text = format!("{} processes of a lost run cannot be ended", left + running);
            self.reporter.log(Level::Warning, &text);
        }
        let entry = &recorded.entry;
        let same_boot = entry.place.boot == self.place.boot;
        let which = (self.directory, &record, recorded);
        let back = hand_back::give_back(self.root, which, (self.payer, same_boot), self.reporter);
        if entry.exclusive {
            leases::touch(self.directory, Uid::from_raw(entry.target.uid));
        }
        if !entry.owes_epilogue {
            return match left {
                0 => self.conclude(&mut record, "nothing more was owed", &back),
                _ => Settled::Failed(format!("{left} processes of the account cannot be ended")),
            };
        }
        let attempt = match due {
            Owed::Later(at) => return Settled::Later(at),
            Owed::Paid => return self.conclude(&mut record, "paid before", &back),
            Owed::Hopeless => return self.give_up(&mut record, "tried too often", &back),
            Owed::Due(attempt) => attempt,
        };
        if running > 0 {
            // Never two at a time.
            return Settled::Failed("an epilogue that was interrupted cannot be ended".to_owned());
        }
        let Some((rule, identity)) = self.epilogue else {
            let why = "the configuration has no epilogue any more";
            return self.give_up(&mut record, why, &back);
        };
        if let Err(stop) = identity.keep_apart(&recorded.entry.caller, &recorded.entry.target) {
            return Settled::Failed(stop.detail.unwrap_or(stop.sentence));
        }
        let (result, took) = self.pay(&record, recorded, rule, identity, attempt);
        let text = format!(
            "settled {}->{}: epilogue={} attempt={attempt} epilogue_seconds={:.3} run={}",
            escaped(entry.caller.name.as_bytes()),
            escaped(entry.target.name.as_bytes()),
            result.word(),
            took.as_secs_f64(),
            escaped(entry.run_id.as_bytes()),
        );
        self.reporter.log(Level::Notice, &text);
        if result.is_owed() {
            let how =
                if result == EpilogueResult::NotStarted { "not started" } else { "interrupted" };
            return Settled::Failed(format!("the epilogue was {how}"));
        }
        self.conclude(&mut record, result.word(), &back)
    }

    /// The epilogue is paid: removes the entry where the directories are back, too.
    fn conclude(&self, record: &mut RunRecord, word: &str, back: &HandBack) -> Settled {
        match back {
            HandBack::Done => self.remove(record, word),
            HandBack::Later(at) => Settled::Later(*at),
            HandBack::Owed(why) => Settled::Failed(why.clone()),
            HandBack::Hopeless => {
                self.aside(record, "what the payload had could not be taken back")
            }
        }
    }

    /// The epilogue is not tried any more. The entry is set aside once the directories are back, or
    /// are given up as well.
    fn give_up(&self, record: &mut RunRecord, why: &str, back: &HandBack) -> Settled {
        match back {
            HandBack::Done | HandBack::Hopeless => self.aside(record, why),
            HandBack::Later(at) => Settled::Later(*at),
            HandBack::Owed(why) => Settled::Failed(why.clone()),
        }
    }

    fn pay(
        &mut self,
        record: &RunRecord,
        recorded: &RecordedRun,
        rule: &EpilogueRule,
        identity: &EpilogueIdentity,
        attempt: u32,
    ) -> (EpilogueResult, Duration) {
        /// What a shell would say of a payload that was killed, where nobody saw it end.
        const KILLED: u8 = 137;
        let entries = |list: &[Bytes]| list.iter().filter_map(Bytes::to_entry).collect::<Vec<_>>();
        let entry = &recorded.entry;
        let (ending, usage, stragglers, end) =
            recorded.ended().unwrap_or((Err(KILLED), ResourceUsage::default(), 0, now()));
        let payload = recorded.payload().map_or(0, |birth| birth.pid);
        let late = Late {
            glexec_pid: entry.glexec.pid,
            glexec_session: entry.session,
            glexec_group: entry.group,
            payload_pid: payload,
            payload_group: if entry.shares_group { entry.group } else { payload },
            ending,
            usage,
            stragglers,
            start: entry.since,
            end,
            attempt,
            lost: true,
        };
        let known = environment(
            rule.environment,
            identity,
            &entries(&entry.environment),
            &entries(&entry.told),
        );
        let whole: Vec<_> = known.into_iter().chain(late.variables()).collect();
        let epilogue = rule.epilogue(identity.clone(), Vec::new());
        let grace = self.kill_grace;
        let context = EpilogueContext {
            spared: Exempt { asides: self.asides.clone(), ..Exempt::default() },
            graces: Graces { kill: grace, nested: rule.timeout + grace },
            environment: whole,
            epilogue: &epilogue,
            record: Some(record),
            attempt,
            within: self.payer == Trigger::Caller,
            safe: self.safe.as_deref(),
        };
        let (watch, machine, hurry) = (&mut self.watch, &mut self.machine, &mut self.hurry);
        epilogue::run(self.root, &mut EventWait { watch, machine, hurry }, &context, self.reporter)
    }

    fn remove(&self, record: &RunRecord, word: &str) -> Settled {
        match record.remove() {
            Ok(()) => Settled::Paid(word.to_owned()),
            Err(errno) => Settled::Failed(format!("paid, and not removed: {}", errno.desc())),
        }
    }

    fn aside(&self, record: &mut RunRecord, why: &str) -> Settled {
        let text = format!(
            "{} is set aside: {why}; glexec-admin sweep --retry or --drop deals with it",
            record.name()
        );
        self.reporter.log(Level::Error, &text);
        match record.set_aside() {
            Ok(()) => Settled::Aside(why.to_owned()),
            Err(errno) => Settled::Failed(format!("{why}, and not set aside: {}", errno.desc())),
        }
    }
}

fn by_hand_failed(name: &str, how: &str) -> impl FnOnce(nix::errno::Errno) -> Refusal + use<> {
    let what = format!("{name} could not be {how}");
    move |errno| {
        Refusal::new(Reason::State, "what was set aside cannot be dealt with; see the log")
            .detail(format!("{what}: {}", errno.desc()))
    }
}

/// Waits for a process that is not our child to end, and looks again now and then: it may be
/// another sweep, which lets go of this entry and goes on. False where the time is up.
fn wait_for(holder: Option<Pid>, until: Instant) -> bool {
    const LOOK: Duration = Duration::from_millis(200);
    const NAP: Duration = Duration::from_millis(50);
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    let timeout =
        |span: Duration| PollTimeout::try_from(left.min(span)).unwrap_or(PollTimeout::ZERO);
    let _ = match holder.map(kernel::pidfd) {
        Some(Ok(pidfd)) => {
            poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout(LOOK))
        }
        // Gone already, or its number cannot be seen from here: do not spin.
        Some(Err(_)) | None => poll(&mut [], timeout(NAP)),
    };
    true
}
