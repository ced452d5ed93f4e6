//! docs/doctor.md has each finding.

use crate::cli::{Cli, Command};
use crate::doctor::check::{CHECKS, Subject};
use crate::doctor::report;
use crate::doctor::run;
use clap::Parser;

const BEGIN: &str = "<!-- made from the table of checks: UPDATE_DOCS=1 cargo test -p vmm -->\n";
const END: &str = "<!-- end of the table -->\n";

#[test]
fn the_documentation_has_each_finding() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut made = String::new();
    for check in &CHECKS {
        let lending = match check.subject {
            Subject::Host => "",
            Subject::Lending => " Of no weight for a vm.toml that lends nothing.",
        };
        made.push_str(&format!(
            "### `{}`\n\n{}{lending}\n\nRead: {}.\n\n",
            check.id, check.explain, check.reads
        ));
    }
    let wanted = format!("{before}{BEGIN}\n{made}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "run UPDATE_DOCS=1 cargo test -p vmm");
    }
}

#[test]
fn ids_are_words_and_no_two_are_the_same() {
    let mut ids: Vec<_> = CHECKS.iter().map(|check| check.id).collect();
    assert!(ids.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')), "{ids:?}");
    // The column of a report has room for each.
    assert!(ids.iter().all(|id| id.len() < 20), "{ids:?}");
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn each_finding_is_explained_and_others_are_not() {
    for check in &CHECKS {
        let text = report::explain(check);
        assert!(text.starts_with(check.id) && text.contains("Read: "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 112), "{text}");
    }
    let asked = |id: &str| {
        let Command::Doctor(args) = Cli::parse_from(["optimus-vmm", "doctor", "--explain", id]).command
        else {
            panic!()
        };
        run(&args)
    };
    assert!(asked("iommu").unwrap().text.contains("VT-d"));
    let error = asked("immu").unwrap_err();
    assert_eq!(error.status(), 2);
    assert!(error.to_string().contains("no finding is called `immu`: there are unanswered, "), "{error}");
}
