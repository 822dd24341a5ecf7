//! The real archive and index, found through this machine's own configuration.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Locks the demo recipe afresh; says so and ends where the network cannot be reached.
#[test]
fn demo_recipe_can_be_locked_from_the_machines_archives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let place = TempDir::new().unwrap();
    let lock = place.path().join("recipe.lock");
    let run = |output: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command
            .current_dir(&root)
            .arg("--store")
            .arg(place.path().join("store"));
        command
            .args(["lock", "demo", "--output"])
            .arg(output)
            .output()
            .unwrap()
    };
    let first = run(&lock);
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    if !first.status.success() {
        let unreachable = [
            "cannot be reached",
            "is configured",
            "expired",
            "ended early",
        ];
        assert!(unreachable.iter().any(|word| said.contains(word)), "{said}");
        println!("skipped: the archive cannot be used from here: {said}");
        return;
    }
    let text = std::fs::read_to_string(&lock).unwrap();
    assert!(
        text.contains("roles = [\"kernel\"]") && text.contains("xllamacpp"),
        "{text}"
    );
    let again = place.path().join("again.lock");
    assert!(run(&again).status.success());
    assert_eq!(
        std::fs::read_to_string(&again).unwrap(),
        text,
        "two locks of one archive differ"
    );
    let committed =
        std::fs::read_to_string(root.join("recipes/demo/recipe.lock")).unwrap_or_default();
    if committed != text {
        println!("the archive has moved past the committed lock of demo");
    }
}
