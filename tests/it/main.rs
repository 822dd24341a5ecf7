//! Map of the integration tests. They drive the real `cloister` program and boot real guests in QEMU.
//!
//! | module | what must hold |
//! |---|---|
//! | [`cli`] | every verb says what it does; exit codes |
//! | [`bad_input`] | mistakes get a clear error and change nothing |
//! | [`reproducible`] | builds in environments that differ give the same bytes; a planted difference is named |
//! | [`measure_input`] | the wrong file or number gets `measure` to say what to do, soon and in little memory |
//! | [`measure_logs`] | a recorded log gives the registers of its TPM; exit codes of `measure replay` and `diff` |
//! | [`measure_oracle`] | launch digests and ID blocks equal those of an independent implementation |
//! | [`enforcement`] | firmware that would boot any kernel is refused |
//! | [`boot`] | registers of a booted guest equal the values made before; nothing stays behind |
//! | [`tamper`] | changed images, missing parts and dying workloads end in power-off or rejection |
//! | [`ratls`] | relayed, stale, altered and misplaced evidence is rejected; TLS 1.3 without tickets only |
//! | [`azure`] | evidence of a guest whose TPM is like Azure's is accepted by the keys behind its report, and by no others |
//! | [`clouds`] | disks boot in the forms that clouds import; a kept root gives the bytes of a whole build |
//! | [`gpu`] | a guest proves its GPU before it works; every fault of GPU, driver and library ends it |
//! | [`workload`] | what a workload can reach, see and print |
//! | [`end_to_end`] | a recipe becomes a verified answer of a language model, through the real OpenAI client |
//!
//! What they share: [`program`] runs `cloister`, [`images`] builds each image once, [`guest`] boots, [`disk`] alters
//! images, [`peer`] speaks TLS without verifying, [`impostor`] has a valid leaf of its own, [`software_tpm`] is one for a guest. `CLOISTER_BIN` names the program; default `target/release/cloister`.

#[cfg(test)]
mod azure;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod boot;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod clouds;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod enforcement;
#[cfg(test)]
mod gpu;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod images;
#[cfg(test)]
mod impostor;
#[cfg(test)]
mod measure_input;
#[cfg(test)]
mod measure_logs;
#[cfg(test)]
mod measure_oracle;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod program;
#[cfg(test)]
mod ratls;
#[cfg(test)]
mod reproducible;
#[cfg(test)]
mod software_tpm;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod workload;
