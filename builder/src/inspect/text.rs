//! Text files: JSON that a build writes, recipe, lock, command line, guest configuration.

use cloister_evidence::guest::{CommandLine, GuestConfiguration};
use cloister_measure::reference::ReferenceValues;
use serde_json::Value as Json;

use super::report::{Fields, Report, Value};

/// Any JSON file of a build, told apart by its keys.
pub(super) fn json(bytes: &[u8]) -> Option<Report> {
    let json: Json = serde_json::from_slice(bytes).ok()?;
    let object = json.as_object()?;
    let has = |key: &str| object.contains_key(key);
    if has("launch-digests") && has("registers") {
        return Some(reference(bytes));
    }
    if object.get("bomFormat").and_then(Json::as_str) == Some("CycloneDX") {
        return Some(sbom(&json));
    }
    let kind = if has("outputs") && has("schema-version") {
        "build manifest"
    } else if has("schema-version") && has("origins") && has("root") {
        return Some(provenance(&json));
    } else {
        return None;
    };
    Some(Report::new(kind, fields(&json)))
}

fn reference(bytes: &[u8]) -> Report {
    let kind = "reference values";
    match ReferenceValues::from_json(bytes) {
        Ok(_) => Report::new(
            kind,
            serde_json::from_slice(bytes)
                .map(|json| fields(&json))
                .unwrap_or_default(),
        ),
        Err(error) => Report::new(kind, Fields::new().with("damage", error.to_string())),
    }
}

fn sbom(json: &Json) -> Report {
    let text = |pointer: &str| {
        json.pointer(pointer)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let components = json
        .get("components")
        .and_then(Json::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let listed: Vec<Fields> = components
        .iter()
        .map(|component| {
            let text = |key: &str| {
                component
                    .get(key)
                    .and_then(Json::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            Fields::new()
                .with("name", text("name"))
                .with("version", text("version"))
        })
        .collect();
    let fields = Fields::new()
        .with("specification", text("/specVersion"))
        .with("component-count", listed.len())
        .with("components", listed);
    Report::new("software bill of materials (CycloneDX)", fields)
}

/// The index is long: counts by origin say more than every path.
fn provenance(json: &Json) -> Report {
    let summary = json.as_object().into_iter().flatten().fold(
        Fields::new(),
        |all, (name, value)| match value {
            Json::Object(inner) => all.with(&format!("{name}-count"), inner.len()),
            Json::Array(inner) => all.with(&format!("{name}-count"), inner.len()),
            scalar => all.with(name, to_value(scalar)),
        },
    );
    Report::new("provenance index", summary)
}

fn fields(json: &Json) -> Fields {
    let entries = json.as_object().into_iter().flatten();
    entries.fold(Fields::new(), |all, (name, value)| {
        all.with(name, to_value(value))
    })
}

fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => "none".into(),
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => number
            .as_u64()
            .map_or_else(|| number.to_string().into(), Value::Number),
        Json::String(text) => text.as_str().into(),
        Json::Array(values) => Value::List(values.iter().map(to_value).collect()),
        Json::Object(_) => fields(json).into(),
    }
}

/// A recipe or its lock, told apart by their keys.
pub(super) fn toml(bytes: &[u8]) -> Option<Report> {
    let table: toml::Table = toml::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    let is_lock = table.contains_key("recipe-sha256");
    let is_recipe = table.contains_key("schema-version") && table.contains_key("base");
    let is_platform =
        table.contains_key("schema-version") && table.contains_key("report-transport");
    if is_lock {
        return Some(Report::new("lock", lock(&table)));
    }
    let json = serde_json::to_value(&table).ok()?;
    let kind = match (is_recipe, is_platform) {
        (true, _) => "recipe",
        (_, true) => "platform",
        _ => return None,
    };
    Some(Report::new(kind, fields(&json)))
}

fn lock(table: &toml::Table) -> Fields {
    let text = |value: Option<&toml::Value>| match value {
        Some(toml::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let list = |key: &str| {
        table
            .get(key)
            .and_then(toml::Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let named = |key: &str| -> Vec<Fields> {
        let one = |entry: &toml::Value| {
            Fields::new()
                .with(
                    "name",
                    text(
                        entry
                            .get("name")
                            .or_else(|| entry.get("suite"))
                            .or_else(|| entry.get("url")),
                    ),
                )
                .with_some(
                    "version",
                    entry.get("version").map(|value| text(Some(value))),
                )
                .with("sha256", text(entry.get("sha256")))
        };
        list(key).iter().map(one).collect()
    };
    let scalars = ["schema-version", "recipe", "recipe-sha256", "epoch"];
    let fields = scalars.iter().fold(Fields::new(), |all, key| {
        all.with(key, text(table.get(*key)))
    });
    ["release", "package", "wheel", "url", "file", "input"]
        .iter()
        .fold(fields, |all, key| {
            let entries = named(key);
            if entries.is_empty() {
                all
            } else {
                all.with(key, entries)
            }
        })
}

/// The kernel command line of an image.
pub(super) fn cmdline(bytes: &[u8]) -> Option<Report> {
    let text = std::str::from_utf8(bytes).ok()?;
    let line = CommandLine::parse(text.trim_end_matches(['\n', '\0'])).ok()?;
    let fields = Fields::new()
        .with("verity-root", hex::encode(line.verity_root))
        .with("kernel-words", line.kernel);
    Some(Report::new("kernel command line", fields))
}

/// The measured configuration of the guest.
pub(super) fn guest_configuration(bytes: &[u8]) -> Option<Report> {
    if !bytes.starts_with(b"cloister-guest ") {
        return None;
    }
    let kind = "guest configuration";
    Some(match GuestConfiguration::parse(bytes) {
        Ok(_) => {
            let lines: Vec<&str> = std::str::from_utf8(bytes)
                .unwrap_or_default()
                .lines()
                .collect();
            Report::new(
                kind,
                Fields::new()
                    .with("sha256", super::image::sha256(bytes))
                    .with("lines", lines),
            )
        }
        Err(error) => Report::new(kind, Fields::new().with("damage", error.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cmdline_and_json_kinds_are_told_apart() {
        let line = format!("console=ttyS0 cloister.verity={}", "ab".repeat(32));
        assert_eq!(
            cmdline(line.as_bytes()).unwrap().kind,
            "kernel command line"
        );
        assert!(cmdline(b"root=/dev/sda1").is_none());
        assert_eq!(
            json(br#"{"schema-version":1,"outputs":{}}"#).unwrap().kind,
            "build manifest"
        );
        let index = br#"{"schema-version":1,"origins":{},"root":{"/a":{}},"kernel":{}}"#;
        assert_eq!(
            json(index).unwrap().fields.get("root-count"),
            Some(&Value::Number(1))
        );
        assert!(json(br#"{"a":1}"#).is_none());
        let damaged = json(br#"{"launch-digests":[],"registers":{}}"#).unwrap();
        assert!(damaged.fields.get("damage").is_some());
        let lock =
            toml(b"schema-version = 1\nrecipe = \"demo\"\nrecipe-sha256 = \"ab\"\nepoch = 7\n")
                .unwrap();
        assert_eq!(
            (lock.kind, lock.fields.get("epoch")),
            ("lock", Some(&Value::Text("7".to_owned())))
        );
    }
}
