/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/observe-d1922d1d0c90d20d.d: glexec/observe/src/lib.rs glexec/observe/src/accounts.rs glexec/observe/src/config_file.rs glexec/observe/src/credential.rs glexec/observe/src/lcmaps.rs glexec/observe/src/nameservice.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libobserve-d1922d1d0c90d20d.rlib: glexec/observe/src/lib.rs glexec/observe/src/accounts.rs glexec/observe/src/config_file.rs glexec/observe/src/credential.rs glexec/observe/src/lcmaps.rs glexec/observe/src/nameservice.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libobserve-d1922d1d0c90d20d.rmeta: glexec/observe/src/lib.rs glexec/observe/src/accounts.rs glexec/observe/src/config_file.rs glexec/observe/src/credential.rs glexec/observe/src/lcmaps.rs glexec/observe/src/nameservice.rs

glexec/observe/src/lib.rs:
glexec/observe/src/accounts.rs:
glexec/observe/src/config_file.rs:
glexec/observe/src/credential.rs:
glexec/observe/src/lcmaps.rs:
glexec/observe/src/nameservice.rs:
