//! Modules compiled with the real compiler against the real headers.

use std::io::Write as _;

use super::*;
use crate::lock::Role;
use crate::modules;
use crate::tree::merge::overlay;
use crate::tree::unpack::layer;

/// A module of our own with what makes builds differ: its file's name, its line, a symbol of another file.
const HELLO: [(&str, &str); 3] = [
    (
        "hello/Makefile",
        "ifneq ($(KERNELRELEASE),)\nobj-m := hello.o\nhello-y := main.o part.o\nelse\nmodules:\n\
         \t$(MAKE) -C /lib/modules/$(KERNEL_UNAME)/build M=$(CURDIR) modules\nendif\n",
    ),
    (
        "hello/main.c",
        "#include <linux/module.h>\nint part(void);\nstatic int __init hello(void) { WARN_ON(part()); pr_info(\"%s\\n\", __FILE__); return 0; }\n\
         module_init(hello);\nMODULE_LICENSE(\"Dual MIT/GPL\");\nMODULE_VERSION(\"1.0\");\nMODULE_DESCRIPTION(\"test\");\n",
    ),
    (
        "hello/part.c",
        "int part(void);\nint part(void) { return 1; }\n",
    ),
];

/// An archive of `.tar.xz`.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar.into_inner().unwrap()).unwrap();
    xz.finish().unwrap()
}

fn hello<'a>(
    bench: &'a Bench,
    names: &'a [String],
    files: &[(&str, &str)],
    patches: &[&str],
) -> Build<'a> {
    let archive = archive(files);
    Build {
        release: bench.lock.kernel_release().unwrap(),
        tools: bench.tools(),
        source: Source {
            sha256: Digest::of(&archive),
            archive: Box::new(move || Ok(archive.clone())),
            folder: "hello",
        },
        patches: patches
            .iter()
            .map(|patch| patch.as_bytes().to_vec())
            .collect(),
        names,
    }
}

fn options(store: &Store, jobs: usize) -> Options<'_> {
    Options {
        store,
        jobs: NonZeroUsize::new(jobs).unwrap(),
        cache: false,
        report: &|_| (),
    }
}

#[test]
fn a_module_is_the_same_from_any_path_and_number_of_jobs() {
    let Some(bench) = Bench::get() else { return };
    let names = ["hello".to_owned()];
    let build = hello(bench, &names, &HELLO, &[]);
    let here = build.run(options(&bench.store, 1)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let there = bench.elsewhere(&other.path().join("a place/with another name"));
    let again = build.run(options(&there, 4)).unwrap();
    assert!(here == again, "two builds differ");
    let module = &here["hello"];
    let info = modules::Info::read(module).unwrap();
    assert_eq!(info.version.as_deref(), Some("1.0"));
    for name in [bench.store.dir(), there.dir()] {
        let name = name.to_str().unwrap().as_bytes();
        assert!(
            !module.windows(name.len()).any(|window| window == name),
            "a path is in the module"
        );
    }
    // Now from the store, also where nothing could be compiled.
    let cached = Options {
        cache: true,
        ..options(&there, 1)
    };
    assert!(build.known(&there).unwrap().is_some());
    assert_eq!(build.run(cached).unwrap(), here);
}

#[test]
fn a_patch_changes_the_module_and_its_key() {
    let Some(bench) = Bench::get() else { return };
    let names = ["hello".to_owned()];
    let patch = "--- a/main.c\n+++ b/main.c\n@@ -4,4 +4,4 @@\n module_init(hello);\n MODULE_LICENSE(\"Dual MIT/GPL\");\n-MODULE_VERSION(\"1.0\");\n+MODULE_VERSION(\"2.0\");\n MODULE_DESCRIPTION(\"test\");\n";
    let (plain, patched) = (
        hello(bench, &names, &HELLO, &[]),
        hello(bench, &names, &HELLO, &[patch]),
    );
    assert_ne!(plain.key(), patched.key());
    let made = patched.run(options(&bench.store, 2)).unwrap();
    let info = modules::Info::read(&made["hello"]).unwrap();
    assert_eq!(info.version.as_deref(), Some("2.0"));
    // A patch that does not fit ends the build.
    let wrong = hello(bench, &names, &HELLO, &[&patch.replace("1.0", "0.9")]);
    let error = wrong.run(options(&bench.store, 2)).unwrap_err();
    let KernelBuildError::Sandbox {
        source: SandboxError::Failed { output, .. },
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(output.contains("FAILED"), "{output}");
}

#[test]
fn what_does_not_compile_is_said_with_the_compilers_words() {
    let Some(bench) = Bench::get() else { return };
    let names = ["hello".to_owned()];
    let mut files = HELLO;
    files[2].1 = "int part(void) { return undeclared; }\n";
    let error = hello(bench, &names, &files, &[])
        .run(options(&bench.store, 2))
        .unwrap_err();
    let KernelBuildError::Sandbox {
        source: SandboxError::Failed { output, .. },
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(output.contains("undeclared"), "{output}");
    assert!(error.hint().unwrap().contains("`gpu.modules.patches`"));
}

#[test]
fn modules_are_judged() {
    let Some(bench) = Bench::get() else { return };
    let names = ["hello".to_owned()];
    let made = hello(bench, &names, &HELLO, &[])
        .run(options(&bench.store, 2))
        .unwrap();
    let module = &made["hello"];
    let error = judge::release("hello", module, "6.1").unwrap_err();
    assert!(
        matches!(&error, KernelBuildError::Other { wanted, .. } if wanted == "6.1"),
        "{error}"
    );
    let error = judge::version("hello", module, "550.163.01").unwrap_err();
    assert_eq!(
        error.to_string(),
        "compiled module `hello` has version `1.0`, wanted `550.163.01`"
    );
    let error = judge::spdm("hello", module).unwrap_err();
    assert!(
        matches!(
            error,
            KernelBuildError::Stubs {
                symbol: "crypto_alloc_aead",
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        judge::release("x", b"x", ""),
        Err(KernelBuildError::Unreadable { .. })
    ));
}

/// The driver as `recipes` build it. Expected values: `make` and `strip` by hand of the same sources, docs/gpu.md.
#[test]
#[ignore = "compiles NVIDIA's modules twice, which takes ten minutes: `scripts/gpu-modules.sh`"]
fn nvidia_modules_are_the_same_from_any_path_and_number_of_jobs() {
    let bench = Bench::get().expect("a store and an archive");
    let source = bench.lock.with_role(Role::ModuleSource).next().unwrap();
    let names = ["nvidia".to_owned(), "nvidia-uvm".to_owned()];
    let patch = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../recipes/patches/nvidia-550-resize-bar.patch");
    let patches = [fs::read(patch).unwrap()];
    let driver = Driver {
        version: "550.163.01",
        release: bench.lock.kernel_release().unwrap(),
        source,
        tools: &bench.tools(),
        patches: &patches,
        names: &names,
    };
    let other = tempfile::tempdir().unwrap();
    let there = bench.elsewhere(&other.path().join("a place/with another name"));
    let build = |store: &Store, jobs| {
        let start = std::time::Instant::now();
        let made = driver.modules(options(store, jobs)).unwrap();
        println!("{} with {jobs} jobs: {:?}", source.version, start.elapsed());
        for module in &made {
            let content = &module.content;
            let bytes = content.len();
            println!("{} {} {bytes} bytes", module.file_name, content.sha256());
        }
        made
    };
    let (again, here) = (build(&there, 5), build(&bench.store, 2));
    assert_eq!(here.len(), again.len());
    for (a, b) in here.iter().zip(&again) {
        assert_eq!(a.content.sha256(), b.content.sha256(), "{}", a.name);
    }
    // The locked kernel takes them, after what they softly depend on.
    let kernel = bench
        .lock
        .with_role(Role::Kernel)
        .map(|package| layer(&bench.store, package).unwrap().0);
    let (tree, _) = overlay(kernel.collect()).unwrap();
    let (kernel, notes) = modules::select(tree, &[], &here).unwrap();
    let order: Vec<&str> = kernel
        .modules
        .iter()
        .map(|module| module.name.as_str())
        .collect();
    println!("load order: {}; notes: {notes:?}", order.join(" "));
    let at = |name| order.iter().position(|found| *found == name).unwrap();
    assert!(at("ecdh_generic") < at("nvidia") && at("nvidia") < at("nvidia_uvm"));
}
