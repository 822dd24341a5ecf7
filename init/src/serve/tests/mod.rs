//! The whole front on a real TCP port, with its system call filter, against a stub workload and a stub PID 1.

mod attestation;
mod canary;
mod client;
mod faults;
mod guest;
mod http2;
mod proxy;
mod streaming;
