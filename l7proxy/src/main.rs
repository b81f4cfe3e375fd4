//! The `l7proxy` command.

fn main() {}
