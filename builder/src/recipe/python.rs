//! Mistakes in `[python]` that no single value shows.

use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::check::{Mistakes, get, repeated, tables};
use super::relations::{list, table, text};
use crate::source::normalised;

/// A project's normalised name, and where it stands.
type Named = (String, Range<usize>);

impl Mistakes {
    /// Checks names against each other, and that the lock is there; what it holds is checked where it is imported.
    pub(super) fn python(&mut self, file: &DeTable<'_>, directory: &Path) {
        let Some(python) = table(file, "python") else {
            return;
        };
        let lock = get(python, "lock");
        if let Some((source, span)) = lock.and_then(text) {
            self.source("python.lock", source, span, directory);
        }
        if let (None, None, Some(site)) = (lock, get(python, "wheels"), get(python, "site")) {
            let hint = "add `wheels = [\"name==version\"]`, or `lock = \"pylock.toml\"`";
            let message = "`python` has neither `wheels` nor `lock`";
            self.add(site.span(), message, Some(hint.to_owned()));
        }
        let wheels = named(list(file, "python.wheels"));
        let excluded = named(list(file, "python.exclude"));
        for (place, names) in [("python.wheels", &wheels), ("python.exclude", &excluded)] {
            for (name, span) in repeated(names.iter().map(|(name, span)| (name.clone(), span))) {
                self.add(span, format!("`{place}` has `{name}` twice"), None);
            }
        }
        if let (None, Some((_, span))) = (lock, excluded.first()) {
            let hint = "take the package out of `python.wheels` instead";
            let message = "`python.exclude` means nothing without `python.lock`";
            self.add(span.clone(), message, Some(hint.to_owned()));
        }
        self.aliases(python, &wheels);
    }

    fn aliases(&mut self, python: &DeTable<'_>, wheels: &[Named]) {
        let names: Vec<Named> = tables(python, "alias")
            .iter()
            .filter_map(|(alias, _)| text(get(alias, "name")?))
            .map(|(name, span)| (normalised(name), span))
            .collect();
        for (name, span) in repeated(names.iter().map(|(name, span)| (name.clone(), span))) {
            let message = format!("`python.alias.name` `{name}` is used twice");
            self.add(span, message, None);
        }
        for (name, span) in names {
            if wheels.iter().any(|(wheel, _)| *wheel == name) {
                let message =
                    format!("`python.alias.name` is `{name}`, which `python.wheels` installs");
                let hint = "a distribution that is installed needs no second one of its name";
                self.add(span, message, Some(hint.to_owned()));
            }
        }
    }
}

/// Normalised names of pins or names as messages show them.
fn named(items: Vec<(String, Range<usize>)>) -> Vec<Named> {
    let name = |(pin, span): (String, Range<usize>)| {
        let name = pin.trim_matches('`').split("==").next();
        (normalised(name.unwrap_or_default()), span)
    };
    items.into_iter().map(name).collect()
}
