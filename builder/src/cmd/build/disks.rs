//! The disk, and the forms of it that the platforms of a build take.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::plan::Plan;
use crate::cmd::CommandError;
use crate::disk::{DiskError, Extents, Layout, MIB, Readable, root_start};
use crate::erofs::Place;
use crate::fat::Volume;
use crate::guid::{Guid, Role};
use crate::output::{Output, OutputError, Staging};
use crate::platform::DiskFormat;
use crate::store::Digest;
use crate::uki::BOOT_PATH;
use crate::verity::HashTree;
use crate::{gcp_tar, vhd};

/// The disk that every platform without a form of its own starts from, and what the others are made of.
pub(super) const RAW: &str = DiskFormat::Raw.file_name();
const VHD: &str = DiskFormat::FixedVhd.file_name();
const TAR: &str = DiskFormat::GcpTar.file_name();

/// A disk of this build.
pub(super) struct Disk {
    /// Where everything is on it.
    pub(super) layout: Layout,
    extents: Extents,
    /// What of it is not in the file yet.
    front: Arc<[u8]>,
    path: PathBuf,
}

impl Disk {
    /// The first sectors of the disk as Google has it, with its partition table.
    pub(super) fn google_table(&self) -> Result<Vec<u8>, DiskError> {
        Ok(self.layout.grown(gcp_tar::UNIT).table.primary()?)
    }

    /// Reads the disk once, and writes the VHD where one is to be written: the state of SHA-256 behind the disk.
    fn pass(&self, readable: Readable<'_>, vhd: Option<&Vhd>) -> Result<Sha256, CommandError> {
        let size = self.layout.size();
        let written = vhd.and_then(|vhd| Some((vhd.id, vhd.out.as_ref()?)));
        Ok(match written {
            Some((id, out)) => vhd::write(readable, size, &self.extents, id, out)?,
            None => readable.hash(size, None).map_err(DiskError::from)?,
        })
    }
}

/// Bytes of the EFI system partition.
fn esp_size(plan: &Plan) -> u64 {
    plan.recipe.disk.esp_mib.saturating_mul(MIB)
}

/// Where the root begins on the disk.
pub(super) fn root_at(plan: &Plan) -> u64 {
    root_start(esp_size(plan))
}

/// The layout of the disk with a root and a hash tree of these sizes in bytes.
pub(super) fn layout(plan: &Plan, root: u64, tree: u64) -> Layout {
    Layout::new(&plan.recipe.name, esp_size(plan), root, tree)
}

/// Refuses a disk of `bytes`, or more, where that is more than the recipe allows.
pub(super) fn check_size(plan: &Plan, bytes: u64) -> Result<(), CommandError> {
    let (wanted, found) = (bytes.div_ceil(MIB), plan.recipe.disk.max_mib);
    if found == 0 || wanted <= found {
        return Ok(());
    }
    let error = anyhow::anyhow!(
        "disk needs {wanted} MiB or more; `max-mib` of the recipe's `[disk]` is {found}"
    );
    let hint = "raise `disk.max-mib`, or leave something out: `root.drop` and `python.exclude` name what the image does without";
    Err(CommandError::new(error).with_hint(hint.to_owned()))
}

/// Makes `disk.raw` around the root that is in it already; where that of the last build is `kept`, changes the front of its
/// disk if nobody else has the file, and copies the root otherwise.
pub(super) fn make(
    plan: &Plan,
    staging: &Staging<'_>,
    uki: &[u8],
    verity: &HashTree,
    kept: bool,
) -> Result<Disk, CommandError> {
    let files = BTreeMap::from([(BOOT_PATH, uki)]);
    let serial = Guid::derive(&plan.recipe.name, Role::EspPartition).serial();
    let esp = Volume::new(&files, esp_size(plan), serial)?;
    let layout = layout(plan, verity.data_size(), verity.tree.len() as u64);
    check_size(plan, layout.size())?;
    let front = layout.front(&esp)?;
    let extents = layout.extents(&front, verity)?;
    let earlier = staging.earlier().filter(|_| kept);
    if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.is_alone(RAW)) {
        return Ok(Disk {
            layout,
            extents,
            front: front.into(),
            path: earlier.path(RAW),
        });
    }
    let path = staging.path(RAW)?;
    if let Some(earlier) = earlier {
        let place = Place {
            path: &path,
            at: root_at(plan),
        };
        copy_root(&earlier.path(RAW), place, verity.data_size())?;
    }
    let file = File::options().read(true).write(true).open(&path);
    let file = file.map_err(|error| OutputError::new(&path, error))?;
    layout.write_around(&file, &front, &verity.tree)?;
    Ok(Disk {
        layout,
        extents,
        front: Arc::from([]),
        path,
    })
}

/// Copies the root of `size` bytes on the disk at `from`, of which others have a name, to the same place of another.
fn copy_root(from: &Path, to: Place<'_>, size: u64) -> Result<(), OutputError> {
    let failed = |error| OutputError::new(from, error);
    let mut disk = File::open(from).map_err(failed)?;
    disk.seek(SeekFrom::Start(to.at)).map_err(failed)?;
    match to.fill(&mut disk.take(size)) {
        Ok(copied) if copied == size => Ok(()),
        Ok(_) => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(OutputError::new(to.path, error)),
    }
}

/// Counts `disk` as an output, and makes it once more in each form that a platform of the plan takes: in one pass, with the
/// archive deflated beside it.
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
    let formats = plan.disk_formats();
    let vhd = formats
        .contains(&DiskFormat::FixedVhd)
        .then(|| Vhd::of(plan, staging, disk));
    let vhd = vhd.transpose()?;
    let archive = formats
        .contains(&DiskFormat::GcpTar)
        .then(|| create(staging, TAR));
    let archive = archive.transpose()?;
    let (hash, archive) = std::thread::scope(|scope| {
        let hash = scope.spawn(|| disk.pass(readable, vhd.as_ref()));
        let epoch = plan.lock.epoch;
        let write = |(_, out): &(_, File)| {
            gcp_tar::write(readable, &disk.layout, &disk.extents, epoch, out)
        };
        let archive = archive.as_ref().map(write).transpose();
        (hash.join(), archive)
    });
    let hash = hash.map_err(|_| anyhow::anyhow!("disk: the pass over it panicked"))??;
    let size = disk.layout.size();
    let raw = output((hash.clone().finalize().into(), size));
    let front = Some(&disk.front).filter(|front| !front.is_empty());
    count(staging, RAW, raw, front);
    if let Some(Vhd { id, out }) = vhd {
        let front = Some(&disk.front).filter(|_| out.is_none());
        count(staging, VHD, output(vhd::digest(&hash, size, id)), front);
    }
    if let Some(written) = archive? {
        staging.add(TAR, output(written));
    }
    Ok(())
}

/// The fixed VHD of a build.
struct Vhd {
    id: Guid,
    /// The file to write; without one the last build's stays, with another front.
    out: Option<File>,
}

impl Vhd {
    fn of(plan: &Plan, staging: &Staging<'_>, disk: &Disk) -> Result<Self, OutputError> {
        let id = Guid::derive(&plan.recipe.name, Role::Vhd);
        let changes = !disk.front.is_empty();
        let earlier = staging.earlier().filter(|_| changes);
        let stays = earlier.is_some_and(|earlier| earlier.unchanged_and_alone(VHD).is_some());
        let out = (!stays).then(|| create(staging, VHD)).transpose()?;
        let out = out.map(|(_, out)| out);
        Ok(Self { id, out })
    }
}

fn output((sha256, size): ([u8; 32], u64)) -> Output {
    let sha256 = Digest(sha256);
    Output { sha256, size }
}

/// Counts the form `name` as an output: written, or the last build's with another `front`.
fn count(staging: &mut Staging<'_>, name: &str, output: Output, front: Option<&Arc<[u8]>>) {
    match front {
        Some(front) => staging.keep_behind(name, Arc::clone(front), output),
        None => staging.add(name, output),
    }
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
