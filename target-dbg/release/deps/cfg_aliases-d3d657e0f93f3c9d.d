/work/wt/perf/target-dbg/release/deps/cfg_aliases-d3d657e0f93f3c9d.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg_aliases-0.2.2/src/lib.rs

/work/wt/perf/target-dbg/release/deps/libcfg_aliases-d3d657e0f93f3c9d.rlib: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg_aliases-0.2.2/src/lib.rs

/work/wt/perf/target-dbg/release/deps/libcfg_aliases-d3d657e0f93f3c9d.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg_aliases-0.2.2/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg_aliases-0.2.2/src/lib.rs:
