//! What must be true of a compiled module before it may be used.

use goblin::elf::Elf;

use super::KernelBuildError;
use crate::modules::{Info, InfoError};

/// Functions of the kernel that NVIDIA's SPDM calls where it is not made of stubs. Source: `libspdm_aead.c` and `libspdm_shash.c` of
/// `kernel-open/nvidia`, `USE_LKCA`.
const SPDM: [&str; 2] = ["crypto_alloc_aead", "crypto_alloc_shash"];
/// The same for signatures: which one it is depends on the kernel. Source: `libspdm_ecc.c`.
const SIGNATURES: [&str; 2] = ["crypto_alloc_akcipher", "crypto_alloc_sig"];

/// Compares the release in `vermagic`, which the kernel compares when it loads a module.
pub(super) fn release(name: &str, elf: &[u8], wanted: &str) -> Result<(), KernelBuildError> {
    let found = info(name, elf)?.vermagic.unwrap_or_default();
    let release = found.split(' ').next().unwrap_or_default();
    same(name, "release in `vermagic`", wanted, release)
}

/// Compares the version that a module of a driver names.
pub(super) fn version(name: &str, elf: &[u8], wanted: &str) -> Result<(), KernelBuildError> {
    let found = info(name, elf)?.version.unwrap_or_default();
    same(name, "version", wanted, &found)
}

/// Refuses a module whose SPDM has stubs: it would load, and fail at the first GPU in confidential mode.
pub(super) fn spdm(name: &str, elf: &[u8]) -> Result<(), KernelBuildError> {
    let called = undefined(name, elf)?;
    let missing = |symbol: &&&'static str| !called.iter().any(|called| called == **symbol);
    let signature = SIGNATURES.iter().filter(missing).count() < SIGNATURES.len();
    let lacks = SPDM.iter().find(missing).copied();
    match lacks.or_else(|| SIGNATURES.first().copied().filter(|_| !signature)) {
        None => Ok(()),
        Some(symbol) => Err(KernelBuildError::Stubs {
            module: name.to_owned(),
            symbol,
        }),
    }
}

fn same(
    module: &str,
    field: &'static str,
    wanted: &str,
    found: &str,
) -> Result<(), KernelBuildError> {
    if found == wanted {
        return Ok(());
    }
    Err(KernelBuildError::Other {
        module: module.to_owned(),
        field,
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    })
}

fn info(name: &str, elf: &[u8]) -> Result<Info, KernelBuildError> {
    Info::read(elf).map_err(|source| KernelBuildError::Unreadable {
        module: name.to_owned(),
        source,
    })
}

/// Names of what a module takes from the kernel and from other modules.
fn undefined(name: &str, elf: &[u8]) -> Result<Vec<String>, KernelBuildError> {
    let parsed = Elf::parse(elf).map_err(|source| KernelBuildError::Unreadable {
        module: name.to_owned(),
        source: InfoError::Elf(source),
    })?;
    let outside = parsed
        .syms
        .iter()
        .filter(|symbol| symbol.st_shndx == 0 && symbol.st_name != 0);
    Ok(outside
        .filter_map(|symbol| Some(parsed.strtab.get_at(symbol.st_name)?.to_owned()))
        .collect())
}
