//! A program of MPI's over two nodes, natively and under glexec.

use harness::{Cluster, LIBEXEC, Shape, accounts};
use std::process::Command;

/// Two nodes, and a program built by this compiler.
fn cluster(compiler: &str) -> Cluster {
    let cluster = Cluster::start(Shape {
        nodes: 2,
        // Two slurmds of one machine need a directory each.
        slurm: "TmpFS=/tmp/of.%n".to_owned(),
        mpi: Some(include_str!("../../conf/slurm/mpi.conf").to_owned()),
        ..Shape::default()
    });
    for n in 0..2 {
        cluster.site().directory(&format!("/tmp/of.{}", cluster.node(n)), (0, 0), 0o1777);
    }
    let to = cluster.site().path("/usr/local/bin/ring");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/slurm/ring.c");
    let built = Command::new(compiler).arg("-o").arg(&to).arg(source).status().unwrap();
    assert!(built.success());
    cluster
}

/// Four ranks on both nodes; what each says.
fn ranks(cluster: &Cluster, kind: &str, wrapper: &str) -> Vec<String> {
    // The cluster's network is loopback, which Open MPI leaves out by itself.
    let network = "OMPI_MCA_btl=vader,tcp,self OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_pml=ob1";
    let srun = format!("timeout 60 srun -Q --mpi={kind} -N2 -n4");
    let step = format!("cd /tmp && env {network} {srun} {wrapper} /usr/local/bin/ring");
    let ran = cluster.by("pilot", &step);
    let output = ran.output();
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(ran.code(), 0, "{output}\n{}\n{}", ran.error(), cluster.logs());
    lines
}

fn on_two_nodes(compiler: &str, kind: &str) {
    let cluster = cluster(compiler);
    let of = |uid: u32| {
        let from = |rank: u32| (rank + 3) % 4;
        let line = |rank| format!("rank {rank} of 4 after {}, sum 6, uid {uid}", from(rank));
        (0..4).map(line).collect::<Vec<_>>()
    };
    assert_eq!(ranks(&cluster, kind, ""), of(accounts::PILOT));
    let wrapper = format!("{LIBEXEC}/glexec-slurm-task");
    assert_eq!(ranks(&cluster, kind, &wrapper), of(accounts::PAYLOAD1));
}

#[test]
fn a_program_of_open_mpis_runs_on_two_nodes_with_pmix() {
    on_two_nodes("mpicc.openmpi", "pmix");
}

#[test]
fn a_program_of_mpichs_runs_on_two_nodes_with_pmi2() {
    on_two_nodes("mpicc.mpich", "pmi2");
}
