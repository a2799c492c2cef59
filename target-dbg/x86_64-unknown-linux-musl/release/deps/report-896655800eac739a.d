/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/report-896655800eac739a.d: glexec/report/src/lib.rs glexec/report/src/audit.rs glexec/report/src/rehearsal.rs glexec/report/src/site_reporter.rs glexec/report/src/voice.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libreport-896655800eac739a.rlib: glexec/report/src/lib.rs glexec/report/src/audit.rs glexec/report/src/rehearsal.rs glexec/report/src/site_reporter.rs glexec/report/src/voice.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libreport-896655800eac739a.rmeta: glexec/report/src/lib.rs glexec/report/src/audit.rs glexec/report/src/rehearsal.rs glexec/report/src/site_reporter.rs glexec/report/src/voice.rs

glexec/report/src/lib.rs:
glexec/report/src/audit.rs:
glexec/report/src/rehearsal.rs:
glexec/report/src/site_reporter.rs:
glexec/report/src/voice.rs:

# env-dep:CARGO_PKG_VERSION=0.1.0
# env-dep:GLEXEC_BUILD
