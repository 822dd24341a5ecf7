//! The disk in every form that the platforms of a build take.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::Plan;
use super::root::IMAGE;
use crate::cmd::CommandError;
use crate::disk::{Contents, DiskError, Layout, MIB, Readable, Written};
use crate::fat::Volume;
use crate::guid::{Guid, Role};
use crate::output::{Output, OutputError, Staging};
use crate::platform::DiskFormat;
use crate::store::Digest;
use crate::uki::BOOT_PATH;
use crate::verity::HashTree;
use crate::{gcp_tar, vhd};

/// The disk that every platform without a form of its own starts from, and what the others are made of.
const RAW: &str = DiskFormat::Raw.file_name();

/// A disk of this build.
pub(super) struct Disk {
    /// Where everything is on it.
    pub(super) layout: Layout,
    written: Written,
    /// What of it is not in the file yet.
    front: Arc<[u8]>,
    path: PathBuf,
}

impl Disk {
    /// The first sectors of the disk as Google has it, with its partition table.
    pub(super) fn google_table(&self) -> Result<Vec<u8>, DiskError> {
        Ok(self.layout.grown(gcp_tar::UNIT).table.primary()?)
    }

    fn output(&self) -> Output {
        Output {
            sha256: Digest(self.written.sha256()),
            size: self.written.size,
        }
    }
}

/// Makes `disk.raw` with the root image of `root` bytes: changes the front of the last build's, where `kept` says that the
/// root is the same and nobody else has the file, and writes a whole one otherwise.
pub(super) fn make(
    plan: &Plan,
    staging: &mut Staging<'_>,
    uki: &[u8],
    root: u64,
    verity: &HashTree,
    kept: bool,
) -> Result<Disk, CommandError> {
    let files = BTreeMap::from([(BOOT_PATH, uki)]);
    let esp_size = plan.recipe.disk.esp_mib.saturating_mul(MIB);
    let serial = Guid::derive(&plan.recipe.name, Role::EspPartition).serial();
    let esp = Volume::new(&files, esp_size, serial)?;
    let layout = Layout::new(&plan.recipe.name, esp_size, root, verity.tree.len() as u64);
    let earlier = staging.earlier().filter(|_| kept);
    match earlier.filter(|earlier| earlier.unchanged_and_alone(RAW).is_some()) {
        Some(earlier) => change(staging, layout, &esp, earlier.path(RAW)),
        None => {
            let root = match staging.earlier().filter(|_| kept) {
                Some(earlier) => earlier.path(IMAGE),
                None => staging.path(IMAGE)?,
            };
            write(staging, layout, &esp, &root, verity)
        }
    }
}

/// The disk of the last build at `path` with another EFI system partition.
fn change(
    staging: &mut Staging<'_>,
    layout: Layout,
    esp: &Volume<'_>,
    path: PathBuf,
) -> Result<Disk, CommandError> {
    let front: Arc<[u8]> = layout.front(esp)?.into();
    let file = File::open(&path).map_err(|error| OutputError::new(&path, error))?;
    let readable = Readable {
        front: &front,
        file: &file,
    };
    let written = readable
        .examine(layout.size())
        .map_err(|error| OutputError::new(&path, error))?;
    let disk = Disk {
        layout,
        written,
        front: Arc::clone(&front),
        path,
    };
    staging.keep_behind(RAW, front, disk.output());
    Ok(disk)
}

fn write(
    staging: &mut Staging<'_>,
    layout: Layout,
    esp: &Volume<'_>,
    root: &Path,
    verity: &HashTree,
) -> Result<Disk, CommandError> {
    let (path, file) = create(staging, RAW)?;
    let contents = Contents {
        esp,
        root,
        verity: &verity.tree,
    };
    let written = layout.write(&file, &contents)?;
    let disk = Disk {
        layout,
        written,
        front: Arc::from([]),
        path,
    };
    staging.add(RAW, disk.output());
    Ok(disk)
}

/// Makes `disk` once more in each form that a platform of the plan takes.
pub(super) fn make_forms(
    plan: &Plan,
    staging: &mut Staging<'_>,
    disk: &Disk,
) -> Result<(), CommandError> {
    let file = File::open(&disk.path).map_err(|error| OutputError::new(&disk.path, error))?;
    let readable = Readable {
        front: &disk.front,
        file: &file,
    };
    for format in plan.disk_formats() {
        let name = format.file_name();
        match format {
            DiskFormat::Raw => {}
            DiskFormat::FixedVhd => make_vhd(plan, staging, disk, readable, name)?,
            DiskFormat::GcpTar => {
                let (_, out) = create(staging, name)?;
                let epoch = plan.lock.epoch;
                let (sha256, size) =
                    gcp_tar::write(readable, &disk.layout, &disk.written, epoch, &out)?;
                let sha256 = Digest(sha256);
                staging.add(name, Output { sha256, size });
            }
        }
    }
    Ok(())
}

/// The fixed VHD, which is the disk and a footer: its front is changed where that of `disk.raw` is.
fn make_vhd(
    plan: &Plan,
    staging: &mut Staging<'_>,
    disk: &Disk,
    readable: Readable<'_>,
    name: &str,
) -> Result<(), CommandError> {
    let id = Guid::derive(&plan.recipe.name, Role::Vhd);
    let changes = !disk.front.is_empty();
    let earlier = staging.earlier().filter(|_| changes);
    if earlier.is_some_and(|earlier| earlier.unchanged_and_alone(name).is_some()) {
        let (sha256, size) = vhd::digest(&disk.written, id);
        let sha256 = Digest(sha256);
        staging.keep_behind(name, Arc::clone(&disk.front), Output { sha256, size });
        return Ok(());
    }
    let (_, out) = create(staging, name)?;
    let (sha256, size) = vhd::write(readable, &disk.written, id, &out)?;
    let sha256 = Digest(sha256);
    staging.add(name, Output { sha256, size });
    Ok(())
}

fn create(staging: &Staging<'_>, name: &str) -> Result<(PathBuf, File), OutputError> {
    let path = staging.path(name)?;
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|error| OutputError::new(&path, error))?;
    Ok((path, file))
}
