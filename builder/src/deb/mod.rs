//! Debian binary packages: container, decompression, members, control fields.
//!
//! Spec: deb(5). Input is the whole `.deb` in memory, its SHA-256 checked by the store; the tar
//! inside is decompressed as a stream. Maintainer scripts are read, never run.

mod ar;
mod compression;
mod control;
pub(crate) mod scripts;
mod tarball;

pub(crate) use ar::ArError;
pub(crate) use compression::Compression;
pub(crate) use control::{Control, ControlError};
pub(crate) use tarball::{Body, Member, TarError};

/// An unpacked package: control data and members in archive order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deb {
    /// Control fields and scripts.
    pub(crate) control: Control,
    /// Checked members; hard links point at earlier ones.
    pub(crate) members: Vec<Member>,
}

/// Why bytes are refused as a Debian package.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DebError {
    /// The outer archive.
    #[error("not a Debian package")]
    Container(#[from] ArError),
    /// The control part.
    #[error("damaged Debian package")]
    Control(#[from] ControlError),
    /// The data part.
    #[error("`data.tar` is refused")]
    Data(#[from] TarError),
}

impl Deb {
    /// Unpacks a whole `.deb` into memory.
    pub(crate) fn read(bytes: &[u8]) -> Result<Deb, DebError> {
        let parts = ar::split(bytes)?;
        let control = parts.control;
        let plain = control
            .compression
            .reader(control.bytes)
            .map_err(TarError::Read)?;
        let control = Control::read(plain)?;
        let plain = parts
            .data
            .compression
            .reader(parts.data.bytes)
            .map_err(TarError::Read)?;
        let mut members = Vec::new();
        tarball::read::<DebError>(plain, |member| {
            members.push(member);
            Ok(())
        })?;
        Ok(Deb { control, members })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tree::TreePath;

    /// A tar file with the given raw names, for tests: `(name, type, link, body)`.
    pub(crate) fn tar(members: &[(&str, u8, &str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, kind, link, body) in members {
            let mut header = [0_u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            let mode = if *kind == b'5' {
                "0000755\0"
            } else {
                "0000644\0"
            };
            header[100..108].copy_from_slice(mode.as_bytes());
            header[108..116].copy_from_slice(b"0000000\0");
            header[116..124].copy_from_slice(b"0000000\0");
            header[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
            header[136..148].copy_from_slice(b"00000000000\0");
            header[148..156].copy_from_slice(b"        ");
            header[156] = *kind;
            header[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header[257..265].copy_from_slice(b"ustar  \0");
            let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            out.extend_from_slice(&header);
            out.extend_from_slice(body);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    /// A `.deb` named `name` with the given data members and `postinst`, for tests.
    pub(crate) fn deb(
        name: &str,
        extra: &str,
        postinst: &str,
        data: &[(&str, u8, &str, &[u8])],
    ) -> Vec<u8> {
        let control = format!("Package: {name}\nVersion: 1\nArchitecture: all\n{extra}");
        let mut members = vec![("./control", b'0', "", control.as_bytes())];
        if !postinst.is_empty() {
            members.push(("./postinst", b'0', "", postinst.as_bytes()));
        }
        let (control, data) = (tar(&members), tar(data));
        ar::tests::archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &control),
            ("data.tar", &data),
        ])
    }

    fn data_error(member: (&str, u8, &str, &[u8])) -> String {
        let bytes = deb("p", "", "", &[("./", b'5', "", b""), member]);
        match Deb::read(&bytes) {
            Err(DebError::Data(error)) => match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
            other => panic!("wanted a data error, found {other:?}"),
        }
    }

    #[test]
    fn deb_reads_members_and_control() {
        let bytes = deb(
            "p",
            "Replaces: q\n",
            "#!/bin/sh\n",
            &[
                ("./", b'5', "", b""),
                ("./usr/", b'5', "", b""),
                ("./usr/f", b'0', "", b"hello"),
                ("./usr/l", b'2', "f", b""),
                ("./usr/h", b'1', "./usr/f", b""),
            ],
        );
        let deb = Deb::read(&bytes).unwrap();
        assert_eq!(deb.control.field("package"), Some("p"));
        assert_eq!(deb.control.scripts().count(), 1);
        let bodies: Vec<_> = deb.members.iter().map(|m| m.body.clone()).collect();
        assert_eq!(bodies[2], Body::File(b"hello".to_vec()));
        assert_eq!(bodies[3], Body::Symlink(b"f".to_vec()));
        assert_eq!(bodies[4], Body::HardLink(TreePath::new(b"usr/f").unwrap()));
        assert_eq!(deb.members[1].mode, 0o755);
    }

    #[test]
    fn deb_refuses_paths_that_leave_the_root() {
        assert!(data_error(("../etc/passwd", b'0', "", b"")).contains("`..` component"));
        assert!(data_error(("./usr/../../x", b'0', "", b"")).contains("`..` component"));
        assert!(data_error(("/etc/passwd", b'0', "", b"")).contains("is absolute"));
        assert!(data_error(("./h", b'1', "../outside", b"")).contains("hard link `h`"));
        assert!(data_error(("./h", b'1', "/etc/shadow", b"")).contains("is absolute"));
        assert!(data_error(("./s", b'2', "", b"")).contains("path is empty"));
    }

    #[test]
    fn deb_refuses_devices_and_pipes() {
        assert!(data_error(("./dev/null", b'3', "", b"")).contains("character device"));
        assert!(data_error(("./dev/sda", b'4', "", b"")).contains("block device"));
        assert!(data_error(("./run/p", b'6', "", b"")).contains("named pipe"));
        assert!(data_error(("./", b'2', "x", b"")).contains("root that is not a directory"));
    }

    #[test]
    fn deb_rejects_every_truncation_of_a_compressed_package() {
        let data = zstd::encode_all(&tar(&[("./f", b'0', "", b"hello")])[..], 3).unwrap();
        let control = tar(&[(
            "./control",
            b'0',
            "",
            b"Package: p\nVersion: 1\nArchitecture: all\n",
        )]);
        let control = zstd::encode_all(&control[..], 3).unwrap();
        let whole = |control: &[u8], data: &[u8]| {
            ar::tests::archive(&[
                ("debian-binary", b"2.0\n"),
                ("control.tar.zst", control),
                ("data.tar.zst", data),
            ])
        };
        assert!(Deb::read(&whole(&control, &data)).is_ok());
        for end in 0..data.len() {
            assert!(
                Deb::read(&whole(&control, &data[..end])).is_err(),
                "data cut at {end}"
            );
        }
        for end in 0..control.len() {
            assert!(
                Deb::read(&whole(&control[..end], &data)).is_err(),
                "control cut at {end}"
            );
        }
    }

    #[test]
    fn deb_refuses_a_tar_without_its_end_or_with_more_behind_it() {
        let control = tar(&[(
            "./control",
            b'0',
            "",
            b"Package: p\nVersion: 1\nArchitecture: all\n",
        )]);
        let data = tar(&[("./f", b'0', "", b"hello")]);
        let read = |data: &[u8]| {
            Deb::read(&ar::tests::archive(&[
                ("debian-binary", b"2.0\n"),
                ("control.tar", &control),
                ("data.tar", data),
            ]))
        };
        assert!(matches!(
            read(&data[..data.len() - 1024]),
            Err(DebError::Data(TarError::NoEnd))
        ));
        assert!(matches!(
            read(&data[..data.len() - 512]),
            Err(DebError::Data(_))
        ));
        let mut more = data.clone();
        more.extend_from_slice(b"x");
        assert!(matches!(
            read(&more),
            Err(DebError::Data(TarError::Trailing))
        ));
        assert!(read(&data).is_ok());
    }
}
