//! PID 1 of a Cloister guest: it brings up a measured image, proves what it is, and supervises the
//! two programs that serve it. It never runs their code and never reboots.
//!
//! | module | holds |
//! |---|---|
//! | [`boot`] | the stages, in order |
//! | [`mount`], [`settings`], [`config`], [`modules`], [`network`], [`block`], [`verity`], [`gpu`], [`clock`] | one stage's work each: a plan, and its application |
//! | [`tpm`], [`tee`], [`attest`] | commands, devices and answers: the evidence |
//! | [`channel`] | what PID 1 and `serve` say to each other |
//! | [`spawn`], [`supervise`], [`power`], [`uevent`] | PID 1's side of its children, and the end |
//! | [`confine`], [`root`], [`front`], [`workload`], [`provision`] | the children's side, up to their own code |
//! | [`serve`] | the attested TLS front |
//! | `sys` | the only unsafe code of PID 1 |
//!
//! Format of the configuration, console lines, users and what the workload sees:
//! `docs/guest-configuration.md`.

pub mod attest;
pub mod block;
pub mod boot;
pub mod channel;
pub mod clock;
pub mod config;
pub mod confine;
pub mod console;
mod directory;
pub mod front;
pub mod gpu;
pub mod modules;
pub mod mount;
pub mod network;
pub mod power;
pub mod provision;
pub mod root;
pub mod serve;
pub mod settings;
pub mod spawn;
pub mod supervise;
#[expect(
    unsafe_code,
    reason = "the one fence: system calls without a safe wrapper elsewhere"
)]
mod sys;
pub mod tee;
pub mod tpm;
pub mod uevent;
pub mod verity;
pub mod workload;

#[cfg(test)]
mod test_configuration {
    //! A small configuration for tests.

    pub(crate) const TEXT: &str = "cloister-guest 1
recipe demo
network dhcp
root 11111111-2222-3333-4444-555555555555 11111111-2222-3333-4444-666666666666 7
listen 443
gpu none
workload-user 1000 1000
workload-directory /
workload-exec /bin/true
workload-socket http.sock
workload-memory-max 0
";
}
