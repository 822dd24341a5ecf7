//! PID 1's loop. A program of its own, with one test, for the loop collects every child there is.

#[cfg(test)]
mod supervisor;
