//! The text files of a `.dist-info` directory: `WHEEL`, `METADATA`, `entry_points.txt`.
//!
//! Spec: PyPA core metadata (e-mail headers, body ignored), binary distribution format, entry
//! points (INI with `=` only).

/// Header fields in their order; names are compared without case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

/// Why one of the files is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    /// Not UTF-8.
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    /// A line is neither a field nor a continuation.
    #[error("line {line} of {file} is not a field")]
    Line {
        /// Which file.
        file: &'static str,
        /// Line number, from 1.
        line: usize,
    },
    /// An entry point is not `name = module:attribute`.
    #[error("entry point `{0}` is not `name = module:attribute`")]
    EntryPoint(String),
}

impl Headers {
    /// Parses the fields up to the first empty line; `file` is for messages.
    pub(crate) fn parse(file: &'static str, bytes: &[u8]) -> Result<Headers, MetadataError> {
        let text = std::str::from_utf8(bytes).map_err(|_| MetadataError::Text(file))?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() {
                break;
            }
            let wrong = MetadataError::Line {
                file,
                line: index + 1,
            };
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or(wrong)?;
                value.push('\n');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(wrong)?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Headers(fields))
    }

    /// The first value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a field, in their order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

/// A command that an entry point asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// File name of the command.
    pub(crate) name: String,
    /// Dotted module.
    module: String,
    /// Dotted attribute of the module.
    attribute: String,
}

impl Command {
    /// The command's script for `interpreter`, an absolute path.
    pub(crate) fn script(&self, interpreter: &str) -> String {
        let Command {
            module, attribute, ..
        } = self;
        let import = attribute.split('.').next().unwrap_or(attribute);
        format!(
            "#!{interpreter}\nimport sys\nfrom {module} import {import}\nif __name__ == \"__main__\":\n    sys.exit({attribute}())\n"
        )
    }
}

/// The commands of `entry_points.txt` (`console_scripts` and `gui_scripts`), in its order.
pub(crate) fn commands(bytes: &[u8]) -> Result<Vec<Command>, MetadataError> {
    let text = std::str::from_utf8(bytes).map_err(|_| MetadataError::Text("entry_points.txt"))?;
    let mut wanted = false;
    let mut commands = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            wanted = matches!(section.trim(), "console_scripts" | "gui_scripts");
        } else if wanted {
            commands.push(command(line).ok_or_else(|| MetadataError::EntryPoint(line.to_owned()))?);
        }
    }
    Ok(commands)
}

fn command(line: &str) -> Option<Command> {
    let (name, target) = line.split_once('=')?;
    let target = target.split('[').next()?.trim();
    let (module, attribute) = target.split_once(':')?;
    let (name, module, attribute) = (name.trim(), module.trim(), attribute.trim());
    let file_name = !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (file_name && is_dotted(module) && is_dotted(attribute)).then(|| Command {
        name: name.to_owned(),
        module: module.to_owned(),
        attribute: attribute.to_owned(),
    })
}

/// Whether text is dotted ASCII identifiers, so that it can stand in a script.
fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// A project name as comparisons want it: lower case, runs of `-`, `_`, `.` as one `-`.
pub(crate) fn normalised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.extend(c.to_lowercase()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stop_at_the_body() {
        let headers = Headers::parse(
            "METADATA",
            b"Name: a\nTag: x\ntag: y\nDescription: 1\n  2\n\nNot: read\n",
        )
        .unwrap();
        assert_eq!(headers.get("name"), Some("a"));
        assert_eq!(headers.all("Tag").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(headers.get("description"), Some("1\n2"));
        assert_eq!(headers.get("not"), None);
        assert!(matches!(
            Headers::parse("WHEEL", b"nonsense"),
            Err(MetadataError::Line { line: 1, .. })
        ));
    }

    #[test]
    fn commands_become_scripts() {
        let found =
            commands(b"[other]\nx = y\n[console_scripts]\nrun = a.b:c.d [extra]\n").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].script("/usr/bin/python3"),
            "#!/usr/bin/python3\nimport sys\nfrom a.b import c\nif __name__ == \"__main__\":\n    sys.exit(c.d())\n"
        );
    }

    #[test]
    fn commands_refuse_what_is_not_a_name() {
        for wrong in [
            "x = a",
            "../x = a:b",
            "x = a:b()",
            "x = a; import os:b",
            ".x = a:b",
            "x = a:",
        ] {
            let text = format!("[console_scripts]\n{wrong}\n");
            assert!(commands(text.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_normalised() {
        assert_eq!(normalised("Foo__bar.-Baz"), "foo-bar-baz");
    }
}
