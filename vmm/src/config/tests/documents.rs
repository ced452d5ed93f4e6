//! The documentation and the examples are of this program.

use std::path::PathBuf;

use super::super::{Overrides, load, schema};
use super::reference::{markdown, sections};
use super::repository;

const BEGIN: &str = "<!-- made from the schema: UPDATE_DOCS=1 cargo test -p vmm -->\n";
const END: &str = "<!-- end of the reference -->";

#[test]
fn every_example_parses() {
    let folder = repository().join("examples");
    let mut examples: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    examples.sort();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        // The host of a test need not have a firmware.
        let text = std::fs::read_to_string(&example).unwrap();
        let config = super::super::parse_on(&text, &example, &Default::default(), &|_| true);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(Some(config.name.as_str()), example.file_stem().and_then(|stem| stem.to_str()));
    }
}

#[test]
fn what_examples_have_commented_out_parses_too() {
    for name in ["linux", "kernel", "windows", "optimus-laptop"] {
        let path = repository().join("examples").join(name).with_extension("toml");
        let text = std::fs::read_to_string(&path).unwrap();
        // `# key = value` and `# [section]` are examples; prose has no `=` after its first word.
        let all: String = text
            .lines()
            .map(|line| {
                let code = line.strip_prefix("# ").filter(|rest| {
                    let mut words = rest.split(' ');
                    rest.starts_with('[') || (words.next().is_some() && words.next() == Some("="))
                });
                format!("{}\n", code.unwrap_or(line))
            })
            .collect();
        let config = super::super::parse_on(&all, &path, &Default::default(), &|_| true);
        config.unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn the_reference_is_that_of_the_schema() {
    let schema = serde_json::from_str(&schema()).unwrap();
    let expected = markdown(&sections(&schema));
    let path = repository().join("docs/vm-toml.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the reference begins");
    let (reference, after) = rest.split_once(END).expect("the reference ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}\n{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(reference.trim(), expected.trim(), "run UPDATE_DOCS=1 cargo test -p vmm");
    }
}

#[test]
fn every_key_has_a_meaning_and_a_default() {
    let schema = serde_json::from_str(&schema()).unwrap();
    let sections = sections(&schema);
    assert!(sections.iter().map(|section| section.keys.len()).sum::<usize>() > 50);
    for section in sections {
        assert!(!section.description.is_empty(), "{}", section.heading);
        for key in section.keys {
            let place = format!("{} {}", section.heading, key.name);
            assert!(!key.description.is_empty(), "{place} has no description");
            assert!(!key.default.is_empty(), "{place} has no default");
            assert!(!key.kind.is_empty(), "{place} has no kind");
        }
    }
}

#[test]
fn the_complete_file_of_the_documentation_is_enough() {
    let text = std::fs::read_to_string(repository().join("docs/vm-toml.md")).unwrap();
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let (least, _) = rest.split_once("```").unwrap();
    super::parse(least).unwrap();
}

#[test]
fn every_piece_of_a_file_in_the_documentation_parses() {
    let mut pieces = 0;
    let pages = std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.chain([repository().join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap_or_default();
        for rest in text.split("```toml\n").skip(1) {
            let (piece, _) = rest.split_once("```").unwrap();
            super::parse(piece).unwrap_or_else(|problems| panic!("{}:\n{problems}", page.display()));
            pieces += 1;
        }
    }
    assert!(pieces >= 8, "{pieces}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let error = load(&missing, &Overrides::default()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read the configuration {}: No such", missing.display())));

    let latin1 = folder.path().join("latin1.toml");
    std::fs::write(&latin1, b"name = \"a\"\n# \xe4\n").unwrap();
    let error = load(&latin1, &Overrides::default()).unwrap_err().to_string();
    assert!(error.ends_with("line 2 is not UTF-8 text"), "{error}");

    let huge = folder.path().join("huge.toml");
    std::fs::write(&huge, vec![b'\n'; (1 << 20) + 1]).unwrap();
    let error = load(&huge, &Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("longer than 1 MiB"), "{error}");
}
