//! What single values of a recipe may be. Each check says what was wanted; the caller adds what was found.

use cloister_evidence::guest::is_kernel_word;

use crate::digest::Digest;
use crate::erofs::Compression;
use crate::tree::TreePath;
use crate::tree::pattern::Pattern;
use crate::wheel::{Requirement, is_version};

type Checked = Result<(), String>;

fn want(condition: bool, wanted: &str) -> Checked {
    if condition {
        Ok(())
    } else {
        Err(format!("wanted {wanted}"))
    }
}

/// Any text without a NUL, which no program could be given.
pub(super) fn anything(text: &str) -> Checked {
    want(!text.contains('\0'), "a text without NUL")
}

pub(super) fn recipe_name(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    want(
        !text.is_empty() && text.len() <= 64 && text.bytes().all(plain),
        "1 to 64 lower-case letters, digits and `-`",
    )
}

pub(super) fn suite(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    want(
        starts_with_letter(text) && text.bytes().all(plain),
        "a suite, for example `trixie`",
    )
}

pub(super) fn component(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
    want(
        starts_with_letter(text) && text.bytes().all(plain),
        "a component, for example `main`",
    )
}

/// Debian Policy 5.6.1.
pub(super) fn debian_name(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    want(
        first && text.len() >= 2 && text.bytes().all(plain),
        "the name of a Debian package, without a version",
    )
}

pub(super) fn wheel_pin(text: &str) -> Checked {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-+!".contains(&b))
    };
    let pinned = text
        .split_once("==")
        .is_some_and(|(name, version)| plain(name) && plain(version));
    want(pinned, "`name==version`, exactly one version")
}

/// PyPA core metadata: the name of a project.
pub(super) fn project(text: &str) -> Checked {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    want(
        edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(plain),
        "the name of a Python project, without a version",
    )
}

/// A requirement with version clauses and nothing else.
pub(super) fn requirement(text: &str) -> Checked {
    let plain = !text.contains([';', '@', '['])
        && Requirement::parse(text).is_some_and(|found| found.is_plain());
    want(
        plain,
        "a requirement as a wheel states it, for example `torch==2.13.0+cpu`, without extras and marker",
    )
}

pub(super) fn python_version(text: &str) -> Checked {
    want(is_version(text), "a version, for example `2.13.0`")
}

pub(super) fn interpreter(text: &str) -> Checked {
    let version = text.strip_prefix("python3");
    let minor = |rest: &str| {
        rest.strip_prefix('.')
            .is_some_and(|minor| minor.parse::<u8>().is_ok())
    };
    want(
        version.is_some_and(|rest| rest.is_empty() || minor(rest)),
        "`python3` or `python3.N`",
    )
}

pub(super) fn module(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    want(
        !text.is_empty() && text.bytes().all(plain),
        "the name of a kernel module, without a path or `.ko`",
    )
}

pub(super) fn kernel_word(text: &str) -> Checked {
    let own = text.starts_with("initrd=");
    want(
        is_kernel_word(text) && !own,
        "`console=`, `loglevel=`, `panic=` or `mitigations=` with a plain value, or `quiet`: the guest refuses other words",
    )
}

pub(super) fn absolute_path(text: &str) -> Checked {
    want(
        text == "/" || TreePath::from_absolute(text).is_ok(),
        "an absolute path without `.`, `..` and empty parts",
    )
}

/// A relative path without `..`: it stays below the directory it is looked up in.
pub(super) fn host_path(text: &str) -> Checked {
    want(
        TreePath::new(text.as_bytes()).is_ok(),
        "a relative path without `.`, `..` and empty parts",
    )
}

pub(super) fn package_path(text: &str) -> Checked {
    want(
        TreePath::new(text.as_bytes()).is_ok(),
        "a path inside the package, without a leading `/`",
    )
}

pub(super) fn pattern(text: &str) -> Checked {
    Pattern::new(text)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

pub(super) fn root_compression(text: &str) -> Checked {
    text.parse::<Compression>()
        .map(|_| ())
        .map_err(|error| error.to_string())
}

pub(super) fn mode(text: &str) -> Checked {
    let octal = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    want(
        octal && (3..=4).contains(&text.len()),
        "three or four octal digits, for example `0644`",
    )
}

pub(super) fn user_name(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    want(
        first && text.len() <= 32 && text.bytes().all(plain),
        "1 to 32 lower-case letters, digits, `_` and `-`",
    )
}

pub(super) fn url(text: &str) -> Checked {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    want(
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace)),
        "an `https://` or `http://` address",
    )
}

pub(super) fn digest(text: &str) -> Checked {
    want(
        text.parse::<Digest>().is_ok(),
        "64 lower-case hexadecimal digits",
    )
}

pub(super) fn ipv4(text: &str) -> Checked {
    want(
        text.parse::<std::net::Ipv4Addr>().is_ok(),
        "an IPv4 address, for example `10.0.2.2`",
    )
}

pub(super) fn cidr(text: &str) -> Checked {
    let parsed = text.split_once('/').is_some_and(|(address, prefix)| {
        ipv4(address).is_ok() && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= 32)
    });
    want(
        parsed,
        "an IPv4 address and prefix length, for example `10.0.2.15/24`",
    )
}

pub(super) fn variable_name(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = text.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    want(
        first && text.bytes().all(plain),
        "the name of an environment variable",
    )
}

pub(super) fn socket_name(text: &str) -> Checked {
    let plain = !text.is_empty()
        && text.len() <= 64
        && !text.contains(['/', '\0'])
        && !text.starts_with('.');
    want(
        plain,
        "a file name of at most 64 bytes, without `/` and not starting with `.`",
    )
}

/// As NVIDIA counts drivers.
pub(super) fn driver_version(text: &str) -> Checked {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = text.split('.').count();
    want(
        (2..=3).contains(&parts) && text.split('.').all(number),
        "the version of a driver, for example `580.159.03`",
    )
}

/// RFC 3339.
pub(super) fn instant(text: &str) -> Checked {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    want(
        parsed.is_ok_and(|time| time.as_second() >= 0),
        "a time as in `2026-11-22T00:00:00Z`",
    )
}

pub(super) fn json(text: &str) -> Checked {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    want(parsed.is_ok(), "JSON")
}

/// What a request line can hold without being quoted.
pub(super) fn plain_path(text: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    want(
        text.starts_with('/') && text.bytes().all(plain),
        "an absolute path of letters, digits and `/._-`",
    )
}

pub(super) fn some_text(text: &str) -> Checked {
    want(
        !text.is_empty() && !text.contains('\0'),
        "a text that is not empty",
    )
}

fn starts_with_letter(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A form, texts that have it and texts that have not.
    type Form = (
        super::super::schema::Check,
        &'static [&'static str],
        &'static [&'static str],
    );

    const FORMS: &[Form] = &[
        (recipe_name, &["demo", "vllm-h100"], &["", "Demo", "a/b"]),
        (
            debian_name,
            &["libstdc++6", "python3.13-minimal"],
            &["x", "libc6=2", "Lib", "-a"],
        ),
        (
            wheel_pin,
            &["a==1", "a_b==1.0+cpu"],
            &["a", "a>=1", "a==", "a==1,b==2", "a===1"],
        ),
        (
            interpreter,
            &["python3", "python3.13"],
            &["python", "python3.", "/usr/bin/python3"],
        ),
        (
            project,
            &["torch", "opencv-python-headless", "a.b_c"],
            &["", "torch==1", "-a", "a b", "a-"],
        ),
        (
            requirement,
            &["torch==2.13.0+cpu", "a >=1, <2"],
            &["torch", "torch==", "a[x]==1", "a==1; extra == 'x'", "==1"],
        ),
        (
            python_version,
            &["2.13.0+cpu", "1!1.0rc1"],
            &["", "one", "==1"],
        ),
        (module, &["virtio_blk", "dm-verity"], &["", "a.ko", "a/b"]),
        (
            kernel_word,
            &["console=ttyS0", "quiet", "panic=-1"],
            &[
                "init=/bin/sh",
                "initrd=initrd",
                "cloister.verity=00",
                "console=",
            ],
        ),
        (
            absolute_path,
            &["/", "/opt/x"],
            &["opt", "/opt/../etc", "/opt//x", ""],
        ),
        (
            host_path,
            &["files/server.py"],
            &["/etc/passwd", "../x", "a/../../x", ""],
        ),
        (
            mode,
            &["644", "0644", "4755"],
            &["64", "0o644", "0888", "00644"],
        ),
        (user_name, &["workload", "_x"], &["", "Root", "1a"]),
        (
            url,
            &["https://a.example/x"],
            &["a.example", "ftp://a.example", "https://"],
        ),
        (ipv4, &["10.0.2.2"], &["10.0.2", "::1"]),
        (
            cidr,
            &["10.0.2.15/24"],
            &["10.0.2.15", "10.0.2.15/33", "10.0.2.15/24/1"],
        ),
        (variable_name, &["A", "_A1"], &["", "1A", "A-B"]),
        (
            driver_version,
            &["550.144.03", "580.95"],
            &["", "550", "v550.1.1", "550..03", "550.144.03.1"],
        ),
        (
            instant,
            &["2025-06-01T00:00:00Z", "2025-06-01T02:00:00+02:00"],
            &["", "2025-06-01", "1960-01-01T00:00:00Z"],
        ),
        (
            json,
            &["{}", r#"{"prompt":"x"}"#],
            &["", "{", "{} {}", "{'a':1}"],
        ),
        (
            plain_path,
            &["/v1/completions"],
            &["", "v1", "/a b", "/a?b", "/a\r\nb"],
        ),
        (some_text, &[" Paris"], &["", "a\0"]),
        (socket_name, &["http.sock"], &["", "a/b", ".hidden"]),
        (
            suite,
            &["trixie", "sid", "bookworm-backports"],
            &["", "Trixie", "a/b"],
        ),
    ];

    #[test]
    fn values_are_held_to_their_forms() {
        for (check, good, bad) in FORMS {
            good.iter()
                .for_each(|text| assert_eq!(check(text), Ok(()), "{text}"));
            bad.iter()
                .for_each(|text| assert!(check(text).is_err(), "{text}"));
        }
    }
}
