//! Mistakes that no single value shows: references, doubled names, files that are not there.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Mistakes, get, repeated, tables};
use crate::suggest::nearest;

impl Mistakes {
    /// Checks how the parts of a recipe in `directory` fit together.
    pub(super) fn relate(&mut self, file: &DeTable<'_>, directory: &Path) {
        self.users(file);
        self.files(file, directory);
        self.keys(file, directory);
        self.lists(file);
        self.workload(file);
        self.network(file);
        self.gpu(file, directory);
        self.python(file, directory);
    }

    /// A GPU needs to be described, and a description needs a GPU.
    fn gpu(&mut self, file: &DeTable<'_>, directory: &Path) {
        let Some(guest) = table(file, "guest") else {
            return;
        };
        let wanted = get(guest, "gpu").and_then(text);
        let described = table(file, "gpu");
        match (wanted, described) {
            (Some(("h100", span)), None) => {
                let hint = "add a table `[gpu]` with `driver`, `rims-checked-at` and `[[gpu.rim]]`";
                self.add(span, "key `gpu` is missing", Some(hint.to_owned()));
            }
            (Some(("none", span)), Some(_)) => {
                let hint = "write `gpu = \"h100\"`, or take the table `[gpu]` out";
                let message = "`guest.gpu` is `none`, and there is a table `[gpu]`";
                self.add(span, message, Some(hint.to_owned()));
            }
            _ => {}
        }
        if let Some(("h100", span)) = get(guest, "gpu").and_then(text)
            && table(guest, "canary").is_none()
        {
            let hint = "add a table `[guest.canary]`: some software computes wrongly in confidential mode, and without an error";
            self.add(span, "key `guest.canary` is missing", Some(hint.to_owned()));
        }
        let rims = described.map_or_else(Vec::new, |gpu| tables(gpu, "rim"));
        if let Some(gpu) = described {
            self.time_of_rims(gpu, !rims.is_empty());
        }
        for (rim, _) in rims {
            if let Some((source, span)) = get(rim, "source").and_then(text) {
                self.source("gpu.rim.source", source, span, directory);
            }
        }
        if let Some(modules) = described.and_then(|gpu| table(gpu, "modules")) {
            self.gpu_modules(modules, directory);
        }
    }

    /// The time at which RIMs must hold belongs to RIMs.
    fn time_of_rims(&mut self, gpu: &DeTable<'_>, rims: bool) {
        let time = get(gpu, "rims-checked-at");
        match (rims, time) {
            (true, None) => {
                let span = get(gpu, "driver").map_or(0..0, Spanned::span);
                let hint = "write the time (RFC 3339) at which signatures and certificates of the RIMs must hold";
                let message = "key `gpu.rims-checked-at` is missing, and there is a `[[gpu.rim]]`";
                self.add(span, message, Some(hint.to_owned()));
            }
            (false, Some(time)) => {
                let hint = "name the RIMs in `[[gpu.rim]]`, or take the key out";
                let message = "`gpu.rims-checked-at` without a `[[gpu.rim]]`";
                self.add(time.span(), message, Some(hint.to_owned()));
            }
            _ => {}
        }
    }

    /// The sources of a driver are one of two things, and patches are files.
    fn gpu_modules(&mut self, modules: &DeTable<'_>, directory: &Path) {
        if let Some(source) = get(modules, "source")
            && let Some(keys) = source.get_ref().as_table()
        {
            let has = |names: [&str; 2]| names.map(|name| get(keys, name).is_some());
            let one_of_two = matches!(
                (has(["suite", "package"]), has(["url", "sha256"])),
                ([true, true], [false, false]) | ([false, false], [true, true])
            );
            if !one_of_two {
                let hint = "write `{ suite = \"...\", package = \"...\" }`, or `{ url = \"...\", sha256 = \"...\" }`";
                let message = "`gpu.modules.source` is neither a package of a suite nor an archive";
                self.add(source.span(), message, Some(hint.to_owned()));
            }
        }
        let patches = get(modules, "patches").and_then(|patches| patches.get_ref().as_array());
        let patches = patches.into_iter().flat_map(|patches| patches.iter());
        for (patch, span) in patches.filter_map(text) {
            let places = super::patch_places(patch, directory);
            if super::values::host_path(patch).is_ok() && !places.iter().any(|path| path.is_file())
            {
                let [_, beside] = &places;
                let message = format!(
                    "`gpu.modules.patches`: there is neither `patches/{patch}` below the recipe nor `{}`",
                    beside.display()
                );
                self.add(span, message, None);
            }
        }
    }

    fn users(&mut self, file: &DeTable<'_>) {
        let users = tables(file, "user");
        for key in ["name", "uid"] {
            let values: Vec<_> = users
                .iter()
                .filter_map(|(user, _)| shown(get(user, key)?))
                .collect();
            for (value, span) in repeated(values.iter().map(|(text, span)| (text.clone(), span))) {
                self.add(span, format!("`user.{key}` {value} is used twice"), None);
            }
        }
    }

    fn files(&mut self, file: &DeTable<'_>, directory: &Path) {
        let entries = [tables(file, "file"), tables(file, "input")].concat();
        let paths: Vec<_> = entries
            .iter()
            .filter_map(|(entry, _)| shown(get(entry, "path")?))
            .collect();
        for (path, span) in repeated(paths.iter().map(|(text, span)| (text.clone(), span))) {
            self.add(span, format!("path {path} is given twice"), None);
        }
        for (entry, _) in tables(file, "file") {
            if let Some((source, span)) = get(entry, "source").and_then(text) {
                self.source("file.source", source, span, directory);
            }
        }
    }

    /// A file of the recipe must be a regular one below its directory.
    pub(super) fn source(&mut self, key: &str, source: &str, span: Range<usize>, directory: &Path) {
        if super::values::host_path(source).is_err() {
            return; // reported already
        }
        let path = directory.join(source);
        let real = path
            .canonicalize()
            .and_then(|path| Ok((path, directory.canonicalize()?)));
        match real {
            Err(error) => {
                self.add(
                    span,
                    format!("`{key}`: `{}`: {error}", path.display()),
                    None,
                );
            }
            Ok((path, directory)) if !path.starts_with(&directory) => {
                let message = format!("`{key}`: `{source}` leads out of the recipe's directory");
                self.add(
                    span,
                    message,
                    Some("copy the file into the recipe's directory".to_owned()),
                );
            }
            Ok((path, _)) if !path.is_file() => {
                self.add(
                    span,
                    format!("`{key}`: `{source}` is not a regular file"),
                    None,
                );
            }
            Ok(_) => {}
        }
    }

    fn keys(&mut self, file: &DeTable<'_>, directory: &Path) {
        let beside = directory.parent().unwrap_or(directory).join("keys");
        let keys = table(file, "base")
            .and_then(|base| get(base, "keys"))
            .and_then(|keys| keys.get_ref().as_array());
        for (name, span) in keys
            .into_iter()
            .flat_map(|keys| keys.iter())
            .filter_map(text)
        {
            let valid = super::values::host_path(name).is_ok();
            if valid && !directory.join("keys").join(name).is_file() && !beside.join(name).is_file()
            {
                let hint = "it holds the archive's OpenPGP keys in ASCII armour".to_owned();
                self.add(
                    span,
                    format!("`base.keys`: `{name}` is not in `{}`", beside.display()),
                    Some(hint),
                );
            }
        }
    }

    /// Lists in which nothing may stand twice, and packages that are both wanted and excluded.
    fn lists(&mut self, file: &DeTable<'_>) {
        let list = |place: &str| list(file, place);
        for place in [
            "platforms",
            "base.keys",
            "base.packages",
            "base.exclude",
            "kernel.modules",
            "kernel.cmdline",
            "gpu.modules.build",
        ] {
            let items = list(place);
            for (item, span) in repeated(items.iter().map(|(text, span)| (text.clone(), span))) {
                self.add(span, format!("`{place}` has {item} twice"), None);
            }
        }
        let packages = list("base.packages");
        for (name, span) in list("base.exclude") {
            if packages.iter().any(|(package, _)| *package == name) {
                self.add(
                    span,
                    format!("`base.exclude` has {name}, which `base.packages` wants"),
                    None,
                );
            }
        }
    }

