//! PID 1 of a Cloister guest.

fn main() {}
