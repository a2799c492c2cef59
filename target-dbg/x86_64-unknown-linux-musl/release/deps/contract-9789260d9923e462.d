/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/contract-9789260d9923e462.d: glexec/contract/src/lib.rs glexec/contract/src/invocation.rs glexec/contract/src/json.rs glexec/contract/src/orders.rs glexec/contract/src/outcome.rs glexec/contract/src/reason.rs glexec/contract/src/status.rs glexec/contract/src/variables.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libcontract-9789260d9923e462.rlib: glexec/contract/src/lib.rs glexec/contract/src/invocation.rs glexec/contract/src/json.rs glexec/contract/src/orders.rs glexec/contract/src/outcome.rs glexec/contract/src/reason.rs glexec/contract/src/status.rs glexec/contract/src/variables.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libcontract-9789260d9923e462.rmeta: glexec/contract/src/lib.rs glexec/contract/src/invocation.rs glexec/contract/src/json.rs glexec/contract/src/orders.rs glexec/contract/src/outcome.rs glexec/contract/src/reason.rs glexec/contract/src/status.rs glexec/contract/src/variables.rs

glexec/contract/src/lib.rs:
glexec/contract/src/invocation.rs:
glexec/contract/src/json.rs:
glexec/contract/src/orders.rs:
glexec/contract/src/outcome.rs:
glexec/contract/src/reason.rs:
glexec/contract/src/status.rs:
glexec/contract/src/variables.rs:
