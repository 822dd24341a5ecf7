//! The disk in every form that the platforms of a build take.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use super::plan::Plan;
use crate::cmd::CommandError;
use crate::disk::{Contents, DiskError, Layout, MIB, Written};
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

/// A disk that was written.
pub(super) struct Disk {
    /// Where everything is on it.
    pub(super) layout: Layout,
    written: Written,
    path: PathBuf,
}

impl Disk {
    /// The first sectors of the disk as Google has it, with its partition table.
    pub(super) fn google_table(&self) -> Result<Vec<u8>, DiskError> {
        Ok(self.layout.grown(gcp_tar::UNIT).table.primary()?)
    }
}

/// Writes `disk.raw`.
pub(super) fn write_raw(
    plan: &Plan,
    staging: &mut Staging<'_>,
    uki: &[u8],
    root: u64,
    verity: &HashTree,
) -> Result<Disk, CommandError> {
    let files = BTreeMap::from([(BOOT_PATH, uki)]);
    let esp_size = plan.recipe.disk.esp_mib.saturating_mul(MIB);
    let serial = Guid::derive(&plan.recipe.name, Role::EspPartition).serial();
    let esp = Volume::new(&files, esp_size, serial)?;
    let layout = Layout::new(&plan.recipe.name, esp_size, root, verity.tree.len() as u64);
    let (path, file) = create(staging, RAW)?;
    let contents = Contents {
        esp: &esp,
        root: &staging.path("root.erofs")?,
        verity: &verity.tree,
    };
    let written = layout.write(&file, &contents)?;
    let (sha256, size) = (Digest(written.sha256()), written.size);
    staging.add(RAW, Output { sha256, size });
    Ok(Disk {
        layout,
        written,
        path,
    })
}

/// Writes `disk` once more in each form that a platform of the plan takes.
pub(super) fn write_forms(
    plan: &Plan,
    staging: &mut Staging<'_>,
    disk: &Disk,
) -> Result<(), CommandError> {
    let raw = File::open(&disk.path).map_err(|error| OutputError::new(&disk.path, error))?;
    for format in plan.disk_formats() {
        let name = format.file_name();
        let (sha256, size) = match format {
            DiskFormat::Raw => continue,
            DiskFormat::FixedVhd => {
                let (_, out) = create(staging, name)?;
                let id = Guid::derive(&plan.recipe.name, Role::Vhd);
                vhd::write(&raw, &disk.written, id, &out)?
            }
            DiskFormat::GcpTar => {
                let (_, out) = create(staging, name)?;
                let epoch = plan.lock.epoch;
                gcp_tar::write(&raw, &disk.layout, &disk.written, epoch, &out)?
            }
        };
        let sha256 = Digest(sha256);
        staging.add(name, Output { sha256, size });
    }
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
