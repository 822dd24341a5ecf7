//! Kernels made here, in both layouts.

use super::*;
use crate::tree::{Content, Entry, Origin, path};

/// A relocatable ELF file whose only section of interest is `.modinfo`.
fn module(info: &str) -> Vec<u8> {
    let info = info.replace('\n', "\0");
    let names = b"\0.modinfo\0.shstrtab\0";
    let (at, names_at) = (64, 64 + info.len());
    let headers_at = names_at + names.len();
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([1_u16.to_le_bytes(), 62_u16.to_le_bytes()].concat()); // ET_REL, x86-64
    elf.extend(1_u32.to_le_bytes());
    for word in [0_u64, 0, headers_at as u64] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 0, 0, 64, 3, 2] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(info.as_bytes());
    elf.extend(names);
    for (name, kind, offset, size) in [
        (0_u32, 0_u32, 0, 0),
        (1, 1, at, info.len()),
        (10, 3, names_at, names.len()),
    ] {
        elf.extend(name.to_le_bytes());
        elf.extend(kind.to_le_bytes());
        for word in [0, 0, offset as u64, size as u64, 0, 1, 0] {
            elf.extend(word.to_le_bytes());
        }
    }
    // sh_link and sh_info are 32 bits each: the zero word above covers both.
    elf
}

fn kernel(files: &[(&str, Vec<u8>)]) -> Tree {
    let mut tree = Tree::new();
    tree.insert(
        path("usr/lib/modules/6.1"),
        Entry::directory(0o755, Origin::Effect("test")),
    );
    for (name, body) in files {
        tree.insert(
            path(name),
            Entry::file(0o644, Content::new(body.clone()), Origin::Effect("test")),
        );
    }
    tree
}

fn names(tree: &Tree, wanted: &[&str]) -> Result<Vec<String>, ModuleError> {
    let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
    Ok(select(tree.clone(), &wanted, &[])?
        .0
        .modules
        .into_iter()
        .map(|m| m.name)
        .collect())
}

const DIR: &str = "usr/lib/modules/6.1";

fn sample() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("boot/vmlinuz-6.1", b"kernel".to_vec()),
        ("usr/lib/modules/6.1/kernel/dm-mod.ko", module("depends=\n")),
        (
            "usr/lib/modules/6.1/kernel/dm-bufio.ko",
            module("depends=dm-mod\n"),
        ),
        (
            "usr/lib/modules/6.1/kernel/dm-verity.ko",
            module("depends=dm-bufio,dm-mod,fixed\n"),
        ),
        (
            "usr/lib/modules/6.1/kernel/libcrc.ko",
            module("softdep=pre: crypto-sum built nothing\ndepends=\n"),
        ),
        (
            "usr/lib/modules/6.1/kernel/sum.ko",
            module("alias=crypto-sum\ndepends=\n"),
        ),
        (
            "usr/lib/modules/6.1/modules.builtin",
            b"kernel/fixed.ko\n".to_vec(),
        ),
        (
            "usr/lib/modules/6.1/modules.builtin.modinfo",
            b"fixed.alias=built\0".to_vec(),
        ),
    ]
}

#[test]
fn select_orders_dependencies_first() {
    let tree = kernel(&sample());
    assert_eq!(
        names(&tree, &["dm-verity"]).unwrap(),
        ["dm_mod", "dm_bufio", "dm_verity"]
    );
    assert_eq!(
        names(&tree, &["dm_verity", "dm-mod"]).unwrap(),
        ["dm_mod", "dm_bufio", "dm_verity"]
    );
    assert_eq!(names(&tree, &["libcrc"]).unwrap(), ["sum", "libcrc"]);
}

#[test]
fn select_takes_modules_out_of_their_compression() {
    let mut files = sample();
    for (name, body) in &mut files {
        if *name == "usr/lib/modules/6.1/kernel/dm-mod.ko" {
            *name = "usr/lib/modules/6.1/kernel/dm-mod.ko.zst";
            *body = zstd::encode_all(body.as_slice(), 3).unwrap();
        }
    }
    let (kernel, _) = select(kernel(&files), &["dm-mod".into()], &[]).unwrap();
    let [only] = kernel.modules.as_slice() else {
        panic!("one module, found {}", kernel.modules.len());
    };
    assert_eq!(only.file_name, "dm-mod.ko");
    assert_eq!(*only.content.read().unwrap(), module("depends=\n"));
}

#[test]
fn select_accepts_what_is_built_in_and_notes_it() {
    let tree = kernel(&sample());
    let (kernel, notes) = select(tree.clone(), &["fixed".into(), "libcrc".into()], &[]).unwrap();
    assert_eq!(*kernel.vmlinuz.read().unwrap(), *b"kernel");
    assert_eq!(kernel.built_in, ["fixed"]);
    assert_eq!(
        notes,
        [
            "module `fixed` is built into kernel 6.1",
            "module `libcrc` would like `nothing`, which the kernel does not have"
        ]
    );
}

#[test]
fn select_names_near_modules_of_a_missing_one() {
    let tree = kernel(&sample());
    let error = names(&tree, &["dm-verty"]).unwrap_err().to_string();
    assert!(
        error.starts_with("kernel 6.1 has no module `dm_verty`; near names: `dm_verity`"),
        "{error}"
    );
    let mut files = sample();
    files.retain(|(name, _)| !name.ends_with("modules.builtin"));
    let error = names(&kernel(&files), &["dm-verity"])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "module `dm_verity` needs `fixed`, which kernel 6.1 does not have"
    );
}

/// A module that no package has.
fn other(name: &str, info: &str) -> Module {
    Module {
        name: normalised(name),
        file_name: format!("{name}.ko"),
        content: Content::new(module(info)),
        origin: Origin::Effect("compiled"),
    }
}

#[test]
fn select_adds_modules_that_no_package_has_after_what_they_need() {
    let mut files = sample();
    files[1].1 = module("vermagic=6.1 SMP \ndepends=\n");
    files[2].1 = module("vermagic=6.1 SMP \ndepends=dm-mod\n");
    let tree = kernel(&files);
    // Both of the soft dependencies, in the form that NVIDIA writes.
    let core = other(
        "nv",
        "vermagic=6.1 SMP \nsoftdep=pre: crypto-sum,dm-mod\ndepends=\n",
    );
    let memory = other("nv-uvm", "vermagic=6.1 SMP \ndepends=nv\n");
    let wanted = ["dm-bufio".to_owned()];
    let (found, notes) = select(tree.clone(), &wanted, &[core, memory]).unwrap();
    let names: Vec<&str> = found.modules.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["dm_mod", "dm_bufio", "sum", "nv", "nv_uvm"]);
    assert_eq!(found.modules[4].file_name, "nv-uvm.ko");
    assert_eq!(found.modules[4].origin, Origin::Effect("compiled"));
    assert!(notes.is_empty(), "{notes:?}");
    let foreign = other("nv", "vermagic=6.1.1 SMP \ndepends=\n");
    assert_eq!(
        select(tree, &wanted, &[foreign]).unwrap_err().to_string(),
        "module `nv` is for kernel `6.1.1 SMP `, and the kernel's own modules are for `6.1 SMP ` (`vermagic`)"
    );
}

#[test]
fn select_prefers_modules_dep_and_refuses_circles() {
    let mut files = sample();
    files.push((
        "usr/lib/modules/6.1/modules.dep",
        b"kernel/dm-verity.ko: kernel/sum.ko\n".to_vec(),
    ));
    assert_eq!(
        names(&kernel(&files), &["dm-verity"]).unwrap(),
        ["sum", "dm_verity"]
    );
    files.pop();
    files.push((
        "usr/lib/modules/6.1/modules.dep",
        b"kernel/sum.ko: kernel/libcrc.ko\nkernel/libcrc.ko: kernel/sum.ko\n".to_vec(),
    ));
    assert!(matches!(
        names(&kernel(&files), &["sum"]),
        Err(ModuleError::Circle(_))
    ));
}

#[test]
fn select_knows_the_split_layout_and_refuses_two_kernels() {
    let mut files = sample();
    files[0].0 = "usr/lib/modules/6.1/vmlinuz";
    let tree = kernel(&files);
    assert_eq!(select(tree.clone(), &[], &[]).unwrap().0.release, "6.1");
    files.remove(0);
    assert!(matches!(
        select(kernel(&files), &[], &[]),
        Err(ModuleError::NoImage { .. })
    ));
    let mut tree = tree;
    tree.insert(
        path("usr/lib/modules/7.0"),
        Entry::directory(0o755, Origin::Effect("test")),
    );
    assert!(
        matches!(select(tree.clone(), &[], &[]), Err(ModuleError::Releases(r)) if r == ["6.1", "7.0"])
    );
    assert!(matches!(
        select(Tree::new(), &[], &[]),
        Err(ModuleError::NoRelease)
    ));
    assert!(path(DIR).is_below(&path("usr/lib/modules")));
}
