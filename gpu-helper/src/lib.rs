//! The one program of the guest that loads NVIDIA's management library, and what it says to PID 1.
//!
//! `cloister-gpu-helper` moves bytes: it calls the library, puts what came back in one record and judges nothing. It is linked
//! dynamically, because a static program cannot load the library; PID 1 confines it, gives each request a time limit and kills it
//! when that has passed. PID 1 depends on [`record`] alone.
//!
//! | module | holds |
//! |---|---|
//! | [`record`] | requests and records, both directions |

pub mod record;
