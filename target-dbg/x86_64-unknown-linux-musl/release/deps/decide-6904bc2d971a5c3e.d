/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/decide-6904bc2d971a5c3e.d: glexec/decide/src/lib.rs glexec/decide/src/cgroups.rs glexec/decide/src/config/mod.rs glexec/decide/src/config/convert.rs glexec/decide/src/config/credentials.rs glexec/decide/src/config/entries.rs glexec/decide/src/config/from_original.rs glexec/decide/src/config/from_toml.rs glexec/decide/src/config/keys.rs glexec/decide/src/config/log.rs glexec/decide/src/config/reading.rs glexec/decide/src/config/source_files.rs glexec/decide/src/config/words.rs glexec/decide/src/credential.rs glexec/decide/src/database.rs glexec/decide/src/deadline.rs glexec/decide/src/ended.rs glexec/decide/src/entry.rs glexec/decide/src/entry/write.rs glexec/decide/src/environment.rs glexec/decide/src/epilogue_environment.rs glexec/decide/src/facts.rs glexec/decide/src/gridmapdir.rs glexec/decide/src/handover.rs glexec/decide/src/lcmaps.rs glexec/decide/src/mounts.rs glexec/decide/src/names.rs glexec/decide/src/plan.rs glexec/decide/src/policy.rs glexec/decide/src/program.rs glexec/decide/src/proxy_copy.rs glexec/decide/src/refusal.rs glexec/decide/src/reporter.rs glexec/decide/src/settling.rs glexec/decide/src/state_machine.rs glexec/decide/src/target.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libdecide-6904bc2d971a5c3e.rlib: glexec/decide/src/lib.rs glexec/decide/src/cgroups.rs glexec/decide/src/config/mod.rs glexec/decide/src/config/convert.rs glexec/decide/src/config/credentials.rs glexec/decide/src/config/entries.rs glexec/decide/src/config/from_original.rs glexec/decide/src/config/from_toml.rs glexec/decide/src/config/keys.rs glexec/decide/src/config/log.rs glexec/decide/src/config/reading.rs glexec/decide/src/config/source_files.rs glexec/decide/src/config/words.rs glexec/decide/src/credential.rs glexec/decide/src/database.rs glexec/decide/src/deadline.rs glexec/decide/src/ended.rs glexec/decide/src/entry.rs glexec/decide/src/entry/write.rs glexec/decide/src/environment.rs glexec/decide/src/epilogue_environment.rs glexec/decide/src/facts.rs glexec/decide/src/gridmapdir.rs glexec/decide/src/handover.rs glexec/decide/src/lcmaps.rs glexec/decide/src/mounts.rs glexec/decide/src/names.rs glexec/decide/src/plan.rs glexec/decide/src/policy.rs glexec/decide/src/program.rs glexec/decide/src/proxy_copy.rs glexec/decide/src/refusal.rs glexec/decide/src/reporter.rs glexec/decide/src/settling.rs glexec/decide/src/state_machine.rs glexec/decide/src/target.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libdecide-6904bc2d971a5c3e.rmeta: glexec/decide/src/lib.rs glexec/decide/src/cgroups.rs glexec/decide/src/config/mod.rs glexec/decide/src/config/convert.rs glexec/decide/src/config/credentials.rs glexec/decide/src/config/entries.rs glexec/decide/src/config/from_original.rs glexec/decide/src/config/from_toml.rs glexec/decide/src/config/keys.rs glexec/decide/src/config/log.rs glexec/decide/src/config/reading.rs glexec/decide/src/config/source_files.rs glexec/decide/src/config/words.rs glexec/decide/src/credential.rs glexec/decide/src/database.rs glexec/decide/src/deadline.rs glexec/decide/src/ended.rs glexec/decide/src/entry.rs glexec/decide/src/entry/write.rs glexec/decide/src/environment.rs glexec/decide/src/epilogue_environment.rs glexec/decide/src/facts.rs glexec/decide/src/gridmapdir.rs glexec/decide/src/handover.rs glexec/decide/src/lcmaps.rs glexec/decide/src/mounts.rs glexec/decide/src/names.rs glexec/decide/src/plan.rs glexec/decide/src/policy.rs glexec/decide/src/program.rs glexec/decide/src/proxy_copy.rs glexec/decide/src/refusal.rs glexec/decide/src/reporter.rs glexec/decide/src/settling.rs glexec/decide/src/state_machine.rs glexec/decide/src/target.rs

glexec/decide/src/lib.rs:
glexec/decide/src/cgroups.rs:
glexec/decide/src/config/mod.rs:
glexec/decide/src/config/convert.rs:
glexec/decide/src/config/credentials.rs:
glexec/decide/src/config/entries.rs:
glexec/decide/src/config/from_original.rs:
glexec/decide/src/config/from_toml.rs:
glexec/decide/src/config/keys.rs:
glexec/decide/src/config/log.rs:
glexec/decide/src/config/reading.rs:
glexec/decide/src/config/source_files.rs:
glexec/decide/src/config/words.rs:
glexec/decide/src/credential.rs:
glexec/decide/src/database.rs:
glexec/decide/src/deadline.rs:
glexec/decide/src/ended.rs:
glexec/decide/src/entry.rs:
glexec/decide/src/entry/write.rs:
glexec/decide/src/environment.rs:
glexec/decide/src/epilogue_environment.rs:
glexec/decide/src/facts.rs:
glexec/decide/src/gridmapdir.rs:
glexec/decide/src/handover.rs:
glexec/decide/src/lcmaps.rs:
glexec/decide/src/mounts.rs:
glexec/decide/src/names.rs:
glexec/decide/src/plan.rs:
glexec/decide/src/policy.rs:
glexec/decide/src/program.rs:
glexec/decide/src/proxy_copy.rs:
glexec/decide/src/refusal.rs:
glexec/decide/src/reporter.rs:
glexec/decide/src/settling.rs:
glexec/decide/src/state_machine.rs:
glexec/decide/src/target.rs:
