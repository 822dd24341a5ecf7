//! What is known about a file: named fields in order, for people or as JSON.

use std::fmt::Write as _;

/// A named value of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text, also hexadecimal.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Values of one kind.
    List(Vec<Value>),
    /// Named values in order.
    Fields(Fields),
}

/// Named values in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, Value)>);

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Kind of file, for example `unified kernel image`.
    pub(crate) kind: &'static str,
    /// What it contains.
    pub(crate) fields: Fields,
}

impl Fields {
    /// No fields yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a field behind the others.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds the field if there is a value.
    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The value called `name`.
    #[cfg(test)]
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

impl Report {
    /// A report of a `kind` of file.
    pub(crate) fn new(kind: &'static str, fields: Fields) -> Self {
        Self { kind, fields }
    }

    /// As an object with `kind` and the fields.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let kind = ("kind".to_owned(), serde_json::Value::from(self.kind));
        serde_json::Value::Object([kind].into_iter().chain(object(&self.fields)).collect())
    }

    /// As indented lines.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.kind);
        lines(&self.fields, 1, &mut text);
        text
    }
}

fn object(fields: &Fields) -> impl Iterator<Item = (String, serde_json::Value)> {
    fields
        .0
        .iter()
        .map(|(name, value)| (name.clone(), json(value)))
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => text.clone().into(),
        Value::Number(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::List(values) => values.iter().map(json).collect(),
        Value::Fields(fields) => serde_json::Value::Object(object(fields).collect()),
    }
}

fn lines(fields: &Fields, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let width = fields
        .0
        .iter()
        .filter(|(_, value)| is_scalar(value))
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    for (name, value) in &fields.0 {
        match value {
            Value::Fields(inner) => {
                text.push_str(&format!("{indent}{name}:\n"));
                lines(inner, depth + 1, text);
            }
            Value::List(values) => {
                text.push_str(&format!("{indent}{name}:\n"));
                values.iter().for_each(|value| item(value, depth + 1, text));
            }
            scalar => text.push_str(&format!("{indent}{name:width$}  {}\n", show(scalar))),
        }
    }
}

fn item(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Fields(fields) if !fields.0.iter().all(|(_, value)| is_scalar(value)) => {
            text.push_str(&format!("{indent}-\n"));
            lines(fields, depth + 1, text);
        }
        Value::Fields(fields) => {
            let mut line = String::new();
            for (name, value) in &fields.0 {
                let _ = write!(
                    line,
                    "{}{name} {}",
                    if line.is_empty() { "" } else { "  " },
                    show(value)
                );
            }
            text.push_str(&format!("{indent}{line}\n"));
        }
        scalar => text.push_str(&format!("{indent}{}\n", show(scalar))),
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::List(_) | Value::Fields(_))
}

fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => text
            .escape_debug()
            .to_string()
            .replace("\\\"", "\"")
            .replace("\\'", "'"),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::List(values) => format!(
            "[{}]",
            values.iter().map(show).collect::<Vec<_>>().join(", ")
        ),
        Value::Fields(fields) => {
            let parts = fields
                .0
                .iter()
                .map(|(name, value)| format!("{name} {}", show(value)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Fields(fields)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let entry = Fields::new().with("path", "init").with("size", 7_u64);
        Report::new(
            "initrd",
            Fields::new()
                .with("sha256", "ab")
                .with("ok", true)
                .with("entries", vec![entry]),
        )
    }

    #[test]
    fn text_is_indented_and_escaped() {
        assert_eq!(
            report().to_text(),
            "initrd\n  sha256  ab\n  ok      yes\n  entries:\n    path init  size 7\n"
        );
        let hostile = Report::new("x", Fields::new().with("name", "a\u{1b}[2J\n\"q\""));
        assert_eq!(hostile.to_text(), "x\n  name  a\\u{1b}[2J\\n\"q\"\n");
    }

    #[test]
    fn json_holds_the_same() {
        let json = report().to_json().to_string();
        assert!(
            json.contains(r#""kind":"initrd""#)
                && json.contains(r#""entries":[{"path":"init","size":7}]"#),
            "{json}"
        );
    }
}
