//! Finding every mistake of a recipe in one pass over the parsed file.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{Check, Key, Kind, RECIPE};
use crate::suggest::nearest;

/// One mistake and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Bytes of the file that it is about.
    pub(super) span: Range<usize>,
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) hint: Option<String>,
}

/// All mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(pub(super) Vec<Mistake>);

impl Mistakes {
    /// Adds one.
    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.0.push(Mistake {
            span,
            message: message.into(),
            hint,
        });
    }

    /// Checks the whole file against the schema.
    pub(super) fn check(&mut self, file: &Spanned<DeTable<'_>>) {
        self.table(file.get_ref(), 0..0, "", RECIPE);
    }

    /// Checks one table; `span` is where missing keys are reported, `place` its name with a dot at the end.
    fn table(&mut self, table: &DeTable<'_>, span: Range<usize>, place: &str, keys: &[Key]) {
        for (name, value) in table.iter() {
            let found: &str = name.get_ref();
            match keys.iter().find(|key| key.name == found) {
                Some(key) => self.value(value, &format!("{place}{found}"), &key.kind),
                None => {
                    let near = nearest(found, keys.iter().map(|key| key.name));
                    let known = || {
                        keys.iter()
                            .map(|key| format!("`{}`", key.name))
                            .collect::<Vec<_>>()
                            .join(", ")
                    };
                    let hint = near.map_or_else(
                        || format!("keys here: {}", known()),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.add(
                        name.span(),
                        format!("unknown key `{place}{found}`"),
                        Some(hint),
                    );
                }
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            if !table.iter().any(|(name, _)| name.get_ref() == key.name) {
                self.add(
                    span.clone(),
                    format!("key `{place}{}` is missing", key.name),
                    Some(example(key)),
                );
            }
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, place: &str, kind: &Kind) {
        let span = value.span();
        match (kind, value.get_ref()) {
            (Kind::Text(check), DeValue::String(text)) => self.text(text, span, place, *check),
            (Kind::Choice(words), DeValue::String(text)) => {
                self.choice(text, span, place, &words())
            }
            (Kind::Boolean, DeValue::Boolean(_)) => {}
            (Kind::Integer(least, most), DeValue::Integer(number)) => {
                let parsed = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
                if !parsed.is_ok_and(|number| (*least..=*most).contains(&number)) {
                    let wanted = if least == most {
                        format!("{least}")
                    } else {
                        format!("a number from {least} to {most}")
                    };
                    self.add(
                        span,
                        format!("`{place}` is {}, wanted {wanted}", number.as_str()),
                        None,
                    );
                }
            }
            (Kind::List(of, least), DeValue::Array(items)) => {
                if items.len() < *least {
                    self.add(
                        span,
                        format!("`{place}` is empty, wanted at least {least}"),
                        None,
                    );
                }
                for item in items.iter() {
                    self.value(item, place, of);
                }
            }
            (Kind::Table(keys), DeValue::Table(table)) => {
                self.table(table, span, &format!("{place}."), keys)
            }
            (Kind::Tables(keys), DeValue::Array(items))
                if items.iter().all(|item| item.get_ref().is_table()) =>
            {
                for item in items.iter() {
                    if let DeValue::Table(table) = item.get_ref() {
                        self.table(table, item.span(), &format!("{place}."), keys);
                    }
                }
            }
            (Kind::Map(check), DeValue::Table(table)) => self.map(table, place, *check),
            (kind, found) => {
                self.add(
                    span,
                    format!(
                        "`{place}` is {}, wanted {}",
                        article(found.type_str()),
                        describe(kind)
                    ),
                    None,
                );
            }
        }
    }

    fn text(&mut self, text: &str, span: Range<usize>, place: &str, check: Check) {
        if let Err(wanted) = check(text) {
            self.add(
                span,
                format!("`{place}` has `{}`: {wanted}", shown(text)),
                None,
            );
        }
    }

    fn choice(&mut self, text: &str, span: Range<usize>, place: &str, words: &[&str]) {
        if !words.contains(&text) {
            let known = words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let hint =
                nearest(text, words.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            self.add(
                span,
                format!("`{place}` has `{}`, wanted one of {known}", shown(text)),
                hint,
            );
        }
    }

    fn map(&mut self, table: &DeTable<'_>, place: &str, check: Check) {
        for (name, value) in table.iter() {
            self.text(name.get_ref(), name.span(), place, check);
            match value.get_ref() {
                DeValue::String(text) if !text.contains('\0') => {}
                found => {
                    let message = format!(
                        "`{place}.{}` is {}, wanted a text without NUL",
                        name.get_ref(),
                        article(found.type_str())
                    );
                    self.add(value.span(), message, None);
                }
            }
        }
    }
}

/// A value of a table by name.
pub(super) fn get<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    table
        .iter()
        .find(|(key, _)| key.get_ref() == name)
        .map(|(_, value)| value)
}

/// The tables of a `[[name]]` list, with their spans.
pub(super) fn tables<'a, 'i>(
    table: &'a DeTable<'i>,
    name: &str,
) -> Vec<(&'a DeTable<'i>, Range<usize>)> {
    let items = get(table, name).and_then(|value| value.get_ref().as_array());
    let table = |item: &'a Spanned<DeValue<'i>>| Some((item.get_ref().as_table()?, item.span()));
    items
        .into_iter()
        .flat_map(|items| items.iter())
        .filter_map(table)
        .collect()
}

/// Values that occur twice: the later one's span and text.
pub(super) fn repeated<'a>(
    values: impl Iterator<Item = (String, &'a Range<usize>)>,
) -> Vec<(String, Range<usize>)> {
    let mut seen = BTreeMap::new();
    values
        .filter(|(text, _)| seen.insert(text.clone(), ()).is_some())
        .map(|(text, span)| (text, span.clone()))
        .collect()
}

fn describe(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_) | Kind::Choice(_) => "a string",
        Kind::Integer(..) => "a whole number",
        Kind::Boolean => "`true` or `false`",
        Kind::List(..) => "a list",
        Kind::Table(_) | Kind::Map(_) => "a table",
        Kind::Tables(_) => "a list of tables (`[[...]]`)",
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

fn example(key: &Key) -> String {
    match &key.kind {
        Kind::Table(_) | Kind::Map(_) => format!("add a table `{}`", key.name),
        Kind::Tables(_) => format!("add `[[{}]]`", key.name),
        Kind::List(..) => format!("add `{} = [...]`", key.name),
        Kind::Choice(words) => match words().first() {
            Some(word) => format!("add `{} = \"{word}\"`", key.name),
            None => format!("add `{} = \"...\"`", key.name),
        },
        Kind::Text(_) => format!("add `{} = \"...\"`", key.name),
        Kind::Boolean => format!("add `{} = true`", key.name),
        Kind::Integer(least, _) => format!("add `{} = {least}`", key.name),
    }
}

fn shown(text: &str) -> String {
    text.escape_debug().take(64).collect()
}
