//! Wrong configurations are refused with a message for people and status 2, on any host: see
//! [`tests::bad_input`]. The cases that need KVM are a trial of the end-to-end tests.

use tests::bad_input::{check, config};

#[test]
fn wrong_configurations_are_refused() {
    let failures: Vec<String> = config()
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

/// Names of files may hold what steers a terminal; people's answers, errors and the log do not show it raw.
#[test]
fn names_do_not_steer_the_terminal() {
    let program =
        tests::binary::path().unwrap_or_else(|error| panic!("{}", error.message().unwrap_or_default()));
    let folder = tempfile::tempdir().unwrap();
    let hostile = "n\u{1b}]0;t\u{7}\u{9b}31m\r\u{202e}e";
    let path = |ending: &str| folder.path().join(format!("{hostile}{ending}")).display().to_string();
    let good = format!("name = \"vm\"\n[[disk]]\npath = {}\n", serde_json::json!(path(".raw")));
    std::fs::write(path(".toml"), &good).unwrap();
    std::fs::write(path(".bad.toml"), "[[disk]]\npath = 7\n").unwrap();
    std::fs::write(path(".bin"), "no ROM").unwrap();
    for words in [
        &["run", &path(".none")][..],
        &["run", &path(".bad.toml")],
        &["run", &path(".toml"), "--serial", "none", "--timeout", "5"],
        &["plan", &path(".toml")],
        &["plan", &path(".bad.toml")],
        &["plan", &format!("--{hostile}")],
        &["ctl", hostile, "status"],
        &["ctl", &path(".sock"), "status"],
        &["explain", "code43", &path(".none")],
        &["explain", "code43", &path(".toml")],
        &["vbios", "info", &path(".bin")],
        &["vbios", "find", &path(".none")],
    ] {
        let output = std::process::Command::new(&program).args(words).output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        let steering = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        let found: Vec<char> = said.iter().flat_map(|said| said.chars()).filter(steering).collect();
        assert!(found.is_empty(), "{words:?}: {found:?} in {said:?}");
        // Nor is it left out.
        let shown = said.iter().any(|said| said.contains("\u{fffd}31m\u{fffd}\u{fffd}e"));
        assert!(shown, "{words:?}: {said:?}");
    }
}
