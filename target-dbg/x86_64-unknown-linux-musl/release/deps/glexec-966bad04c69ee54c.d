/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/glexec-966bad04c69ee54c.d: glexec/src/main.rs glexec/src/run/mod.rs glexec/src/run/answers.rs glexec/src/run/caller.rs glexec/src/run/execute.rs glexec/src/run/mapping.rs glexec/src/run/outputs.rs glexec/src/run/proxy.rs glexec/src/run/renew.rs glexec/src/run/request.rs glexec/src/run/settle.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/glexec-966bad04c69ee54c: glexec/src/main.rs glexec/src/run/mod.rs glexec/src/run/answers.rs glexec/src/run/caller.rs glexec/src/run/execute.rs glexec/src/run/mapping.rs glexec/src/run/outputs.rs glexec/src/run/proxy.rs glexec/src/run/renew.rs glexec/src/run/request.rs glexec/src/run/settle.rs

glexec/src/main.rs:
glexec/src/run/mod.rs:
glexec/src/run/answers.rs:
glexec/src/run/caller.rs:
glexec/src/run/execute.rs:
glexec/src/run/mapping.rs:
glexec/src/run/outputs.rs:
glexec/src/run/proxy.rs:
glexec/src/run/renew.rs:
glexec/src/run/request.rs:
glexec/src/run/settle.rs:
