//! Debian packages and Python wheels: containers, tar, control fields, scripts, zip, metadata, marshalled code.
#![no_main]
// The builder is a program, so its modules are included; what a target does not call is unused here.
#![expect(
    dead_code,
    unused_imports,
    reason = "only the readers of the included modules are called"
)]

use std::fs::File;
use std::io::{Seek as _, Write as _};

use content::Content;
use libfuzzer_sys::fuzz_target;

#[path = "../../../builder/src/tree/content.rs"]
mod content;
#[path = "../../../builder/src/deb/mod.rs"]
mod deb;
#[path = "../../../builder/src/digest.rs"]
mod digest;
#[path = "../../../builder/src/tree/entry.rs"]
mod entry;
#[path = "../../../builder/src/pyc/marshal.rs"]
mod marshal;
#[path = "../../../builder/src/tree/path.rs"]
mod path;
#[path = "../../../builder/src/suggest.rs"]
mod suggest;
#[path = "../../../builder/src/wheel/mod.rs"]
mod wheel;

/// The place where the included modules look for digests.
mod store {
    pub(crate) use crate::digest::Digest;
}

/// The part of the builder's `cmd` that the included modules use.
mod cmd {
    pub(crate) trait Hinted: std::error::Error {
        fn hint(&self) -> Option<String>;
    }
}

/// The part of a recipe that the included modules use.
mod recipe {
    pub(crate) struct Alias {
        pub(crate) name: String,
        pub(crate) of: String,
    }
}

/// The part of the builder's `tree` that the included modules use.
mod tree {
    pub(crate) use crate::content::{Content, Packed};
    pub(crate) use crate::entry::{Entry, MODE_MASK, Node, Origin};
    pub(crate) use crate::path::{PathError, TreePath, show};
}

/// A file without a name that holds `bytes`: large members stay in it and are read again.
fn file(bytes: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("cloister-fuzz-{}", std::process::id()));
    let options = &mut File::options();
    let options = options.read(true).write(true).create(true).truncate(true);
    let mut file = options.open(&path).expect("a temporary file");
    std::fs::remove_file(&path).expect("a name to take away");
    file.write_all(bytes).expect("room for the input");
    file.rewind().expect("a file that can be read again");
    file
}

fuzz_target!(|input: &[u8]| {
    // The first byte chooses, so that each parser has its own corner of the corpus.
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    match choice % 4 {
        0 => {
            if let Ok(package) = deb::Deb::read(rest) {
                for member in &package.members {
                    assert!(
                        member
                            .path
                            .as_ref()
                            .is_none_or(|path| tree::TreePath::new(path.as_bytes()).is_ok())
                    );
                }
            }
        }
        1 => {
            let target = wheel::Target {
                interpreter: wheel::Interpreter {
                    minor: 13,
                    glibc: 41,
                },
                command: "/usr/bin/python3".to_owned(),
                site: tree::TreePath::new(b"usr/lib/python3/dist-packages").expect("a valid path"),
            };
            let sha256 = digest::Digest([0; 32]);
            let locked = wheel::Locked {
                name: "demo",
                version: "1.0",
                file: "demo-1.0-py3-none-any.whl",
                sha256,
            };
            if let Ok(installed) = wheel::install(file(rest), locked, &target) {
                assert!(
                    installed
                        .files
                        .iter()
                        .all(|(path, _)| path.as_bytes().starts_with(b"usr/"))
                );
                for (_, entry) in &installed.files {
                    let content = entry.content().expect("a wheel holds files alone");
                    let bytes = content.read().expect("the same bytes as before");
                    assert_eq!(digest::Digest::of(&bytes), content.sha256());
                }
            }
        }
        2 => {
            let _ = deb::scripts::inspect(rest);
        }
        _ => {
            if let Ok(once) = marshal::canonical(rest) {
                assert_eq!(
                    marshal::canonical(&once).as_deref(),
                    Ok(once.as_slice()),
                    "canonical twice is canonical once"
                );
            }
        }
    }
});