    fn workload(&mut self, file: &DeTable<'_>) {
        let Some(workload) = table(file, "guest").and_then(|guest| table(guest, "workload")) else {
            return;
        };
        if let Some((user, span)) = get(workload, "user").and_then(text) {
            let users = tables(file, "user");
            let names: Vec<&str> = users
                .iter()
                .filter_map(|(user, _)| Some(text(get(user, "name")?)?.0))
                .collect();
            if !names.contains(&user) {
                let near = nearest(user, names.iter().copied())
                    .map(|near| format!("did you mean `{near}`?"));
                let hint =
                    near.unwrap_or_else(|| format!("add a `[[user]]` with `name = \"{user}\"`"));
                self.add(
                    span,
                    format!("`guest.workload.user`: the recipe has no user `{user}`"),
                    Some(hint),
                );
            }
        }
        let exec = get(workload, "exec").and_then(|exec| exec.get_ref().as_array());
        if let Some((program, span)) = exec.and_then(|exec| exec.iter().next()).and_then(text)
            && (super::values::absolute_path(program).is_err() || program == "/")
        {
            let hint = "nothing searches a path in the guest; give the whole path of the program";
            self.add(
                span,
                format!("`guest.workload.exec`: program `{program}` is not an absolute path"),
                Some(hint.to_owned()),
            );
        }
    }

    fn network(&mut self, file: &DeTable<'_>) {
        let network = table(file, "guest").and_then(|guest| get(guest, "network"));
        let Some(network) = network else { return };
        let Some(table) = network.get_ref().as_table() else {
            return;
        };
        let mode = get(table, "mode").and_then(text).map(|(mode, _)| mode);
        for key in ["address", "gateway"] {
            match (mode, get(table, key)) {
                (Some("static"), None) => {
                    self.add(
                        network.span(),
                        format!("key `guest.network.{key}` is missing: the mode is `static`"),
                        None,
                    );
                }
                (Some("dhcp"), Some(value)) => {
                    let hint = Some("use `mode = \"static\"`, or leave it out".to_owned());
                    self.add(
                        value.span(),
                        format!("`guest.network.{key}` means nothing with mode `dhcp`"),
                        hint,
                    );
                }
                _ => {}
            }
        }
    }
}

/// The texts of a list, as messages show them; `place` is `name` or `table.name`.
pub(super) fn list(file: &DeTable<'_>, place: &str) -> Vec<(String, Range<usize>)> {
    let (outer, name) = place
        .split_once('.')
        .map_or((Some(file), place), |(outer, name)| {
            (table(file, outer), name)
        });
    let items = outer
        .and_then(|outer| get(outer, name))
        .and_then(|value| value.get_ref().as_array());
    items
        .into_iter()
        .flat_map(|items| items.iter())
        .filter_map(shown)
        .collect()
}

/// A table of a table.
pub(super) fn table<'a, 'i>(outer: &'a DeTable<'i>, name: &str) -> Option<&'a DeTable<'i>> {
    get(outer, name)?.get_ref().as_table()
}

/// A value's text.
pub(super) fn text<'a>(value: &'a Spanned<DeValue<'_>>) -> Option<(&'a str, Range<usize>)> {
    Some((value.get_ref().as_str()?, value.span()))
}

/// A text or number as messages show it.
fn shown(value: &Spanned<DeValue<'_>>) -> Option<(String, Range<usize>)> {
    let text = match value.get_ref() {
        DeValue::String(text) => format!("`{text}`"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        _ => return None,
    };
    Some((text, value.span()))
}
