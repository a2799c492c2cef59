//! Who is measured: how each one is called, as whom, and what it may be compared with.

use crate::caller::{Caller, Line};
use crate::install;
use anyhow::{Result, ensure};
use harness::{GLEXEC, Site, accounts};
use std::path::Path;

/// The payload that does nothing.
pub(crate) const EMPTY: &str = "/usr/local/bin/empty";
/// Where the C program with a launcher's duties is in the site.
pub(crate) const FEATURES: &str = "/usr/sbin/features";
/// What the others are compared with beside the C program.
pub(crate) const OURS: &str = "glexec linger";

/// One way to launch.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The words before the program's.
    pub(crate) words: &'static [&'static str],
    /// Who calls it.
    pub(crate) by: &'static str,
    /// The C program that does the same.
    pub(crate) base: Option<&'static str>,
    /// The lines in `[glexec]` while it is measured; the C program reads the same file.
    pub(crate) settings: &'static str,
    /// The least number of programs that are executed, payload and epilogue among them.
    pub(crate) programs: usize,
}

pub(crate) const LINGER: &str = "linger = true";
pub(crate) const AND_EPILOGUE: &str = "linger = true\nepilogue = \"/usr/libexec/site/epilogue\"";
const REPLACE: &str = "linger = false";

/// Without a C program that does the same: the callers own program.
const NO_BASE: Peer =
    Peer { name: "", words: &[], by: "pilot", base: None, settings: REPLACE, programs: 1 };
/// It becomes the payload.
const EXEC: Peer = Peer { base: Some("C exec"), programs: 2, ..NO_BASE };
/// It stays as the payload's parent.
const STAYS: Peer = Peer { base: Some("C linger"), settings: LINGER, ..EXEC };
/// And runs an epilogue.
const PAYS: Peer =
    Peer { base: Some("C linger epilogue"), settings: AND_EPILOGUE, programs: 3, ..STAYS };

/// In the table's order.
#[rustfmt::skip]
const PEERS: [Peer; 12] = [
    Peer { name: "direct", ..NO_BASE },
    Peer { name: "C exec", words: &[FEATURES, "replace"], ..EXEC },
    Peer { name: "glexec", words: &[GLEXEC], ..EXEC },
    Peer { name: "setpriv (root's)", words: &["/usr/bin/setpriv", "--reuid=payload1", "--regid=payload1", "--init-groups", "--"], by: "root", ..EXEC },
    Peer { name: "C linger", words: &[FEATURES, "linger"], ..STAYS },
    Peer { name: OURS, words: &[GLEXEC], ..STAYS },
    Peer { name: "sudo", words: &["/usr/bin/sudo", "-n", "-u", "payload1", "--"], ..STAYS },
    Peer { name: "sudo-rs", words: &["/usr/bin/sudo-rs", "-n", "-u", "payload1", "--"], ..STAYS },
    Peer { name: "doas (with PAM)", words: &["/usr/bin/doas", "-n", "-u", "payload1", "--"], ..STAYS },
    Peer { name: "runuser (root's)", words: &["/usr/sbin/runuser", "-u", "payload1", "--"], by: "root", ..STAYS },
    Peer { name: "C linger epilogue", words: &[FEATURES, "epilogue"], ..PAYS },
    Peer { name: "glexec linger epilogue", words: &[GLEXEC], ..PAYS },
];

impl Peer {
    /// Those that are to be measured, and the names of those that this machine does not have.
    pub(crate) fn chosen(unwanted: impl Fn(&str) -> bool) -> (Vec<Self>, Vec<&'static str>) {
        let (here, missing): (Vec<_>, Vec<_>) =
            PEERS.into_iter().filter(|peer| !unwanted(peer.name)).partition(Self::is_here);
        (here, missing.iter().map(|peer| peer.name).collect())
    }

    fn is_here(&self) -> bool {
        let ours = |program: &&str| [GLEXEC, FEATURES].contains(program);
        self.words.first().is_none_or(|program| ours(program) || Path::new(program).exists())
    }

    /// The line that runs a program this way.
    pub(crate) fn line(&self, program: &[&str]) -> Vec<String> {
        self.words.iter().chain(program).map(|word| (*word).to_owned()).collect()
    }

    /// Whether it really is this way: the program runs, and as whom it should, and the time of
    /// whatever it runs, an epilogue as well, is in the caller's account. For that the site's
    /// epilogue is [`install::BURN`] meanwhile, as the payload is.
    ///
    /// # Errors
    /// What is not as the table says.
    pub(crate) fn prove(&self, site: &Site) -> Result<()> {
        site.settings(self.settings);
        let (name, by) = (self.name, self.by);
        let who = if self.words.is_empty() { accounts::PILOT } else { accounts::PAYLOAD1 };
        let ran = site.program(self.line(&["/usr/bin/id", "-u"])).by(by).run();
        ensure!(
            ran.code == Some(0) && ran.output().trim() == who.to_string(),
            "{name} cannot launch: {ran:#?}"
        );
        let burning = if self.settings == AND_EPILOGUE { 2 } else { 1 };
        let mut caller = Caller::start(site, by, &[Line::of(self.line(&[install::BURN]))])?;
        for launch in caller.launch(0, 1)? {
            ensure!(
                launch.code == 0 && launch.cpu >= burning * install::BURNT,
                "{name}: {burning} programs used {} us each, and the caller is told of {launch:?}",
                install::BURNT
            );
        }
        Ok(())
    }
}
