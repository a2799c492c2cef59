/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/act-848fd167c134f104.d: glexec/act/src/lib.rs glexec/act/src/account_processes.rs glexec/act/src/apart.rs glexec/act/src/caller_descriptors.rs glexec/act/src/cgroups.rs glexec/act/src/clean.rs glexec/act/src/close_descriptors.rs glexec/act/src/descendants.rs glexec/act/src/descriptor_proxy.rs glexec/act/src/epilogue/mod.rs glexec/act/src/epilogue/check.rs glexec/act/src/epilogue/start.rs glexec/act/src/epilogue/wait.rs glexec/act/src/event_loop.rs glexec/act/src/event_sources.rs glexec/act/src/exec_status.rs glexec/act/src/find_command.rs glexec/act/src/foreign.rs glexec/act/src/gridmapdir.rs glexec/act/src/gridmapdir/taking.rs glexec/act/src/handover/mod.rs glexec/act/src/handover/links.rs glexec/act/src/handover/lock.rs glexec/act/src/handover/lost.rs glexec/act/src/handover/transfer.rs glexec/act/src/held_processes.rs glexec/act/src/helper.rs glexec/act/src/identity.rs glexec/act/src/keyring.rs glexec/act/src/launch.rs glexec/act/src/leases.rs glexec/act/src/needs_proc.rs glexec/act/src/nested.rs glexec/act/src/output.rs glexec/act/src/parent_watch.rs glexec/act/src/payload.rs glexec/act/src/program.rs glexec/act/src/root.rs glexec/act/src/sink.rs glexec/act/src/state/mod.rs glexec/act/src/state/claim.rs glexec/act/src/state/record.rs glexec/act/src/state/settling.rs glexec/act/src/status_proxy.rs glexec/act/src/stragglers.rs glexec/act/src/supervisor/mod.rs glexec/act/src/supervisor/given.rs glexec/act/src/supervisor/start.rs glexec/act/src/target_proxy.rs glexec/act/src/threshold.rs glexec/act/src/tree/mod.rs glexec/act/src/tree/attributes.rs glexec/act/src/tree/look.rs glexec/act/src/tree/quarantine.rs glexec/act/src/trial.rs glexec/act/src/whereabouts.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libact-848fd167c134f104.rlib: glexec/act/src/lib.rs glexec/act/src/account_processes.rs glexec/act/src/apart.rs glexec/act/src/caller_descriptors.rs glexec/act/src/cgroups.rs glexec/act/src/clean.rs glexec/act/src/close_descriptors.rs glexec/act/src/descendants.rs glexec/act/src/descriptor_proxy.rs glexec/act/src/epilogue/mod.rs glexec/act/src/epilogue/check.rs glexec/act/src/epilogue/start.rs glexec/act/src/epilogue/wait.rs glexec/act/src/event_loop.rs glexec/act/src/event_sources.rs glexec/act/src/exec_status.rs glexec/act/src/find_command.rs glexec/act/src/foreign.rs glexec/act/src/gridmapdir.rs glexec/act/src/gridmapdir/taking.rs glexec/act/src/handover/mod.rs glexec/act/src/handover/links.rs glexec/act/src/handover/lock.rs glexec/act/src/handover/lost.rs glexec/act/src/handover/transfer.rs glexec/act/src/held_processes.rs glexec/act/src/helper.rs glexec/act/src/identity.rs glexec/act/src/keyring.rs glexec/act/src/launch.rs glexec/act/src/leases.rs glexec/act/src/needs_proc.rs glexec/act/src/nested.rs glexec/act/src/output.rs glexec/act/src/parent_watch.rs glexec/act/src/payload.rs glexec/act/src/program.rs glexec/act/src/root.rs glexec/act/src/sink.rs glexec/act/src/state/mod.rs glexec/act/src/state/claim.rs glexec/act/src/state/record.rs glexec/act/src/state/settling.rs glexec/act/src/status_proxy.rs glexec/act/src/stragglers.rs glexec/act/src/supervisor/mod.rs glexec/act/src/supervisor/given.rs glexec/act/src/supervisor/start.rs glexec/act/src/target_proxy.rs glexec/act/src/threshold.rs glexec/act/src/tree/mod.rs glexec/act/src/tree/attributes.rs glexec/act/src/tree/look.rs glexec/act/src/tree/quarantine.rs glexec/act/src/trial.rs glexec/act/src/whereabouts.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libact-848fd167c134f104.rmeta: glexec/act/src/lib.rs glexec/act/src/account_processes.rs glexec/act/src/apart.rs glexec/act/src/caller_descriptors.rs glexec/act/src/cgroups.rs glexec/act/src/clean.rs glexec/act/src/close_descriptors.rs glexec/act/src/descendants.rs glexec/act/src/descriptor_proxy.rs glexec/act/src/epilogue/mod.rs glexec/act/src/epilogue/check.rs glexec/act/src/epilogue/start.rs glexec/act/src/epilogue/wait.rs glexec/act/src/event_loop.rs glexec/act/src/event_sources.rs glexec/act/src/exec_status.rs glexec/act/src/find_command.rs glexec/act/src/foreign.rs glexec/act/src/gridmapdir.rs glexec/act/src/gridmapdir/taking.rs glexec/act/src/handover/mod.rs glexec/act/src/handover/links.rs glexec/act/src/handover/lock.rs glexec/act/src/handover/lost.rs glexec/act/src/handover/transfer.rs glexec/act/src/held_processes.rs glexec/act/src/helper.rs glexec/act/src/identity.rs glexec/act/src/keyring.rs glexec/act/src/launch.rs glexec/act/src/leases.rs glexec/act/src/needs_proc.rs glexec/act/src/nested.rs glexec/act/src/output.rs glexec/act/src/parent_watch.rs glexec/act/src/payload.rs glexec/act/src/program.rs glexec/act/src/root.rs glexec/act/src/sink.rs glexec/act/src/state/mod.rs glexec/act/src/state/claim.rs glexec/act/src/state/record.rs glexec/act/src/state/settling.rs glexec/act/src/status_proxy.rs glexec/act/src/stragglers.rs glexec/act/src/supervisor/mod.rs glexec/act/src/supervisor/given.rs glexec/act/src/supervisor/start.rs glexec/act/src/target_proxy.rs glexec/act/src/threshold.rs glexec/act/src/tree/mod.rs glexec/act/src/tree/attributes.rs glexec/act/src/tree/look.rs glexec/act/src/tree/quarantine.rs glexec/act/src/trial.rs glexec/act/src/whereabouts.rs

