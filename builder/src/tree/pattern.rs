//! Path patterns of a recipe's `keep` and `drop`.
//!
//! A pattern is an absolute path: `?` is one byte, `*` any bytes within a component, and a whole
//! component `**` any number of components. A pattern that matches a directory covers what lies
//! below it; `/a/**` covers what lies below `/a`, not `/a`. Everything else is literal.

use super::TreePath;

/// One parsed pattern with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`
    Any,
    /// One component, in which `*` and `?` are special.
    Name(Vec<u8>),
}

/// Why text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    /// It does not start with `/`.
    #[error("pattern `{0}` does not start with `/`")]
    Relative(String),
    /// `**` stands beside other characters.
    #[error("pattern `{0}` has `**` beside other characters; it must be a whole component")]
    Stars(String),
    /// A component is empty, `.` or `..`.
    #[error("pattern `{0}` has an empty, `.` or `..` component")]
    Component(String),
}

impl Pattern {
    /// Parses one pattern.
    pub(crate) fn new(text: &str) -> Result<Pattern, PatternError> {
        let relative = text
            .strip_prefix('/')
            .ok_or_else(|| PatternError::Relative(text.to_owned()))?;
        let relative = relative.strip_suffix('/').unwrap_or(relative);
        let mut parts = Vec::new();
        for component in relative.split('/') {
            parts.push(match component {
                "" | "." | ".." => return Err(PatternError::Component(text.to_owned())),
                "**" => Part::Any,
                name if name.contains("**") => return Err(PatternError::Stars(text.to_owned())),
                name => Part::Name(name.as_bytes().to_vec()),
            });
        }
        Ok(Pattern {
            text: text.to_owned(),
            parts,
        })
    }

    /// The pattern as the recipe has it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the pattern matches `path` itself or a directory above it.
    pub(crate) fn covers(&self, path: &TreePath) -> bool {
        let components: Vec<&[u8]> = path.components().collect();
        covers(&self.parts, &components)
    }
}

/// Matches components; true as soon as the parts are used up, since that names a directory above.
fn covers(parts: &[Part], path: &[&[u8]]) -> bool {
    match parts.split_first() {
        None => true,
        // A last `**` wants at least one component.
        Some((Part::Any, [])) => !path.is_empty(),
        Some((Part::Any, rest)) => {
            (0..=path.len()).any(|skip| path.get(skip..).is_some_and(|p| covers(rest, p)))
        }
        Some((Part::Name(glob), rest)) => match path.split_first() {
            Some((name, below)) => name_matches(glob, name) && covers(rest, below),
            None => false,
        },
    }
}

/// Matches one component with `*` and `?`, in time proportional to the product of the lengths.
fn name_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (glob, name);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (g.split_first(), n.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, n));
                g = after;
                continue;
            }
            (Some((b'?', after)), Some((_, rest))) => (g, n) = (after, rest),
            (Some((a, after)), Some((b, rest))) if a == b => (g, n) = (after, rest),
            (None, None) => return true,
            _ => match retry.and_then(|(after, from)| Some((after, from.split_first()?.1))) {
                Some((after, from)) => {
                    retry = Some((after, from));
                    (g, n) = (after, from);
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern)
            .unwrap()
            .covers(&TreePath::from_absolute(path).unwrap())
    }

    #[test]
    fn pattern_covers_what_it_says() {
        assert!(covers("/usr/share/doc/**", "/usr/share/doc/a/b"));
        assert!(!covers("/usr/share/doc/**", "/usr/share/doc"));
        assert!(covers("/usr/share/doc", "/usr/share/doc/a"));
        assert!(!covers("/usr/share/doc", "/usr/share/docs"));
        assert!(covers("/**/*.py", "/a.py"));
        assert!(covers("/**/*.py", "/usr/lib/x/a.py"));
        assert!(!covers("/**/*.py", "/usr/lib/x/a.pyc"));
        assert!(covers("/usr/**/test/**", "/usr/lib/python3/test/x"));
        assert!(!covers("/usr/*/x", "/usr/a/b/x"));
        assert!(covers("/usr/lib?", "/usr/lib6/x"));
        assert!(covers("/usr/bin/[", "/usr/bin/["));
        assert!(covers("/a*b*c", "/aXbXbc"));
        assert!(!covers("/a*b*c", "/aXbXbcd"));
    }

    #[test]
    fn pattern_refuses_what_it_could_not_mean() {
        assert_eq!(
            Pattern::new("usr"),
            Err(PatternError::Relative("usr".into()))
        );
        assert_eq!(
            Pattern::new("/**.py"),
            Err(PatternError::Stars("/**.py".into()))
        );
        assert_eq!(
            Pattern::new("/a//b"),
            Err(PatternError::Component("/a//b".into()))
        );
        assert_eq!(Pattern::new("/"), Err(PatternError::Component("/".into())));
    }
}
