//! PID 1 of a Cloister guest.

pub mod channel;
pub mod serve;
