//! What is run, and what is to be expected of it.

use harness::accounts::{PAYLOAD1, PILOT, WORK};
use harness::{ACTOR, CA_DIR, Call, EPILOGUE, GLEXEC, GRID_MAPFILE, Pki, Site};

/// The directory that is handed over.
pub(crate) const HANDED: &str = "/var/lib/site/scratch/d";
/// Where the caller has its proxy.
pub(crate) const PROXY: &str = "/home/pilot/proxy";
/// Where the payload has it.
pub(crate) const COPY: &str = "/tmp/p";
/// Where the subject's account is leased.
pub(crate) const GRIDMAPDIR: &str = "/etc/grid-security/gridmapdir";
/// Not setuid: root's own.
pub(crate) const ADMIN: &str = "/usr/sbin/glexec-admin";

/// What is done, and tampered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A payload is run.
    Run,
    /// Root sweeps what a killed run owes.
    Sweep,
    /// The caller settles what a killed run of its own owes.
    Settle,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) deed: Deed,
    /// Lines in `[glexec]`.
    pub(crate) keys: &'static str,
    pub(crate) epilogue: bool,
    pub(crate) pool: bool,
    /// Whether the caller is mapped by a proxy, to an account of a gridmapdir.
    pub(crate) by_credential: bool,
    /// Whether a directory is handed over.
    pub(crate) hands_over: bool,
    /// Whether the payload leaves daemons behind.
    pub(crate) leaves: bool,
    /// Whether there are a status and a control descriptor.
    pub(crate) wires: bool,
}

const PLAIN: Scenario = Scenario {
    name: "plain",
    deed: Deed::Run,
    keys: "linger = false",
    epilogue: false,
    pool: false,
    by_credential: false,
    hands_over: false,
    leaves: false,
    wires: false,
};
const LINGER: Scenario = Scenario { name: "linger", keys: "", ..PLAIN };
const OWES: Scenario = Scenario { name: "epilogue", epilogue: true, ..LINGER };

/// Everything that is tried.
pub(crate) const ALL: [Scenario; 15] = [
    PLAIN,
    LINGER,
    Scenario { name: "linger-wires", wires: true, ..LINGER },
    OWES,
    Scenario { name: "wires", wires: true, ..OWES },
    Scenario { name: "pool", pool: true, ..OWES },
    Scenario { name: "nss", keys: "account_source = \"nss\"", ..OWES },
    Scenario { name: "credential", by_credential: true, ..OWES },
    Scenario { name: "hand-over", hands_over: true, ..OWES },
    Scenario { name: "stragglers", leaves: true, ..OWES },
    Scenario {
        name: "keeper",
        keys: "epilogue_user = \"keeper\"\nepilogue_group = \"keepers\"",
        ..OWES
    },
    Scenario { name: "sweep", deed: Deed::Sweep, hands_over: true, ..OWES },
    Scenario { name: "sweep-credential", deed: Deed::Sweep, by_credential: true, ..OWES },
    Scenario { name: "sweep-pool", deed: Deed::Sweep, pool: true, leaves: true, ..OWES },
    Scenario { name: "settle", deed: Deed::Settle, hands_over: true, ..OWES },
];

impl Scenario {
    /// A site for it; `lane` is a number of its own among those that are there at a time.
    pub(crate) fn site(&self, lane: u32) -> Site {
        let site = Site::new();
        site.config(&self.config(lane));
        site.epilogue(&format!("#!{ACTOR} attend\n"));
        site.directory("/var/lib/site", (0, 0), 0o777);
        if self.by_credential {
            let pki = Pki::new();
            pki.install(&site);
            site.file(GRID_MAPFILE, "\"/DC=org/DC=trial/CN=alice\" .work\n", 0o644);
            site.directory(GRIDMAPDIR, (0, 0), 0o755);
            site.file(&format!("{GRIDMAPDIR}/work{lane:03}"), "", 0o644);
            site.file(PROXY, pki.proxy("alice"), 0o600);
            site.own(PROXY, (PILOT, PILOT));
        }
        site
    }

    fn config(&self, lane: u32) -> String {
        let mut lines =
            vec!["[glexec]", "user_white_list = [\"pilot\"]", "kill_grace = 1", self.keys];
        let epilogue = format!("epilogue = \"{EPILOGUE}\"\njob_variables = [\"JOB\"]");
        lines.extend(self.epilogue.then_some(epilogue.as_str()));
        lines.extend(self.hands_over.then_some("hand_over = [\"D\"]"));
        let pool = format!(
            "methods = [\"pool\"]\n[[mapping.pool]]\ncaller = \"pilot\"\naccounts = \"work[{lane:03}-{lane:03}]\""
        );
        let plain = "methods = [\"static\"]\n[[mapping.static]]\ncaller = \"pilot\"\naccount = \"payload1\"";
        let gridmap = format!(
            "methods = [\"gridmap\"]\n[mapping.gridmap]\ngrid_mapfile = \"{GRID_MAPFILE}\"\ngridmapdir = \"{GRIDMAPDIR}\"\nca_dir = \"{CA_DIR}\""
        );
        lines.push("[mapping]");
        lines.push(match (self.pool, self.by_credential) {
            (true, _) => &pool,
            (false, true) => &gridmap,
            (false, false) => plain,
        });
        lines.join("\n") + "\n"
    }

    /// How many sites at a time: where a grace is waited out, more.
    pub(crate) fn lanes(&self, lanes: u32) -> u32 {
        if self.leaves { lanes * 6 } else { lanes }
    }

    /// The uid of the target.
    pub(crate) fn target(&self, lane: u32) -> u32 {
        if self.pool || self.by_credential { WORK + lane } else { PAYLOAD1 }
    }

    /// Who runs what is tampered with, and its words.
    pub(crate) fn words(&self) -> (&'static str, Vec<&'static str>) {
        match self.deed {
            Deed::Sweep => ("root", vec![ADMIN, "sweep", "--now"]),
            Deed::Settle => ("pilot", vec![GLEXEC, "--settle", "JOB=1"]),
            Deed::Run => {
                let wires: &[&str] =
                    if self.wires { &["--status-fd=9", "--control-fd=8"] } else { &[] };
                ("pilot", [&[GLEXEC], wires, &[ACTOR, "toil"]].concat())
            }
        }
    }

    /// What `actor tamper` calls the first process.
    pub(crate) fn main(&self) -> &'static str {
        if self.deed == Deed::Sweep { "glexec-admin" } else { "glexec" }
    }

    /// The variables of a payload of this scenario.
    pub(crate) fn variables<'s>(&self, call: Call<'s>) -> Call<'s> {
        let mut call = call.env("JOB", "1");
        if self.hands_over {
            call = call.env("D", HANDED).env("GLEXEC_INTO", HANDED);
        }
        if self.leaves {
            call = call.env("GLEXEC_LEAVE", "1");
        }
        if self.by_credential {
            call = call.env("GLEXEC_CLIENT_CERT", PROXY).env("GLEXEC_TARGET_PROXY", COPY);
        }
        if self.wires {
            call = call.with_status().with_control();
        }
        call
    }
}
