//! What the payload returns, in Slurm's own records.

use harness::{Cluster, LIBEXEC, Shape};

#[test]
fn a_payloads_code_is_the_jobs() {
    let cluster = Cluster::start(Shape::default());
    let ran =
        cluster.by("pilot", &format!("srun -n1 {LIBEXEC}/glexec-slurm-task sh -c 'id -u; exit 7'"));
    assert_eq!(ran.code(), 7, "{} {}\n{}", ran.output(), ran.error(), cluster.logs());
    println!("{} {}", ran.output(), ran.error());
    let id =
        cluster.sbatch("", &format!("exec {LIBEXEC}/glexec-slurm-task sh -c 'id -un; exit 42'"));
    let job = cluster.ended(id);
    println!("{job:?}\n{}\n{}\n{}", cluster.printed(id), cluster.completion(id), cluster.logs());
    assert_eq!(job.exit_code(), "42:0");
}
