//! The `cloister` command line.

fn main() {}
