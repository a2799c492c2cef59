//! What a launch costs, by what does not depend on how busy the machine is. Measured in time:
//! tests/bench/run.

use harness::{ACTOR, GLEXEC, Site, flavour, instructions};

/// What one launch may cost: a tenth more than it does today, and of page faults a third, since kernels
/// differ in how many pages they map at a time. Who needs more says why in the commit that raises it.
struct Budget {
    lines: &'static str,
    calls: usize,
    instructions: u64,
    /// Of them as root, after the threshold: what the kernel is told, and not what follows from a file.
    as_root: u64,
    faults: u64,
}

/// Who lingers is root for the rest of its life.
const LINGERS: u64 = u64::MAX;

/// Of the tests' build, whose code is less optimized than what is installed. Where glibc is linked in,
/// it makes calls of its own.
const BUDGETS: [Budget; 3] = [
    Budget {
        lines: "linger = false",
        calls: 161,
        instructions: 435_000,
        as_root: 20_000,
        faults: 208,
    },
    Budget { lines: "", calls: 229, instructions: 465_000, as_root: LINGERS, faults: 225 },
    Budget {
        lines: "epilogue = \"/usr/libexec/site/epilogue\"",
        calls: 559,
        instructions: 874_000,
        as_root: LINGERS,
        faults: 405,
    },
];

#[test]
fn a_launch_stays_within_its_budgets_of_calls_instructions_and_page_faults() {
    let mut wrong = Vec::new();
    for Budget { lines, calls, instructions, as_root, faults } in BUDGETS {
        let site = Site::with(lines);
        // Each group that this machine has us in would be looked at.
        site.shell("umount --recursive --lazy /sys/fs/cgroup || :").by("root").run().exited(0);
        let words = [GLEXEC, "/bin/true"];
        let clean = site.tamper(None, "pilot", &words).run();
        assert_eq!(clean.code(), 0, "{clean:#?}");
        let made: usize = site.tampering().unwrap().calls.values().map(Vec::len).sum();
        let words = words.map(str::to_owned);
        // With links resolved, as the kernel tells what a process executes.
        let alone = ["/usr/bin/true", "/bin/true", ACTOR];
        let counted = instructions::count(&site, "pilot", &words, &alone).unwrap();
        let told = format!(
            "{lines:?}: {made} calls of {calls}, {counted:?} of {instructions}, {as_root} and {faults}"
        );
        println!("{told}");
        let is_more = counted.is_some_and(|n| {
            n.instructions > instructions || n.as_root > as_root || n.faults > faults
        });
        if flavour() == "musl" && (made > calls || is_more) {
            wrong.push(told);
        }
        assert!(
            made > 100 && counted.is_none_or(|n| n.instructions > 50_000 && n.as_root > 1000),
            "nothing is counted"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
