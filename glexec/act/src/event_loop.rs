//! While the payload runs: waiting for its end, forwarding and obeying meanwhile.

use super::descendants::{self, Exempt};
use super::event_sources::{Event, input};
use super::exec_status::{Failure, StatusReader, Step, Verdict};
use super::parent_watch::ParentWatch;
use super::stragglers::{UNKILLABLE, event_of};
use super::supervisor::Run;
use contract::{Ending, Reason, Record, ResourceUsage, is_a_fault};
use decide::reporter::Level;
use decide::state_machine::{Action, Input};
use nix::errno::Errno;
use nix::unistd::Pid;
use std::os::fd::AsFd as _;
use std::time::Instant;
use system::kernel;
use system::process;
use system::signal_info::{Sender, Signal};
use system::text::escaped;

const CONT: u8 = 18;
const STOP: u8 = 19;
/// What is told of a payload whose status is gone.
const LOST: Ending = Ending::Killed { signal: 9, core: false };
/// What is told of a payload that did not end by KILL in time.
const GIVEN_UP: (Ending, ResourceUsage) = (
    Ending::Killed { signal: 9, core: false },
    ResourceUsage { user_us: 0, system_us: 0, max_rss_kib: 0 },
);

impl Run<'_> {
    /// Waits for the payload's end; forwards and obeys meanwhile. The payload is not reaped.
    pub(super) fn until_the_end(
        &mut self,
        reader: StatusReader,
    ) -> (Result<Ending, u8>, ResourceUsage) {
        let (mut reader, mut failure) = (Some(reader), None);
        let (mut silent, mut orphans_wait) = (None, false);
        loop {
            let mut others = vec![];
            others.extend(self.pidfd.as_ref().map(|fd| input(fd.as_fd())));
            others.extend(reader.as_ref().map(StatusReader::end));
            let look = self.parent.as_ref().map(ParentWatch::next);
            let now = orphans_wait.then(Instant::now);
            let next = [self.until, look, now].into_iter().flatten().min();
            let news = self.watch.wait(&others, next);
            drop(others);
            match reader.as_ref().map(StatusReader::verdict) {
                Some(Verdict::Pending) | None => {}
                Some(Verdict::Executed) => {
                    reader = None;
                    self.tell_started();
                }
                Some(verdict @ (Verdict::Ended | Verdict::Unknown)) => {
                    (reader, silent) = (None, Some(verdict));
                }
                Some(Verdict::Failed(told)) => {
                    reader = None;
                    failure = Some(self.not_started(told));
                }
            }
            let over = match self.pidfd {
                Some(_) => news.ready.first() == Some(&true),
                None => true,
            };
            if let Some((ending, usage)) = self.ended(over) {
                // By now the pipe says for certain what it did not when it was asked before.
                match reader.as_ref().map(StatusReader::last_verdict) {
                    Some(Verdict::Failed(told)) => failure = Some(self.not_started(told)),
                    Some(Verdict::Executed) => self.tell_started(),
                    Some(verdict) => silent = Some(verdict),
                    None => {}
                }
                if let (None, Some(verdict)) = (failure, silent) {
                    failure = self.died_before_exec(verdict, ending);
                }
                return (failure.map_or(Ok(ending), Err), usage);
            }
            news.heard.into_iter().for_each(|heard| self.attend(heard));
            self.stop_with_the_payload();
            match self.parent.as_mut().and_then(ParentWatch::look) {
                Some(true) => self.act(Action::Everybody(STOP)),
                Some(false) => self.act(Action::Everybody(CONT)),
                None => {}
            }
            if self.until.is_some_and(|until| Instant::now() >= until) {
                self.until = None;
                let action = self.machine.hear(Input::TimeUp, None);
                self.act(action);
                if self.gave_up {
                    return (failure.map_or(Ok(GIVEN_UP.0), Err), GIVEN_UP.1);
                }
            }
            orphans_wait = descendants::reap_orphans(self.payload);
        }
    }

    /// Where the payload shares the caller's terminal: a payload that was stopped stops what the
    /// caller's shell waits for.
    fn stop_with_the_payload(&self) {
        let Some(stops) = &self.stops else { return };
        if matches!(kernel::wait(Some(self.payload), libc::WSTOPPED), Ok(Some(_))) {
            stops.stop();
        }
    }

    fn tell_started(&self) {
        let plan = self.context.plan;
        let (target, run_id) = (plan.target.name().to_owned(), plan.run_id.clone());
        let (glexec_pid, payload_pid) = (Pid::this().as_raw(), self.payload.as_raw());
        self.reporter.status(&Record::Started { glexec_pid, payload_pid, target, run_id });
    }

    /// The code for a payload that could not be started.
    fn not_started(&self, failure: Failure) -> u8 {
        self.reporter
            .log(Level::Warning, &format!("the payload was not started: {}", failure.told()));
        code_of(failure)
    }

    /// The code for a payload whose process came to no exec by a fault of glexec's, or of the machine's
    /// memory. Other signals somebody has sent: who did so, as a scheduler does, is to read of them.
    fn died_before_exec(&self, verdict: Verdict, ending: Ending) -> Option<u8> {
        let how = match (verdict, ending) {
            (_, Ending::Killed { signal, .. }) if is_a_fault(signal) => format!("signal {signal}"),
            (Verdict::Ended, Ending::Exited(code)) => {
                format!("an exit ({code}), without memory perhaps,")
            }
            _ => return None,
        };
        let text = format!("the payload was not started: {how} ended it before its exec");
        self.reporter.log(Level::Error, &text);
        Some(Reason::Switch.fault().exit_code())
    }

    /// How the payload ended, where it has. `over`: the kernel says that it has, so its status
    /// is read even where a tracer holds it back from wait(2).
    fn ended(&self, over: bool) -> Option<(Ending, ResourceUsage)> {
        descendants::ended(self.payload).or_else(|| {
            let ending = over.then(|| descendants::ended_under_tracer(&self.root, self.payload));
            // Nobody else may reap it; if somebody has, that is no reason to wait for ever.
            let gone = || descendants::is_no_child(self.payload).then_some(LOST);
            let ending = over.then(|| ending.flatten().or_else(gone)).flatten();
            ending.map(|ending| (ending, ResourceUsage::default()))
        })
    }

    fn attend(&mut self, heard: Event) {
        let event = match heard {
            Event::Signal(signal) if self.is_for_the_payload(&signal) => event_of(&signal),
            Event::Signal(_) => return,
            Event::Order(number) => Input::Order(number),
            Event::CallerGone => Input::CallerGone,
            Event::Nonsense(line) => return self.note(&line),
        };
        let asked = self.asked.map(|asked| asked.elapsed());
        let action = self.machine.hear(event, asked);
        self.act(action);
    }

    /// A caller may write nonsense without end: a few lines of it are logged.
    fn note(&mut self, line: &[u8]) {
        const TOLD: u32 = 8;
        self.nonsense = self.nonsense.saturating_add(1);
        if self.nonsense <= TOLD {
            let shown = escaped(line);
            self.reporter
                .log(Level::Notice, &format!("no order on the control descriptor: \"{shown}\""));
        }
    }

    /// Not a child's end, and not what the payload itself sent.
    fn is_for_the_payload(&self, signal: &Signal) -> bool {
        let own = match signal.sender {
            Sender::Process { pid, .. } => pid.as_raw() > 1 && process::is_descendant(pid),
            // What the terminal sends to this group the payload has got.
            Sender::Kernel => self.stops.is_some(),
        };
        // The caller's shell tells the whole group to go on, and the status proxy this process: of
        // the two the kernel keeps one, whoever's it is.
        let goes_on = self.stops.is_some() && signal.number == CONT;
        goes_on || !own && !signal.is_ours(self.context.privilege.is_immune(), Pid::this())
    }

    fn act(&mut self, action: Action) {
        let forward = |number: i32| descendants::forward(&self.root, self.payload, number);
        match action {
            Action::Nothing => {}
            Action::Forward(number) => forward(number.into()),
            Action::Term(clock) => {
                self.asked.get_or_insert_with(Instant::now);
                forward(libc::SIGTERM);
                forward(libc::SIGCONT);
                self.until = clock.map(|clock| Instant::now() + clock).or(self.until);
            }
            Action::Everybody(number) => {
                let spared = Exempt { awaited: Some(self.payload), ..self.spared() };
                let until = Instant::now() + UNKILLABLE;
                // Who is not shown now is reached by the clearing.
                for descendant in
                    descendants::descendants(&self.root, &spared, false, until).processes
                {
                    descendants::order(&self.root, &spared, descendant, number.into());
                }
                if i32::from(number) == libc::SIGKILL {
                    self.until = Some(Instant::now() + UNKILLABLE);
                }
            }
            Action::Kill => {
                descendants::kill_payload(&self.root, self.payload);
                self.until = Some(Instant::now() + UNKILLABLE);
            }
            Action::GiveUp => {
                self.gave_up = true;
                self.reporter.log(
                    Level::Error,
                    "the payload cannot be killed; the run goes on without its end",
                );
            }
            Action::Hurry => self.hurry = true,
        }
    }
}

/// 126 and 127 are exec's own answers; all other steps are the site's (202).
pub fn code_of(failure: Failure) -> u8 {
    match (failure.step, failure.errno) {
        (Step::Exec, Errno::ENOENT | Errno::ENOTDIR) => contract::NOT_FOUND,
        (Step::Exec, _) => contract::FOUND_NOT_EXECUTABLE,
        _ => Reason::Switch.fault().exit_code(),
    }
}
