//! Without the runner nothing here may run: it would touch the machine's own network.

use std::{env, fs};

#[test]
fn a_namespace_of_its_own() {
    let outer = env::var_os("OUTER_NETNS").expect("run by `cargo xtask test netns`: OUTER_NETNS is not set");
    let own = fs::read_link("/proc/self/ns/net").expect("a network namespace");
    assert_ne!(own.as_os_str(), outer, "run by `cargo xtask test netns`: this is the machine's own network namespace");
}
