//! Requirements files with hashes.
//!
//! Spec: pip's requirements file format: lines that end in `\` go on, ` #` begins a comment, `--hash=sha256:` follows a
//! requirement. Every package must be pinned by `==` and have a hash; no option is accepted.

use std::collections::BTreeSet;

use super::{ImportError, Imported, Package, Refusal, Refused, Source};
use crate::source::normalised;

/// Reads a whole file; every line that is refused is named.
pub(super) fn parse(file: &str, text: &str) -> Result<Imported, ImportError> {
    let mut packages = Vec::new();
    let mut refused = Vec::new();
    for (line, text) in logical_lines(text) {
        match package(line, &text) {
            Ok(package) => packages.push(package),
            Err(why) => refused.push(why),
        }
    }
    let file = file.to_owned();
    if !refused.is_empty() {
        return Err(ImportError::Refused { file, refused });
    }
    if packages.is_empty() {
        return Err(ImportError::Empty { file });
    }
    Ok(Imported {
        file,
        requires_python: None,
        environments: BTreeSet::new(),
        packages,
    })
}

/// Lines with what continues them, without comments and empty ones, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line.trim_end(), true),
            None => (line, false),
        };
        let (_, whole) = open.get_or_insert_with(|| (index + 1, String::new()));
        if !whole.is_empty() && !line.is_empty() {
            whole.push(' ');
        }
        whole.push_str(line);
        if !goes_on {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| {
        let before = line.get(..*at).unwrap_or_default();
        before.is_empty() || before.ends_with([' ', '\t'])
    };
    match line.match_indices('#').find(begins) {
        Some((at, _)) => line.get(..at).unwrap_or_default(),
        None => line,
    }
}

fn package(line: usize, text: &str) -> Result<Package, Refused> {
    let wrong = |package, why| Refused { package, line, why };
    if text.starts_with('-') {
        return Err(wrong(None, Refusal::Option(option_name(text))));
    }
    let (requirement, options) = match text.find(" --") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (pin, marker) = requirement.split_once(';').unwrap_or((requirement, ""));
    let (name, version) = pinned(pin)
        .ok_or_else(|| wrong(None, Refusal::NotPinned(requirement.trim().to_owned())))?;
    let known = || Some((name.clone(), version.clone()));
    let hashes = hashes(options).map_err(|why| wrong(known(), why))?;
    if hashes.is_empty() {
        return Err(wrong(known(), Refusal::NoHash));
    }
    Ok(Package {
        name,
        version,
        marker: marker.trim().to_owned(),
        requires_python: None,
        source: Source::Hashes(hashes),
        line,
    })
}

/// The word before a value: `--index-url` of `--index-url=x` and of `--index-url x`.
fn option_name(text: &str) -> String {
    let end = text.find(|c: char| c == '=' || c.is_whitespace());
    text.get(..end.unwrap_or(text.len()))
        .unwrap_or_default()
        .to_owned()
}

/// Name and version of `name==version` or `name[extra]==version`.
fn pinned(text: &str) -> Option<(String, String)> {
    let (name, version) = text.split_once("==")?;
    let (name, version) = (name.trim(), version.trim());
    let name = match name.split_once('[') {
        Some((name, extras)) if extras.ends_with(']') => name.trim_end(),
        Some(_) => return None,
        None => name,
    };
    let plain = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    (plain(name, b"._-") && plain(version, b"._-+!"))
        .then(|| (normalised(name), version.to_owned()))
}

/// The digests of `--hash=sha256:...` options. Other algorithms are passed over: they may stand beside.
fn hashes(options: &str) -> Result<BTreeSet<crate::digest::Digest>, Refusal> {
    let mut hashes = BTreeSet::new();
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some(("--hash", value)) => value,
            None if word == "--hash" => words.next().unwrap_or_default(),
            _ => return Err(Refusal::Option(option_name(word))),
        };
        match value.split_once(':') {
            Some(("sha256", digits)) => {
                let digest = digits
                    .parse()
                    .map_err(|_| Refusal::Hash(value.to_owned()))?;
                hashes.insert(digest);
            }
            Some((_, _)) => {}
            None => return Err(Refusal::Hash(value.to_owned())),
        }
    }
    Ok(hashes)
}
