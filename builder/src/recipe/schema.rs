//! The recipe's schema as data: every key, whether it must be there, and what it may hold.
//!
//! `docs/recipe-reference.md` says the same in words; a test keeps the two together.

use super::values::{
    absolute_path, anything, cidr, component, debian_name, digest, driver_version, host_path,
    instant, interpreter, ipv4, json, kernel_word, mode, module, package_path, pattern, plain_path,
    project, python_version, recipe_name, requirement, root_compression, socket_name, some_text,
    suite, url, user_name, variable_name, wheel_pin,
};
use crate::platform::Platform;

/// One key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// Name as it stands in the file.
    pub(super) name: &'static str,
    /// Whether a recipe without it is refused.
    pub(super) required: bool,
    /// What it holds.
    pub(super) kind: Kind,
}

/// A check of one text: an error says what was wanted.
pub(super) type Check = fn(&str) -> Result<(), String>;

/// What a key holds.
#[derive(Debug)]
pub(super) enum Kind {
    /// A text that passes a check.
    Text(Check),
    /// One of a few words.
    Choice(fn() -> Vec<&'static str>),
    /// A whole number within bounds.
    Integer(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// A list of at least so many things.
    List(&'static Kind, usize),
    /// A table.
    Table(&'static [Key]),
    /// A list of tables.
    Tables(&'static [Key]),
    /// A table from names that pass a check to any text.
    Map(Check),
}

const fn must(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        required: true,
        kind,
    }
}

const fn may(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        required: false,
        kind,
    }
}

/// Largest user or group ID a recipe may give: those from 65533 on have meanings of their own.
const LARGEST_ID: i64 = 65_532;

/// The whole file.
pub(super) const RECIPE: &[Key] = &[
    must("schema-version", Kind::Integer(1, 1)),
    must("name", Kind::Text(recipe_name)),
    may("description", Kind::Text(anything)),
    must("platforms", Kind::List(&Kind::Choice(Platform::names), 1)),
    must("base", Kind::Table(BASE)),
    may("python", Kind::Table(PYTHON)),
    must("kernel", Kind::Table(KERNEL)),
    must("tools", Kind::Table(TOOLS)),
    may("root", Kind::Table(ROOT)),
    may("user", Kind::Tables(USER)),
    may("file", Kind::Tables(FILE)),
    may("input", Kind::Tables(INPUT)),
    may("model", Kind::Tables(MODEL)),
    must("guest", Kind::Table(GUEST)),
    may("gpu", Kind::Table(GPU)),
    may("disk", Kind::Table(DISK)),
];

const BASE: &[Key] = &[
    must("suite", Kind::Text(suite)),
    may("components", Kind::List(&Kind::Text(component), 1)),
    must("architecture", Kind::Choice(|| vec!["amd64"])),
    must("keys", Kind::List(&Kind::Text(host_path), 1)),
    must("packages", Kind::List(&Kind::Text(debian_name), 1)),
    may("exclude", Kind::List(&Kind::Text(debian_name), 0)),
];

const PYTHON: &[Key] = &[
    must("interpreter", Kind::Text(interpreter)),
    may("wheels", Kind::List(&Kind::Text(wheel_pin), 0)),
    may("lock", Kind::Text(host_path)),
    may("exclude", Kind::List(&Kind::Text(project), 0)),
    may("override", Kind::Tables(OVERRIDE)),
    may("alias", Kind::Tables(ALIAS)),
    must("site", Kind::Text(absolute_path)),
    may("bytecode", Kind::Boolean),
];

const OVERRIDE: &[Key] = &[
    must("requirement", Kind::Text(requirement)),
    must("version", Kind::Text(python_version)),
    must("reason", Kind::Text(some_text)),
];

const ALIAS: &[Key] = &[
    must("name", Kind::Text(project)),
    must("of", Kind::Text(project)),
];

const KERNEL: &[Key] = &[
    must("package", Kind::Text(debian_name)),
    must("modules", Kind::List(&Kind::Text(module), 0)),
    must("cmdline", Kind::List(&Kind::Text(kernel_word), 0)),
];

const TOOLS: &[Key] = &[
    must("erofs", Kind::Table(TOOL_PACKAGE)),
    must("stub", Kind::Table(TOOL_FILE)),
    may("firmware", Kind::Table(TOOL_FILE)),
    may("compiler", Kind::Table(TOOL_PACKAGE)),
];

const TOOL_PACKAGE: &[Key] = &[
    must("suite", Kind::Text(suite)),
    must("package", Kind::Text(debian_name)),
];

const TOOL_FILE: &[Key] = &[
    must("suite", Kind::Text(suite)),
    must("package", Kind::Text(debian_name)),
    must("file", Kind::Text(package_path)),
];

const ROOT: &[Key] = &[
    may("compression", Kind::Text(root_compression)),
    may("keep", Kind::List(&Kind::Text(pattern), 0)),
    may("drop", Kind::List(&Kind::Text(pattern), 0)),
    may("unresolved", Kind::Tables(UNRESOLVED)),
];

const UNRESOLVED: &[Key] = &[
    must("libraries", Kind::List(&Kind::Text(socket_name), 1)),
    must("reason", Kind::Text(some_text)),
];

const USER: &[Key] = &[
    must("name", Kind::Text(user_name)),
    must("uid", Kind::Integer(1, LARGEST_ID)),
    must("gid", Kind::Integer(1, LARGEST_ID)),
    must("home", Kind::Text(absolute_path)),
];

const FILE: &[Key] = &[
    must("path", Kind::Text(absolute_path)),
    must("source", Kind::Text(host_path)),
    may("mode", Kind::Text(mode)),
];

const INPUT: &[Key] = &[
    must("url", Kind::Text(url)),
    must("sha256", Kind::Text(digest)),
    must("path", Kind::Text(absolute_path)),
    may("mode", Kind::Text(mode)),
];

const MODEL: &[Key] = &[
    must("list", Kind::Text(host_path)),
    must("path", Kind::Text(absolute_path)),
];

const GUEST: &[Key] = &[
    must("listen", Kind::Integer(1, 65_535)),
    must("network", Kind::Table(NETWORK)),
    must("gpu", Kind::Choice(|| vec!["none", "h100"])),
    must("model", Kind::Choice(|| vec!["root"])),
    must("workload", Kind::Table(WORKLOAD)),
    may("canary", Kind::Table(CANARY)),
];

const CANARY: &[Key] = &[
    must("path", Kind::Text(plain_path)),
    must("body", Kind::Text(json)),
    must("answer", Kind::Text(some_text)),
    must("seconds", Kind::Integer(1, 86_400)),
];

const GPU: &[Key] = &[
    must("driver", Kind::Text(driver_version)),
    may("rims-checked-at", Kind::Text(instant)),
    may("rim", Kind::Tables(RIM)),
    may("modules", Kind::Table(GPU_MODULES)),
];

const GPU_MODULES: &[Key] = &[
    must("source", Kind::Table(DRIVER_SOURCE)),
    must("build", Kind::List(&Kind::Text(module), 1)),
    may("patches", Kind::List(&Kind::Text(host_path), 0)),
];

/// Which of them belong together is checked among relations.
const DRIVER_SOURCE: &[Key] = &[
    may("suite", Kind::Text(suite)),
    may("package", Kind::Text(debian_name)),
    may("url", Kind::Text(url)),
    may("sha256", Kind::Text(digest)),
];

const RIM: &[Key] = &[
    must("source", Kind::Text(host_path)),
    must("sha256", Kind::Text(digest)),
];

const NETWORK: &[Key] = &[
    must("mode", Kind::Choice(|| vec!["dhcp", "static"])),
    may("address", Kind::Text(cidr)),
    may("gateway", Kind::Text(ipv4)),
];

const WORKLOAD: &[Key] = &[
    must("exec", Kind::List(&Kind::Text(anything), 1)),
    must("user", Kind::Text(user_name)),
    may("directory", Kind::Text(absolute_path)),
    may("environment", Kind::Map(variable_name)),
    must("socket", Kind::Text(socket_name)),
    may("memory-max-mib", Kind::Integer(0, 1 << 30)),
    may("tmp-max-mib", Kind::Integer(0, 1 << 30)),
    may("shm-max-mib", Kind::Integer(0, 1 << 30)),
];

/// The smallest EFI system partition holds 65525 clusters of 512 bytes, the least that FAT32 has.
const DISK: &[Key] = &[
    must("esp-mib", Kind::Integer(34, 4096)),
    may("max-mib", Kind::Integer(0, 1 << 30)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keys: &[Key], out: &mut Vec<&'static str>) {
        for key in keys {
            out.push(key.name);
            if let Kind::Table(below) | Kind::Tables(below) = key.kind {
                names(below, out);
            }
        }
    }

    #[test]
    fn reference_names_every_key() {
        let text = include_str!("../../../docs/recipe-reference.md");
        let mut all = Vec::new();
        names(RECIPE, &mut all);
        for name in all {
            assert!(
                text.contains(&format!("`{name}`")),
                "docs/recipe-reference.md lacks `{name}`"
            );
        }
    }
}
