//! The control part of a `.deb`: its fields and its maintainer scripts.
//!
//! Spec: deb-control(5), Debian Policy 5.1 (fields), 6 (maintainer scripts). Scripts are kept as
//! bytes to be looked at; nothing runs them.

use std::collections::BTreeMap;
use std::io::Read;

use super::tarball::{self, Body, TarError};

/// Names of the scripts dpkg would run, in the order of an installation, removal last.
const SCRIPTS: [&str; 5] = ["config", "preinst", "postinst", "prerm", "postrm"];

/// Fields and scripts of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Control {
    fields: BTreeMap<String, String>,
    scripts: BTreeMap<&'static str, Vec<u8>>,
}

/// Why a control part is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// It is not a tar file that Debian would make.
    #[error("`control.tar` is refused")]
    Tar(#[from] TarError),
    /// The member `control` is missing.
    #[error("`control.tar` has no member `control`")]
    Missing,
    /// The member `control` is not one paragraph of fields.
    #[error("line {line} of `control` is neither a field nor a continuation")]
    Line {
        /// Line number, from 1.
        line: usize,
    },
    /// A field stands twice.
    #[error("`control` has field `{0}` twice")]
    Twice(String),
    /// A field that every package has is missing.
    #[error("`control` has no field `{0}`")]
    Field(&'static str),
}

impl Control {
    /// Reads a decompressed `control.tar`.
    pub(crate) fn read(plain: impl Read) -> Result<Control, ControlError> {
        let mut text = None;
        let mut scripts = BTreeMap::new();
        tarball::read::<ControlError>(plain, |member| {
            if let (Some(path), Body::File(bytes)) = (member.path, member.body) {
                if path.as_bytes() == b"control" {
                    text = Some(bytes);
                } else if let Some(name) = SCRIPTS.iter().find(|s| s.as_bytes() == path.as_bytes())
                {
                    scripts.insert(*name, bytes);
                }
            }
            Ok(())
        })?;
        let text = text.ok_or(ControlError::Missing)?;
        let fields = paragraph(&String::from_utf8_lossy(&text))?;
        for wanted in ["Package", "Version", "Architecture"] {
            if !fields.contains_key(&wanted.to_ascii_lowercase()) {
                return Err(ControlError::Field(wanted));
            }
        }
        Ok(Control { fields, scripts })
    }

    /// A field's value by its name in any case, continuation lines joined by newlines.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .get(&name.to_ascii_lowercase())
            .map(String::as_str)
    }

    /// The maintainer scripts by name, sorted.
    pub(crate) fn scripts(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.scripts
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice()))
    }

    /// Names of the packages whose files this one may overwrite, version conditions left out:
    /// the lock holds one version of each, and `Replaces` only ever settles who wins.
    pub(crate) fn replaces(&self) -> impl Iterator<Item = &str> {
        let list = self.field("Replaces").unwrap_or_default();
        list.split(',').filter_map(|relation| {
            let name = relation.trim().split([' ', '(', ':']).next()?;
            (!name.is_empty()).then_some(name)
        })
    }
}

/// Parses one deb822 paragraph; names are lower-cased.
fn paragraph(text: &str) -> Result<BTreeMap<String, String>, ControlError> {
    let mut fields = BTreeMap::new();
    let mut last: Option<String> = None;
    for (index, line) in text.trim_end().lines().enumerate() {
        let wrong = ControlError::Line { line: index + 1 };
        if line.starts_with([' ', '\t']) {
            let value: &mut String = last.as_ref().and_then(|l| fields.get_mut(l)).ok_or(wrong)?;
            value.push('\n');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(wrong)?;
        let name = name.to_ascii_lowercase();
        if fields
            .insert(name.clone(), value.trim().to_owned())
            .is_some()
        {
            return Err(ControlError::Twice(name));
        }
        last = Some(name);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraph_joins_continuations_and_refuses_doubles() {
        let fields =
            paragraph("Package: a\nDescription: x\n y\n .\nReplaces: b (<< 2), c:any\n").unwrap();
        assert_eq!(fields["description"], "x\ny\n.");
        let control = Control {
            fields,
            scripts: BTreeMap::new(),
        };
        assert_eq!(control.replaces().collect::<Vec<_>>(), ["b", "c"]);
        assert!(matches!(paragraph("A: 1\na: 2"), Err(ControlError::Twice(f)) if f == "a"));
        assert!(matches!(
            paragraph(" A: 1"),
            Err(ControlError::Line { line: 1 })
        ));
        assert!(matches!(
            paragraph("A: 1\n\nB: 2"),
            Err(ControlError::Line { line: 2 })
        ));
    }
}
