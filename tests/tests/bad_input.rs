//! Wrong configurations are refused with a message for people and status 2, on any host: see
//! [`tests::bad_input`]. The cases that need KVM are a trial of the end-to-end tests.

use tests::bad_input::{CONFIG, check};

#[test]
fn wrong_configurations_are_refused() {
    let failures: Vec<String> = CONFIG
        .iter()
        .filter_map(|case| check(case, &[2]).err())
        .map(|failed| failed.message().unwrap_or_default().to_owned())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_missing_configuration_is_refused() {
    let program =
        tests::binary::path().unwrap_or_else(|error| panic!("{}", error.message().unwrap_or_default()));
    let output = std::process::Command::new(program).args(["run", "/nowhere/vm.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/nowhere/vm.toml") && said.contains("No such file"), "{said}");
}

#[test]
fn ctl_says_what_is_wrong() {
    let program =
        tests::binary::path().unwrap_or_else(|error| panic!("{}", error.message().unwrap_or_default()));
    for (words, status, expected) in [
        (&["ctl", "no-such-machine", "status"][..], 3, "no machine `no-such-machine` runs"),
        (&["ctl", "/nowhere/vm.sock", "quit"], 3, "there is no such socket"),
        (&["ctl", "status"], 2, "which machine?"),
        (&["ctl", "vm", "key", "ctrl-atl"], 2, "there is no key"),
        (&["ctl", "vm", "type", "\u{20ac}"], 2, "cannot type"),
        (&["ctl", "vm", "screenshot"], 2, "FILE.png"),
        (&["ctl", "vm", "mouse", "wheel", "1000"], 2, "1000"),
    ] {
        let output = std::process::Command::new(&program).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {said}");
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}
