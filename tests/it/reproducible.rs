//! `cloister reproduce`: the same bytes in other circumstances, and a planted difference named.

use std::fs;

use crate::images::{self, copy_recipe};
use crate::program::{repository, run, scratch, succeed};

#[test]
fn builds_of_the_demo_in_environments_that_differ_are_equal() {
    let said = succeed([
        "reproduce".as_ref(),
        "--json".as_ref(),
        images::demo().recipe.as_os_str(),
    ]);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(report["reproducible"], true, "{report:#}");
    let equal: Vec<&str> = report["equal"]
        .as_array()
        .expect("outputs")
        .iter()
        .filter_map(|output| output["output"].as_str())
        .collect();
    for output in [
        "initrd",
        "uki.efi",
        "disk.raw",
        "measurements/qemu-vtpm.json",
        "sbom.cdx.json",
    ] {
        assert!(equal.contains(&output), "{output}: {report:#}");
    }
    println!("{}", said.stdout);
}

#[test]
fn a_planted_difference_is_named_with_its_file() {
    let recipe = images::probe_recipe();
    let recipes = scratch().join("planted");
    let other = copy_recipe(&repository().join("tests/recipes/probe"), &recipes);
    fs::copy(recipe.join("recipe.lock"), other.join("recipe.lock")).expect("lock");
    let program = other.join("files/probe.py");
    let text = fs::read_to_string(&program).expect("program");
    fs::write(
        &program,
        text.replace("MARKER-OF-THE-WORKLOAD", "MARKER-OF-ANOTHER"),
    )
    .expect("program");
    let words = [
        "reproduce".as_ref(),
        recipe.as_os_str(),
        "--against".as_ref(),
        other.as_os_str(),
    ];
    let said = run(words);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stdout.contains("opt/probe/probe.py"), "{said:#?}");
    assert!(said.stdout.contains("partition root"), "{said:#?}");
}
