//! bench-slurm: what wrapper and hooks add to `srun true`. Three clusters, with our hooks, with
//! empty ones, and with none; in each the commands take turns, so what holds are the differences
//! within one round.

#![allow(clippy::expect_used)]

use harness::{Cluster, LIBEXEC, Shape};
use std::io::{Write as _, stdout};

const ROUNDS: usize = 40;
/// What Slurm itself takes for hooks.
const EMPTY: &str =
    "Prolog=/bin/true\nEpilog=/bin/true\nTaskProlog=/bin/true\nTaskEpilog=/bin/true";

/// Milliseconds of each command in each round.
fn measured(cluster: &Cluster, commands: &[&str]) -> Vec<Vec<f64>> {
    let turn: String = commands
        .iter()
        .map(|command| format!("a=$EPOCHREALTIME; {command} >/dev/null 2>&1 || exit 1; b=$EPOCHREALTIME; printf '%d ' $((${{b/./}}-${{a/./}}));"))
        .collect();
    let script = format!("for i in $(seq {ROUNDS}); do {turn} echo; done");
    cluster.site().file("/tmp/rounds", format!("#!/bin/bash\n{script}\n"), 0o755);
    let ran = cluster.by("pilot", "/tmp/rounds");
    ran.exited(0);
    let rows = ran.output();
    let row = |line: &str| {
        line.split_whitespace().map(|n| n.parse::<f64>().expect("a number") / 1000.0).collect()
    };
    rows.lines().map(row).collect()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn column(rows: &[Vec<f64>], n: usize) -> Vec<f64> {
    rows.iter().filter_map(|row| row.get(n).copied()).collect()
}

fn main() {
    let task = format!("srun -n1 {LIBEXEC}/glexec-slurm-task /bin/true");
    let glexec = "srun -n1 /usr/sbin/glexec /bin/true";
    let mut out = stdout();
    let mut say = |text: String| out.write_all(text.as_bytes()).expect("stdout");
    for (name, hooked, slurm) in [
        ("without hooks", false, ""),
        ("/bin/true as every hook", false, EMPTY),
        ("our hooks", true, ""),
    ] {
        let cluster = Cluster::alone(Shape { hooked, slurm: slurm.to_owned(), ..Shape::default() });
        // As a site would have it.
        cluster.site().epilogue("#!/bin/sh\nexec /usr/libexec/glexec/glexec-slurm-record\n");
        let rows = measured(&cluster, &["srun -n1 /bin/true", glexec, &task]);
        let plain = median(column(&rows, 0));
        say(format!(
            "{name}, medians of {ROUNDS} rounds:\n  srun true                     {plain:7.1} ms\n"
        ));
        for (n, shown) in [(1, "srun glexec true"), (2, "srun glexec-slurm-task true")] {
            let added = rows.iter().filter_map(|row| Some(row.get(n)? - row.first()?)).collect();
            let (whole, added) = (median(column(&rows, n)), median(added));
            say(format!("  {shown:<29} {whole:7.1} ms, {added:+6.1} ms within a round\n"));
        }
    }
}
