//! Real compiler, headers and sources for tests, from this machine's archive.
//!
//! `CLOISTER_STORE` names the store that keeps them, as for the other tests on real packages; `scripts/test.sh` sets it. Without it,
//! or where the archive cannot be reached, the tests say that they are skipped.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::OnceLock;

use crate::fetch::{Fetcher, Place, Wanted};
use crate::lock::{Lock, LockedPackage, Role};
use crate::locking::Locking;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::source::{Client, Locations, Settings};
use crate::store::Store;

/// What is added to the demo's recipe.
const MODULES: &str = r#"
[gpu]
driver = "550.163.01"
rims-checked-at = "2025-03-01T00:00:00Z"
rim = []

[gpu.modules]
source = { suite = "trixie", package = "nvidia-open-kernel-source" }
build = ["nvidia", "nvidia-uvm"]
patches = ["nvidia-550-resize-bar.patch"]
"#;

/// Locked packages in a store.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) lock: Lock,
}

impl Bench {
    /// Locks and fetches, once for all tests of this process.
    pub(crate) fn get() -> Option<&'static Bench> {
        static BENCH: OnceLock<Option<Bench>> = OnceLock::new();
        let bench = BENCH.get_or_init(|| match Self::make() {
            Ok(bench) => Some(bench),
            Err(why) => {
                println!("skipped: {why}");
                None
            }
        });
        if bench.is_none() {
            println!("skipped: there are no tools to test with");
        }
        bench.as_ref()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "where the test's inputs are is up to the machine"
    )]
    fn make() -> Result<Bench, String> {
        let directory =
            std::env::var("CLOISTER_STORE").map_err(|_| "CLOISTER_STORE names no store")?;
        let store = Store::open(Path::new(&directory)).unwrap();
        let environment: BTreeMap<_, _> = std::env::vars().collect();
        let settings = Settings::collect(&Locations::default(), &environment).unwrap();
        let client = Client::new(settings.certificates.as_deref()).unwrap();
        let locking = Locking {
            fetcher: Fetcher {
                client: &client,
                store: &store,
                recipe: "modules",
            },
            settings: &settings,
            progress: &Progress::new(true),
            now: 0,
        };
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
        let text = std::fs::read_to_string(recipes.join("demo/recipe.toml")).unwrap();
        let mut recipe: Recipe = toml::from_str(&(text + MODULES)).unwrap();
        recipe.python = None;
        recipe.tools.firmware = None;
        recipe.base.packages = vec!["dash".to_owned()];
        recipe.base.components.push("contrib".to_owned());
        let locked = locking.make(&recipe, &recipes.join("demo"));
        let lock = locked
            .map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))?
            .lock;
        let bench = Bench {
            store: store.clone(),
            lock,
        };
        let fetched = bench.fetch(&locking);
        fetched.map(|()| bench)
    }

    fn fetch(&self, locking: &Locking<'_>) -> Result<(), String> {
        let archives = locking.settings.archives().unwrap();
        let roles = [
            Role::GuestTools,
            Role::ModuleTools,
            Role::ModuleSource,
            Role::Kernel,
        ];
        let needed = self
            .lock
            .packages
            .iter()
            .filter(|p| roles.iter().any(|role| p.roles.contains(role)));
        let missing: Vec<Wanted> = needed
            .filter(|package| !self.store.contains(&package.sha256))
            .map(|package| Wanted {
                name: package.name.clone(),
                sha256: package.sha256,
                size: Some(package.size),
                places: archives
                    .iter()
                    .map(|archive| Place::Url(format!("{archive}/{}", package.path)))
                    .collect(),
            })
            .collect();
        let task = locking.progress.task("fetch", 0);
        let came = locking.fetcher.all(&missing, NonZeroUsize::MIN, &task);
        came.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Compiler, headers and all the others.
    pub(crate) fn tools(&self) -> Vec<&LockedPackage> {
        self.lock.with_role(Role::ModuleTools).collect()
    }

    /// A store elsewhere with the same bytes and nothing derived.
    pub(crate) fn elsewhere(&self, directory: &Path) -> Store {
        std::fs::create_dir_all(directory).unwrap();
        std::os::unix::fs::symlink(self.store.dir().join("sha256"), directory.join("sha256"))
            .unwrap();
        Store::open(directory).unwrap()
    }
}
