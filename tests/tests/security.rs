//! What docs/security.md names as shown by a test has that test.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Words in the form of names that are none of tests.
const OTHERS: [&str; 2] = ["allow_unsafe_interrupts", "no_new_privs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of all Rust files below `folder`.
fn sources(folder: &Path, text: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(path)?;
        }
    }
    Ok(())
}

#[test]
fn promises_are_shown_by_tests_that_exist() {
    let promises = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let name = regex::Regex::new("`([a-z0-9]+(?:_[a-z0-9]+)+)`").unwrap();
    let names: BTreeSet<&str> =
        name.captures_iter(&promises).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(names.len() > 50, "{names:?}");
    let mut text = String::new();
    for part in ["acpi", "devices", "firmware", "tests", "vmm"] {
        sources(&root().join(part), &mut text).unwrap();
    }
    let exists = |name: &str| {
        OTHERS.contains(&name)
            || text.contains(&format!("fn {name}("))
            || text.contains(&format!("scenario(\"{name}\""))
            || text.contains(&format!("elsewhere(\"{name}\""))
            || root().join(format!("tests/fuzz/targets/{name}.rs")).exists()
    };
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "docs/security.md names what does not exist: {missing:?}");
}