glexec/act/src/lib.rs:
glexec/act/src/account_processes.rs:
glexec/act/src/apart.rs:
glexec/act/src/caller_descriptors.rs:
glexec/act/src/cgroups.rs:
glexec/act/src/clean.rs:
glexec/act/src/close_descriptors.rs:
glexec/act/src/descendants.rs:
glexec/act/src/descriptor_proxy.rs:
glexec/act/src/epilogue/mod.rs:
glexec/act/src/epilogue/check.rs:
glexec/act/src/epilogue/start.rs:
glexec/act/src/epilogue/wait.rs:
glexec/act/src/event_loop.rs:
glexec/act/src/event_sources.rs:
glexec/act/src/exec_status.rs:
glexec/act/src/find_command.rs:
glexec/act/src/foreign.rs:
glexec/act/src/gridmapdir.rs:
glexec/act/src/gridmapdir/taking.rs:
glexec/act/src/handover/mod.rs:
glexec/act/src/handover/links.rs:
glexec/act/src/handover/lock.rs:
glexec/act/src/handover/lost.rs:
glexec/act/src/handover/transfer.rs:
glexec/act/src/held_processes.rs:
glexec/act/src/helper.rs:
glexec/act/src/identity.rs:
glexec/act/src/keyring.rs:
glexec/act/src/launch.rs:
glexec/act/src/leases.rs:
glexec/act/src/needs_proc.rs:
glexec/act/src/nested.rs:
glexec/act/src/output.rs:
glexec/act/src/parent_watch.rs:
glexec/act/src/payload.rs:
glexec/act/src/program.rs:
glexec/act/src/root.rs:
glexec/act/src/sink.rs:
glexec/act/src/state/mod.rs:
glexec/act/src/state/claim.rs:
glexec/act/src/state/record.rs:
glexec/act/src/state/settling.rs:
glexec/act/src/status_proxy.rs:
glexec/act/src/stragglers.rs:
glexec/act/src/supervisor/mod.rs:
glexec/act/src/supervisor/given.rs:
glexec/act/src/supervisor/start.rs:
glexec/act/src/target_proxy.rs:
glexec/act/src/threshold.rs:
glexec/act/src/tree/mod.rs:
glexec/act/src/tree/attributes.rs:
glexec/act/src/tree/look.rs:
glexec/act/src/tree/quarantine.rs:
glexec/act/src/trial.rs:
glexec/act/src/whereabouts.rs:
