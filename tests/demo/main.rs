//! A trial of glexec on this machine, step by step: a site of its own in a private mount
//! namespace, one run with an epilogue, one caller who is refused, and what the log says.
//!
//! Ends with 0 only where everything was as it should be. Needs root, and `tests/build` before;
//! `tests/demo/run` does both.

mod show;

use anyhow::{Context as _, Result, ensure};
use contract::{REFUSED, Reason, Record};
use harness::accounts::PAYLOAD1;
use harness::{CONFIG, Call, EPILOGUE, GLEXEC, Process, Site};
use show::{line, quote, step, table};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

const PAYLOAD: &str = "/usr/local/bin/payload";
const WORDS: [&str; 3] = ["payload", "one", "two words"];
const LEFT_BEHIND: &str = "/tmp/left-behind";
/// Where the epilogue writes down its ids, once for each time it runs, and its environment.
const IDS: &str = "/var/lib/site/epilogue/ids";
const ENVIRON: &str = "/var/lib/site/epilogue/environ";
const ROOT_ONLY: [&str; 3] = ["Uid: 0 0 0 0", "Gid: 0 0 0 0", "Groups:"];
/// The caller's variables: one that glexec passes on, one that it does not, one for the epilogue.
const VARIABLES: [(&str, &str); 3] =
    [("GLEXEC_NOTE", "kept"), ("SECRET", "the-pilots"), ("SLURM_JOB_ID", "4711")];

fn main() -> ExitCode {
    // The harness panics where it cannot go on: here, too, that shall be one sentence.
    std::panic::set_hook(Box::new(|info| {
        let _ = line(&format!("\nThe trial stopped: {}.", said(info)));
    }));
    let wrong = whole_trial().unwrap_or_else(|error| vec![format!("the trial stopped: {error:#}")]);
    let (code, verdict) = if wrong.is_empty() {
        let host = "This machine's accounts, /etc and /usr are as they were.";
        (ExitCode::SUCCESS, format!("Everything was as it should be. {host}"))
    } else {
        (ExitCode::FAILURE, format!("Not as it should be: {}.", wrong.join("; ")))
    };
    let told = line(&format!("\n{verdict}"));
    if told.is_ok() { code } else { ExitCode::FAILURE }
}

/// What was not as it should be.
fn whole_trial() -> Result<Vec<String>> {
    ensure!(nix::unistd::geteuid().is_root(), "run as root, a setuid program is installed");
    let before = host();
    let mut trial = Trial::new()?;
    trial.take_place()?;
    let Trial { site, mut wrong } = trial;
    drop(site);
    if before != host() {
        wrong.push("this machine's own files have changed");
    }
    Ok(wrong.into_iter().map(str::to_owned).collect())
}

/// What a panic says, without the backtrace that an error in it may carry.
fn said(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload().downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| info.payload().downcast_ref::<&str>().copied()).unwrap_or_default();
    let text = text.split("Stack backtrace").next().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What of this machine a trial must leave alone.
fn host() -> Vec<Option<(u64, i64, u64)>> {
    let files =
        ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", CONFIG, GLEXEC, EPILOGUE, PAYLOAD];
    let look = |path: &&str| fs::metadata(path).ok().map(|m| (m.ino(), m.mtime(), m.len()));
    files.iter().map(look).collect()
}

struct Trial {
    site: Site,
    wrong: Vec<&'static str>,
}

impl Trial {
    fn new() -> Result<Self> {
        let site = Site::bare()?;
        site.install_core()?;
        site.config(include_str!("glexec.toml"));
        site.epilogue(include_str!("epilogue"));
        site.file(PAYLOAD, include_str!("payload"), 0o755);
        Ok(Self { site, wrong: Vec::new() })
    }

    fn take_place(&mut self) -> Result<()> {
        self.what_is_installed()?;
        self.who_is_who()?;
        step(3, &format!("The configuration, {CONFIG}"))?;
        quote(&self.site.read(CONFIG))?;
        self.rehearsal()?;
        let code = self.run()?;
        self.what_the_epilogue_saw()?;
        step(7, "What came back to pilot")?;
        line(&format!("   exit code {} (the payload's own is 42)", number(code)))?;
        self.must(code == Some(42), "42 did not come back");
        self.refused_caller()?;
        self.audit_lines()
    }

    fn must(&mut self, holds: bool, otherwise: &'static str) {
        if !holds {
            self.wrong.push(otherwise);
        }
    }

    fn what_is_installed(&mut self) -> Result<()> {
        step(1, "What is installed (in a mount namespace of this trial's own)")?;
        let installed = [
            (GLEXEC, "the launcher, setuid root"),
            ("/usr/libexec/glexec/glexec-accounts", "its helper for account look-ups"),
            ("/usr/sbin/glexec-admin", "for the administrator"),
            (CONFIG, "the configuration"),
            (EPILOGUE, "the site's epilogue"),
            (PAYLOAD, "what the pilot will run"),
        ];
        let mut rows = Vec::new();
        for (path, what) in installed {
            let file = fs::metadata(self.site.path(path)).with_context(|| path.to_owned())?;
            let (mode, owner, group) = (file.mode() & 0o7777, file.uid(), file.gid());
            rows.push((format!("{mode:04o} {owner}:{group} {path}"), what.to_owned()));
            self.must((owner, group) == (0, 0), "something is not installed as root's");
        }
        table(&rows)
    }

    fn who_is_who(&self) -> Result<()> {
        step(2, "Who is who: a caller, a target, and somebody on no list")?;
        let names = ["pilot", "payload1", "other"];
        let mut ids = names.iter().map(|name| self.site.program(["/usr/bin/id", name]).run());
        ids.try_for_each(|ran| quote(&ran.output()))
    }

    /// glexec as the pilot calls it.
    fn glexec(&self, options: &[&str]) -> Result<Call<'_>> {
        let variables: Vec<String> =
            VARIABLES.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line(&format!("   pilot$ {} \\", variables.join(" ")))?;
        line(&format!("          {}", shown(options)))?;
        let call = self.site.glexec(options.iter().chain(&WORDS).copied());
        Ok(VARIABLES.iter().fold(call, |call, (name, value)| call.env(name, value)))
    }

    fn rehearsal(&mut self) -> Result<()> {
        step(4, "A rehearsal: what would happen, and nothing done")?;
        let ran = self.glexec(&["--check"])?.run();
        quote(&ran.error())?;
        quote(&ran.output())?;
        self.must(ran.code == Some(0), "the rehearsal did not end with 0");
        let quiet = self.ids_of_epilogues().is_empty() && !self.site.path(LEFT_BEHIND).exists();
        self.must(quiet, "the rehearsal ran something");
        Ok(())
    }

    fn run(&mut self) -> Result<Option<i32>> {
        step(5, "A run")?;
        let ran = self.glexec(&[])?.with_status().run();
        line("   The payload says:")?;
        quote(&ran.output())?;
        quote(&ran.error())?;
        line("   The status stream (--status-fd) says:")?;
        ran.records.iter().try_for_each(|record| quote(&record.line()))?;
        let output = ran.output();
        self.must(output.contains("uid=42002(payload1)"), "the payload was not payload1");
        self.must(!output.contains("SECRET"), "the payload got a variable of the pilot's");
        self.must(
            output.contains("GLEXEC_NOTE=kept"),
            "the payload lacks a variable that it should get",
        );
        let finished = ran.records.iter().any(|r| matches!(r, Record::Finished { code: 42, .. }));
        self.must(finished, "the status stream does not end with 42");
        Ok(ran.code)
    }

    /// What the epilogue wrote of itself, three lines each time.
    fn ids_of_epilogues(&self) -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.site.read(IDS).lines().map(words).collect()
    }

    fn what_the_epilogue_saw(&mut self) -> Result<()> {
        step(6, "What the epilogue saw")?;
        let ids = self.ids_of_epilogues();
        line("   Real, effective, saved and file-system ids:")?;
        ids.iter().try_for_each(|ids| quote(ids))?;
        self.must(ids == ROOT_ONLY, "the epilogue did not run once, as 0:0 without other groups");
        let environ = self.site.read(ENVIRON);
        let mut entries: Vec<_> =
            environ.split('\0').filter_map(|entry| entry.split_once('=')).collect();
        entries.sort_unstable();
        let (told, plain): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(name, _)| name.starts_with("GLEXEC_EPILOG_"));
        let rows = |entries: &[(&str, &str)]| -> Vec<_> {
            entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        line("   What it is told of the run:")?;
        table(&rows(&told))?;
        line("   The rest of its environment:")?;
        table(&rows(&plain))?;
        self.must(told.contains(&("GLEXEC_EPILOG_TARGET_RC", "42")), "TARGET_RC was not 42");
        let file = self.site.path(LEFT_BEHIND).exists();
        let all = self.site.processes().into_iter().filter_map(Process::of);
        let processes = all.filter(|process| process.uids.contains(&PAYLOAD1)).count();
        let is = if file { "is still there" } else { "is gone" };
        line(&format!(
            "   After it: the payload's {LEFT_BEHIND} {is}; processes of payload1: {processes}"
        ))?;
        self.must(!file, "the payload's file is still there");
        self.must(processes == 0, "a process of the payload's is still there");
        Ok(())
    }

    fn refused_caller(&mut self) -> Result<()> {
        step(8, "Somebody on no list")?;
        line(&format!("   other$ {}", shown(&[])))?;
        let ran = self.site.glexec(WORDS).by("other").with_status().run();
        quote(&ran.error())?;
        ran.records.iter().try_for_each(|record| quote(&record.line()))?;
        line(&format!("   exit code {}", number(ran.code)))?;
        self.must(ran.code == Some(i32::from(REFUSED)), "the refused caller did not get 203");
        let one_sentence =
            ran.error().starts_with("[gLExec]: ") && ran.error().lines().count() == 1;
        self.must(one_sentence, "the refused caller did not get one sentence");
        self.must(self.ids_of_epilogues() == ROOT_ONLY, "the epilogue ran for a refused caller");
        Ok(())
    }

    fn audit_lines(&mut self) -> Result<()> {
        step(9, "What the auditor reads (/dev/log)")?;
        let log = self.site.log();
        log.iter().try_for_each(|entry| quote(entry))?;
        let has = |part: &str| log.iter().any(|entry| entry.contains(part));
        let run =
            has("real_user(pilot),real_group(pilot)->mapped_user(payload1),mapped_group(payload1)");
        self.must(run, "the log lacks the run");
        self.must(has(Reason::NotListed.word()), "the log lacks the refusal");
        Ok(())
    }
}

/// The command line as one would type it.
fn shown(options: &[&str]) -> String {
    let quoted =
        |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
    let words = ["glexec"].iter().chain(options).chain(&WORDS);
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

fn number(code: Option<i32>) -> String {
    code.map_or_else(|| "none".to_owned(), |code| code.to_string())
}
