//! The one program of the guest that loads NVIDIA's management library, and what it says to PID 1.
//!
//! `cloister-gpu-helper` moves bytes: it calls the library, puts what came back in one record and judges nothing. It is linked
//! dynamically, because a static program cannot load the library; PID 1 confines it, gives each request a time limit and kills it
//! when that has passed. PID 1 uses [`record`] alone. ADR: `docs/adr/0063-a-helper-loads-nvml.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`record`] | requests and records, both directions |
//! | [`serve`] | the helper's loop |
//! | `sys` | the library: the only unsafe code of this crate |

pub mod record;
pub mod serve;
#[expect(
    unsafe_code,
    reason = "the fence around a C library that is loaded at run time"
)]
mod sys;
