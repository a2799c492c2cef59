/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/system-35cb58017e458328.d: glexec/system/src/lib.rs glexec/system/src/birth.rs glexec/system/src/file_trust.rs glexec/system/src/kernel/mod.rs glexec/system/src/kernel/arena.rs glexec/system/src/kernel/calls.rs glexec/system/src/kernel/files.rs glexec/system/src/kernel/processes.rs glexec/system/src/kernel/settings.rs glexec/system/src/kernel/signals.rs glexec/system/src/kernel/wildcard.rs glexec/system/src/proc_format.rs glexec/system/src/process.rs glexec/system/src/secure_open.rs glexec/system/src/signal_info.rs glexec/system/src/text.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libsystem-35cb58017e458328.rlib: glexec/system/src/lib.rs glexec/system/src/birth.rs glexec/system/src/file_trust.rs glexec/system/src/kernel/mod.rs glexec/system/src/kernel/arena.rs glexec/system/src/kernel/calls.rs glexec/system/src/kernel/files.rs glexec/system/src/kernel/processes.rs glexec/system/src/kernel/settings.rs glexec/system/src/kernel/signals.rs glexec/system/src/kernel/wildcard.rs glexec/system/src/proc_format.rs glexec/system/src/process.rs glexec/system/src/secure_open.rs glexec/system/src/signal_info.rs glexec/system/src/text.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libsystem-35cb58017e458328.rmeta: glexec/system/src/lib.rs glexec/system/src/birth.rs glexec/system/src/file_trust.rs glexec/system/src/kernel/mod.rs glexec/system/src/kernel/arena.rs glexec/system/src/kernel/calls.rs glexec/system/src/kernel/files.rs glexec/system/src/kernel/processes.rs glexec/system/src/kernel/settings.rs glexec/system/src/kernel/signals.rs glexec/system/src/kernel/wildcard.rs glexec/system/src/proc_format.rs glexec/system/src/process.rs glexec/system/src/secure_open.rs glexec/system/src/signal_info.rs glexec/system/src/text.rs

glexec/system/src/lib.rs:
glexec/system/src/birth.rs:
glexec/system/src/file_trust.rs:
glexec/system/src/kernel/mod.rs:
glexec/system/src/kernel/arena.rs:
glexec/system/src/kernel/calls.rs:
glexec/system/src/kernel/files.rs:
glexec/system/src/kernel/processes.rs:
glexec/system/src/kernel/settings.rs:
glexec/system/src/kernel/signals.rs:
glexec/system/src/kernel/wildcard.rs:
glexec/system/src/proc_format.rs:
glexec/system/src/process.rs:
glexec/system/src/secure_open.rs:
glexec/system/src/signal_info.rs:
glexec/system/src/text.rs:
