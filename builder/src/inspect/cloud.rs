//! Disks in the forms that clouds import: fixed VHD, and the archive of Google Compute Engine.

use std::fs::File;
use std::io;

use super::image::{backup, describe_partitions, range};
use super::report::{Fields, Report};
use crate::gcp_tar::{self, FormError};
use crate::gpt::{PRIMARY_SECTORS, SECTOR, Table};
use crate::vhd::{FOOTER, Footer, FooterError};

/// A fixed VHD: the fields of its footer, and the disk before it.
pub(super) fn vhd(file: &File, length: u64) -> io::Result<Option<Report>> {
    let Some(size) = length.checked_sub(FOOTER as u64) else {
        return Ok(None);
    };
    let footer = match Footer::parse(&range(file, size, FOOTER as u64)?) {
        Ok(footer) => footer_fields(&footer),
        Err(FooterError::NoFooter) => return Ok(None),
        Err(damage) => Fields::new().with("damage", damage.to_string()),
    };
    let fields = Fields::new()
        .with("size", length)
        .with("disk-size", size)
        .with("whole-mib", size.is_multiple_of(crate::vhd::ALIGNMENT))
        .with("footer", footer);
    let head = range(file, 0, (PRIMARY_SECTORS * SECTOR as u64).min(size))?;
    let fields = match Table::parse(&head) {
        Ok(table) => fields
            .with("disk-guid", table.disk.to_string())
            .with("backup-table", backup(file, size, &table)?)
            .with("partitions", describe_partitions(file, &table)?),
        Err(error) => fields.with("partition-table", error.to_string()),
    };
    Ok(Some(Report::new("fixed VHD", fields)))
}

fn footer_fields(footer: &Footer) -> Fields {
    let text = |bytes: [u8; 4]| String::from_utf8_lossy(&bytes).into_owned();
    let geometry = footer.geometry;
    let geometry = format!(
        "{} cylinders, {} heads, {} sectors",
        geometry.cylinders, geometry.heads, geometry.sectors
    );
    Fields::new()
        .with("time", footer.time)
        .with("creator", text(footer.creator))
        .with(
            "creator-version",
            format!("{:#010x}", footer.creator_version),
        )
        .with("host", text(footer.host))
        .with("original-size", footer.original_size)
        .with("current-size", footer.size)
        .with("geometry", geometry)
        .with("disk-type", "fixed")
        .with("checksum", format!("{:08x}", footer.checksum))
        .with("id", footer.id.to_string())
        .with("saved-state", footer.saved_state)
}

/// A gzip file with one sparse disk; `None` when it is another kind of archive.
pub(super) fn google(file: &File) -> Option<Report> {
    let read = gcp_tar::read(file, |_, _| Ok(()));
    let form = match read {
        Ok((form, ())) => form,
        Err(FormError::Read(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return None,
        Err(FormError::Empty) => return None,
        Err(damage) => {
            let fields = Fields::new().with("damage", damage.to_string());
            return Some(Report::new("archive of a disk (gzip, tar)", fields));
        }
    };
    let fields = Fields::new()
        .with("gzip-time", form.gzip_time)
        .with("member", form.name)
        .with("type", form.kind.to_string())
        .with("old-gnu", form.old_gnu)
        .with("mode", format!("{:04o}", form.mode))
        .with("owner", format!("{}:{}", form.uid, form.gid))
        .with("mtime", form.mtime)
        .with("stored", form.stored)
        .with("disk-size", form.size)
        .with("whole-gib", form.size.is_multiple_of(gcp_tar::UNIT));
    Some(Report::new("archive of a disk (gzip, tar)", fields))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::disk::{self, Readable};
    use crate::guid::{Guid, Role};
    use crate::inspect::inspect;
    use crate::vhd;

    fn shown(file: &File) -> String {
        use std::io::Seek as _;
        let mut file = file.try_clone().unwrap();
        file.rewind().unwrap();
        inspect(file).unwrap().unwrap().to_text()
    }

    #[test]
    fn both_forms_are_said_field_by_field_and_damage_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, raw, written) = disk::tests::write(dir.path());
        let raw = File::open(raw).unwrap();
        let vhd = tempfile::tempfile().unwrap();
        let id = Guid::derive("demo", Role::Vhd);
        let disk = Readable::whole(&raw);
        vhd::write(disk, written.size, &written.extents, id, &vhd).unwrap();
        let text = shown(&vhd);
        for wanted in [
            "fixed VHD\n",
            "creator          win ",
            "geometry         950 cylinders, 9 heads, 17 sectors",
            "EFI/BOOT/BOOTX64.EFI",
            "equal, in the last sectors",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in {text}");
        }
        vhd.write_all_at(b"x", written.size + 30).unwrap();
        assert!(shown(&vhd).contains("checksum of the VHD footer is"));

        let archive = tempfile::tempfile().unwrap();
        let (_, length) = gcp_tar::write(disk, &layout, &written.extents, 7, &archive).unwrap();
        let text = shown(&archive);
        let wanted = "archive of a disk (gzip, tar)\n";
        assert!(text.starts_with(wanted), "{text}");
        for wanted in ["disk.raw", "0644", "1073741824"] {
            assert!(text.contains(wanted), "no `{wanted}` in {text}");
        }
        archive.set_len(length - 9).unwrap();
        assert!(shown(&archive).contains("damage"));
    }
}
