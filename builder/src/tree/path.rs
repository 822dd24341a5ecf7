//! Paths inside an image: relative, without `.` or `..`, sorted bytewise.
//!
//! Bytes, not text: a Debian package may ship a name that is not UTF-8. A path never has an
//! empty component, so the root directory itself has no `TreePath`.

use std::fmt;

/// Longest accepted path in bytes; Linux refuses longer ones (`PATH_MAX` less its terminator).
pub(crate) const MAX_PATH: usize = 4095;
/// Longest accepted component in bytes (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// A validated path relative to the image's root, for example `usr/bin/python3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TreePath(Box<[u8]>);

/// Why bytes are not a path inside an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// Nothing is left after `./` and trailing slashes are taken off.
    #[error("path is empty")]
    Empty,
    /// The path starts with `/` where a relative one is wanted.
    #[error("path `{0}` is absolute; wanted one relative to the root")]
    Absolute(String),
    /// A component is `..`, which could leave the root.
    #[error("path `{0}` has a `..` component")]
    Parent(String),
    /// A component is empty or `.`.
    #[error("path `{0}` has an empty or `.` component")]
    Component(String),
    /// A byte that no path may hold.
    #[error("path `{0}` has a NUL byte")]
    Nul(String),
    /// Longer than Linux accepts.
    #[error("path `{path}` or a component of it is too long: {length} bytes, at most {limit}")]
    TooLong {
        /// The path, shortened.
        path: String,
        /// Bytes found.
        length: usize,
        /// Bytes accepted.
        limit: usize,
    },
}

impl TreePath {
    /// Checks a relative path such as `usr/bin/env`; nothing is normalised.
    pub(crate) fn new(bytes: &[u8]) -> Result<TreePath, PathError> {
        let shown = || show(bytes);
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute(shown()));
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul(shown()));
        }
        check_length(bytes, bytes.len(), MAX_PATH)?;
        for component in bytes.split(|&b| b == b'/') {
            match component {
                b".." => return Err(PathError::Parent(shown())),
                b"" | b"." => return Err(PathError::Component(shown())),
                _ => check_length(bytes, component.len(), MAX_NAME)?,
            }
        }
        Ok(TreePath(bytes.into()))
    }

    /// Checks a member name of a Debian archive: one leading `./` and one trailing `/` are
    /// taken off; `None` is the root directory itself (`.`, `./`).
    pub(crate) fn from_archive(name: &[u8]) -> Result<Option<TreePath>, PathError> {
        let name = name.strip_prefix(b"./").unwrap_or(name);
        let name = name.strip_suffix(b"/").unwrap_or(name);
        if name.is_empty() || name == b"." {
            return Ok(None);
        }
        TreePath::new(name).map(Some)
    }

    /// Checks an absolute path as recipes write them (`/opt/demo/server.py`).
    pub(crate) fn from_absolute(path: &str) -> Result<TreePath, PathError> {
        let relative = path.strip_prefix('/').ok_or_else(|| {
            PathError::Component(format!("{path} (wanted one that starts with `/`)"))
        })?;
        TreePath::new(relative.strip_suffix('/').unwrap_or(relative).as_bytes())
    }

    /// The path's bytes, without a leading slash.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path of the directory that holds this entry; `None` when that is the root.
    pub(crate) fn parent(&self) -> Option<TreePath> {
        let end = self.0.iter().rposition(|&b| b == b'/')?;
        self.0.get(..end).map(|p| TreePath(p.into()))
    }

    /// The last component.
    pub(crate) fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or(&self.0)
    }

    /// The components from the root downwards; never empty.
    pub(crate) fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// This path with `name` (one or more components) below it.
    pub(crate) fn join(&self, name: &[u8]) -> Result<TreePath, PathError> {
        let mut bytes = self.0.to_vec();
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        TreePath::new(&bytes)
    }

    /// Whether this path lies below `directory` (not equal to it).
    pub(crate) fn is_below(&self, directory: &TreePath) -> bool {
        self.0
            .strip_prefix(directory.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// The absolute form as text, for people and JSON; bytes that are not UTF-8 are `\xNN`.
    pub(crate) fn absolute(&self) -> String {
        format!("/{self}")
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

fn check_length(path: &[u8], length: usize, limit: usize) -> Result<(), PathError> {
    if length <= limit {
        return Ok(());
    }
    let path = show(path.get(..80).unwrap_or(path));
    Err(PathError::TooLong {
        path,
        length,
        limit,
    })
}

/// Text for people: UTF-8 kept, control characters and other bytes escaped.
pub(crate) fn show(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_refuses_what_could_leave_the_root() {
        assert_eq!(TreePath::new(b""), Err(PathError::Empty));
        assert_eq!(
            TreePath::new(b"/etc"),
            Err(PathError::Absolute("/etc".into()))
        );
        assert_eq!(
            TreePath::new(b"a/../b"),
            Err(PathError::Parent("a/../b".into()))
        );
        assert_eq!(
            TreePath::new(b"a//b"),
            Err(PathError::Component("a//b".into()))
        );
        assert_eq!(
            TreePath::new(b"a/./b"),
            Err(PathError::Component("a/./b".into()))
        );
        assert_eq!(
            TreePath::new(b"a\0b"),
            Err(PathError::Nul("a\\u{0}b".into()))
        );
        let long = [b'x'; 256];
        assert!(matches!(
            TreePath::new(&long),
            Err(PathError::TooLong { length: 256, .. })
        ));
    }

    #[test]
    fn archive_name_loses_its_dot_and_slash() {
        let path = TreePath::from_archive(b"./usr/bin/").unwrap().unwrap();
        assert_eq!(path.as_bytes(), b"usr/bin");
        assert_eq!(path.parent().unwrap().as_bytes(), b"usr");
        assert_eq!(path.file_name(), b"bin");
        assert_eq!(TreePath::from_archive(b"./"), Ok(None));
        assert_eq!(TreePath::from_archive(b"."), Ok(None));
        assert!(TreePath::from_archive(b"././usr").is_err());
        assert!(TreePath::from_archive(b"./../usr").is_err());
    }

    #[test]
    fn path_below_compares_whole_components() {
        let dir = TreePath::new(b"usr/lib").unwrap();
        assert!(TreePath::new(b"usr/lib/x").unwrap().is_below(&dir));
        assert!(!TreePath::new(b"usr/lib64/x").unwrap().is_below(&dir));
        assert!(!dir.is_below(&dir));
    }

    #[test]
    fn path_shows_bytes_that_are_not_text() {
        assert_eq!(
            TreePath::new(b"a\xff\x1b").unwrap().to_string(),
            "a\\xff\\u{1b}"
        );
    }
}
