//! What kernel modules are compiled with: the sources of a driver, the headers of exactly the locked kernel, and a compiler.

use std::collections::BTreeMap;

use super::suite::Suite;
use super::{LockError, Locking, Packages, newest};
use crate::debian::Index;
use crate::digest::Digest;
use crate::fetch::{Place, Wanted};
use crate::lock::{Role, kernel_release};
use crate::recipe::{DriverSource, Recipe};

/// Programs of a build; what they depend on follows. The compiler is not among them: the headers depend on the one
/// that compiled their kernel.
const PROGRAMS: [&str; 13] = [
    "binutils",
    "bubblewrap",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "grep",
    "make",
    "mawk",
    "patch",
    "sed",
    "tar",
    "xz-utils",
];
/// What the headers depend on and no build needs, beside the kernel image: what an installed kernel calls, and the
/// tool of debuggers' type information.
const UNNEEDED: [&str; 2] = ["linux-base", "pahole"];

impl Locking<'_> {
    /// Adds everything that compiles the modules of `gpu.modules`, if the recipe has that.
    pub(super) fn module_tools(
        &self,
        recipe: &Recipe,
        suites: &BTreeMap<String, Suite>,
        packages: &mut Packages,
    ) -> Result<(), LockError> {
        let modules = recipe.gpu.as_ref().and_then(|gpu| gpu.modules.as_ref());
        let Some(modules) = modules else {
            return Ok(());
        };
        match &modules.source {
            DriverSource::Package { suite, package } => {
                if let Some(found) = suites.get(suite) {
                    let role = Role::ModuleSource;
                    packages.add(newest(&found.index, package, suite, role)?, suite, role);
                }
            }
            DriverSource::Archive { url, sha256 } => return Err(self.archive(url, sha256)),
        }
        match suites.get(&recipe.base.suite) {
            Some(base) => tools(&recipe.base.suite, &base.index, packages),
            None => Ok(()),
        }
    }

    /// Brings NVIDIA's own archive, to say what is missing.
    fn archive(&self, url: &str, sha256: &Digest) -> LockError {
        let wanted = Wanted {
            name: url.to_owned(),
            sha256: *sha256,
            size: None,
            places: vec![Place::Url(url.to_owned())],
        };
        let task = self.progress.task("driver", 0);
        let url = url.to_owned();
        match self.fetcher.one(&wanted, &task) {
            Ok(_) => LockError::DriverArchive { url },
            Err(source) => LockError::NoDriverArchive {
                url,
                sha256: *sha256,
                source: Box::new(source),
            },
        }
    }
}

/// Adds headers, compiler and programs for the kernel among `packages`.
fn tools(suite: &str, index: &Index, packages: &mut Packages) -> Result<(), LockError> {
    let kernel: Vec<_> = packages.with_role(Role::Kernel).cloned().collect();
    let Some(release) = kernel_release(kernel.iter().map(|package| package.name.as_str())) else {
        return Ok(());
    };
    let version = kernel
        .first()
        .map_or("", |package| package.version.as_str());
    let headers = format!("linux-headers-{release}");
    let candidates = index.named(&headers).iter().filter_map(|id| index.get(*id));
    if !candidates
        .into_iter()
        .any(|found| found.version.to_string() == version)
    {
        return Err(LockError::NoHeaders {
            suite: suite.to_owned(),
            release: release.to_owned(),
            version: version.to_owned(),
        });
    }
    let mut wanted: Vec<String> = PROGRAMS.map(str::to_owned).to_vec();
    wanted.push(headers);
    let mut exclude: Vec<String> = UNNEEDED.map(str::to_owned).to_vec();
    exclude.extend(["", "-unsigned"].map(|end| format!("linux-image-{release}{end}")));
    packages.add_closure((suite, index), &wanted, &exclude, Role::ModuleTools)?;
    Ok(())
}
