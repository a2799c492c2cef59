/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/cfg_if-9d9de83c40ee6de9.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg-if-1.0.5/src/lib.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libcfg_if-9d9de83c40ee6de9.rlib: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg-if-1.0.5/src/lib.rs

/work/wt/perf/target-dbg/x86_64-unknown-linux-musl/release/deps/libcfg_if-9d9de83c40ee6de9.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg-if-1.0.5/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cfg-if-1.0.5/src/lib.rs:
