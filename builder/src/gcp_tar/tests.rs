use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;

use super::*;
use crate::disk;
use crate::gpt::{BACKUP_SECTORS, Table};

const EPOCH: u64 = 1_700_000_000;

/// An archive of a disk as `cloister build` lays it out: raw disk, archive, SHA-256.
fn written(dir: &Path) -> (Layout, PathBuf, PathBuf, [u8; 32]) {
    let (layout, raw, written) = disk::tests::write(dir);
    let path = dir.join("disk.tar.gz");
    let out = File::create_new(&path).unwrap();
    let (hash, size) = write(
        Readable::whole(&File::open(&raw).unwrap()),
        &layout,
        &written.extents,
        EPOCH,
        &out,
    )
    .unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
    (layout, raw, path, hash)
}

fn tar(arguments: &[&str], dir: &Path) -> String {
    let output = Command::new("tar")
        .args(arguments)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap())
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

/// What the grown disk must be, made in another way: the raw disk without tables, and those of a larger layout.
fn assert_is_grown(layout: &Layout, raw: &Path, disk: &mut File) {
    use std::io::{Seek as _, SeekFrom};
    let raw = std::fs::read(raw).unwrap();
    assert_eq!(disk.metadata().unwrap().len(), UNIT);
    let end = usize::try_from(layout.end()).unwrap();
    let mut front = vec![0; end];
    disk.read_exact(&mut front).unwrap();
    assert!(front[1 << 20..] == raw[1 << 20..end]);
    let table = Table::parse(&front).unwrap();
    assert_eq!(table.sectors * SECTOR as u64, UNIT);
    assert_eq!(table.partitions, layout.table.partitions);
    let backup = BACKUP_SECTORS * SECTOR as u64;
    let nothing = vec![0; 1 << 20];
    let mut piece = nothing.clone();
    // The last partition ends at a whole MiB, and the table's copy lies in the last one.
    for _ in (layout.end() >> 20)..(UNIT >> 20) - 1 {
        disk.read_exact(&mut piece).unwrap();
        assert!(piece == nothing);
    }
    disk.read_exact(&mut piece).unwrap();
    let copy = piece.len() - usize::try_from(backup).unwrap();
    assert!(piece[..copy] == nothing[..copy]);
    disk.seek(SeekFrom::Start(UNIT - backup)).unwrap();
    let mut tail = Vec::new();
    disk.read_to_end(&mut tail).unwrap();
    assert_eq!(Table::parse_backup(&tail, table.sectors).unwrap(), table);
}

#[test]
fn gnu_tar_lists_and_extracts_the_grown_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (layout, raw, _, _) = written(dir.path());
    let listed = tar(&["-tvzf", "disk.tar.gz", "--numeric-owner"], dir.path());
    let wanted = format!("-rw-r--r-- 0/0 {UNIT} 2023-11-14 22:13 disk.raw");
    let words: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(words.join(" "), wanted);
    let other = dir.path().join("extracted");
    std::fs::create_dir(&other).unwrap();
    tar(&["-xzf", "../disk.tar.gz"], &other);
    let mut disk = File::open(other.join(MEMBER)).unwrap();
    assert!(
        disk.metadata().unwrap().blocks() * 512 < 8 << 20,
        "not sparse"
    );
    assert_is_grown(&layout, &raw, &mut disk);
}

/// Offsets and values: GNU tar manual, "Basic Tar Format" (`struct oldgnu_header`).
#[test]
fn member_is_old_gnu_and_sparse() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _, path, _) = written(dir.path());
    let gzip = std::fs::read(&path).unwrap();
    // RFC 1952: no flags, no time.
    assert_eq!(gzip[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    let plain = unpacked(&path);
    assert_eq!(plain.len() % 512, 0);
    assert_eq!(plain[..9], *b"disk.raw\0");
    assert_eq!(plain[100..107], *b"0000644");
    assert_eq!(plain[156], b'S');
    assert_eq!(plain[257..265], *b"ustar  \0");
    assert_eq!(plain[483..494], *b"10000000000", "1 GiB in octal");
    assert!(plain[plain.len() - 1024..].iter().all(|byte| *byte == 0));
}

#[test]
fn reader_sees_the_form_and_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, raw, path, hash) = written(dir.path());
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), hash);
    let copy = dir.path().join("copy");
    let look = |disk: &mut dyn Read, _: &Form| {
        let mut out = File::create_new(&copy)?;
        io::copy(disk, &mut out)
    };
    let (form, size) = read(&*bytes, look).unwrap();
    assert_eq!(size, UNIT);
    let (name, mode) = (MEMBER.to_owned(), MODE);
    let wanted = Form {
        gzip_time: 0,
        name,
        kind: 'S',
        old_gnu: true,
        mode,
        uid: 0,
        gid: 0,
        mtime: EPOCH,
        stored: form.stored,
        size: UNIT,
    };
    assert_eq!(form, wanted);
    assert!(form.stored < 8 << 20);
    assert_is_grown(&layout, &raw, &mut File::open(&copy).unwrap());
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, raw, disk) = disk::tests::write(dir.path());
    let raw = File::open(raw).unwrap();
    let hash = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let out = tempfile::tempfile().unwrap();
        let work = || {
            write(Readable::whole(&raw), &layout, &disk.extents, EPOCH, &out)
                .unwrap()
                .0
        };
        pool.build().unwrap().install(work)
    };
    let one = hash(1);
    assert_eq!((hash(2), hash(7)), (one, one));
    // Golden: this writer with miniz_oxide 0.9.1; read by GNU tar and by the `tar` crate. Another value is another archive of
    // every image.
    assert_eq!(hex::encode(one), GOLDEN);
}

const GOLDEN: &str = "dd8b21c98e9da865df653ce9f735ec6cb37226e73c736a2a04a50a2f7ec33dcf";

/// Weights look like this: nothing to compress, piece after piece, read by another deflater than ours and by gzip.
#[test]
fn pieces_that_cannot_be_compressed_join_to_one_stream() {
    use rand::{RngCore as _, SeedableRng as _};
    let mut plain = vec![0; 3 * PIECE + 777];
    rand::rngs::StdRng::seed_from_u64(7).fill_bytes(&mut plain);
    plain[PIECE / 2..PIECE].fill(3);
    let pieces: Vec<&[u8]> = plain.chunks(PIECE).collect();
    let mut crc = Crc::new();
    let mut gzip = GZIP.to_vec();
    for (number, piece) in pieces.iter().enumerate() {
        let last = number + 1 == pieces.len();
        let deflated = deflate::piece(piece, last).unwrap();
        assert!(deflated.len() < piece.len() + 1024, "longer than its input");
        gzip.extend(deflated);
        crc.update(piece);
    }
    gzip.extend(crc.sum().to_le_bytes());
    gzip.extend(crc.amount().to_le_bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pieces.gz");
    std::fs::write(&path, gzip).unwrap();
    assert!(unpacked(&path) == plain);
    let output = Command::new("gzip")
        .args(["-dc"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout == plain);
}

/// A map that needs blocks behind the header, with places beyond what octal digits can say.
#[test]
fn long_maps_and_large_places_are_read_by_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    let extents: Vec<Range<u64>> = (0..60).map(|n| n << 30..(n << 30) + 512).collect();
    let mut bytes = headers(&extents, (59 << 30) + 512, EPOCH).unwrap();
    assert_eq!(bytes.len(), 512 * 4);
    (0..60_u8).for_each(|n| bytes.extend([n + 1; 512]));
    bytes.extend([0; 1024]);
    std::fs::write(dir.path().join("long.tar"), bytes).unwrap();
    tar(&["-xf", "long.tar"], dir.path());
    let file = File::open(dir.path().join(MEMBER)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (59 << 30) + 512);
    for n in 0..60_u8 {
        let mut found = [0; 512];
        file.read_exact_at(&mut found, u64::from(n) << 30).unwrap();
        assert_eq!(found, [n + 1; 512]);
        if n > 0 {
            let before = (u64::from(n) << 30) - 512;
            file.read_exact_at(&mut found, before).unwrap();
            assert_eq!(found, [0; 512]);
        }
    }
}

#[test]
fn damage_and_other_archives_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _, path, _) = written(dir.path());
    let good = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| read(bytes, |_, _| Ok(())).unwrap_err();
    assert!(matches!(
        refused(b""),
        FormError::Read(_) | FormError::Empty
    ));
    assert!(matches!(
        refused(&good[..good.len() - 1]),
        FormError::Read(_)
    ));
    // In the middle several bytes: some bits before a stored block mean nothing.
    for (at, count) in [
        (4, 1),
        (good.len() / 2, 8),
        (good.len() - 8, 1),
        (good.len() - 1, 1),
    ] {
        let mut bad = good.clone();
        bad[at..at + count]
            .iter_mut()
            .for_each(|byte| *byte ^= 0xff);
        let same_disk = at == 4; // The time in the header, which no checksum covers.
        assert_eq!(read(&*bad, |_, _| Ok(())).is_ok(), same_disk, "byte {at}");
    }
    let behind = [&good[..], b"x"].concat();
    assert!(matches!(refused(&behind), FormError::Behind));
    let mut builder = tar::Builder::new(Vec::new());
    for name in ["a", "b"] {
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, name, &b"1"[..]).unwrap();
    }
    let plain = builder.into_inner().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&plain).unwrap();
    let two = encoder.finish().unwrap();
    assert!(matches!(refused(&two), FormError::Second(name) if name == "b"));
}

#[test]
fn disk_that_became_shorter_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, raw, written) = disk::tests::write(dir.path());
    let raw = File::options().read(true).write(true).open(raw).unwrap();
    raw.set_len(40 << 20).unwrap();
    let out = tempfile::tempfile().unwrap();
    let refused = write(
        Readable::whole(&raw),
        &layout,
        &written.extents,
        EPOCH,
        &out,
    )
    .unwrap_err();
    assert!(matches!(refused, GcpTarError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof));
}
