//! What is asked, and what is said in the end.

use std::path::Path;

use clap::Parser;

use super::{args, of_root, survey};
use crate::cli::{Cli, GuestOs};
use crate::doctor::tests::fixture::Fixture;
use crate::init::ask::Dialogue;
use crate::init::draft::Draft;
use crate::init::{InitError, run, summary};
use crate::wrapping::shell_word;

const HOST: &str = "cpu GenuineIntel vmx 39 Model
    pci 00:02.0 8086:591b 030000 i915 17aa:39d1 0
    pci 01:00.0 10de:1c8d 030200 nouveau 0000:0000 1";

/// A draft by what a person types, and the questions.
fn talked(words: &[&str], typed: &str, look: impl FnOnce(Result<Draft<'_>, InitError>)) -> Vec<String> {
    let mut output = Vec::new();
    let found = survey(HOST);
    let mut input = typed.as_bytes();
    look(Draft::new(&args(words), &found, Some(Dialogue { input: &mut input, output: &mut output })));
    assert!(input.is_empty(), "nobody has asked for {:?}", String::from_utf8_lossy(input));
    let said = String::from_utf8(output).unwrap();
    said.split("]: ").filter(|question| !question.is_empty()).map(str::to_owned).collect()
}

#[test]
fn only_what_cannot_be_known_is_asked() {
    let questions = talked(&[], "\nlinux\n20G\n17aa:39d0\n", |draft| {
        let draft = draft.unwrap();
        assert_eq!((draft.os, draft.disk_size.to_string().as_str()), (GuestOs::Linux, "20G"));
        assert_eq!(draft.subsystem.unwrap().to_string(), "17aa:39d0");
        assert_eq!(draft.iso, None);
    });
    assert_eq!(questions.len(), 4, "{questions:?}");
    assert!(questions[0].ends_with("[none") && questions[1].ends_with("[windows"), "{questions:?}");
    assert!(questions[2].contains("vm.raw") && questions[2].ends_with("[32G"), "{questions:?}");
    // What is said is not asked.
    let words = ["--os", "windows", "--disk-size", "9G", "--subsystem", "17aa:1", "--iso", "/dev/null"];
    let refused = super::super::draft::name_of(Path::new("a b.toml")).unwrap_err();
    assert!(refused.to_string().contains("gives the machine no name"), "{refused}");
    let questions = talked(&["--os", "other", "--disk-size", "9G", "--gpu", "none"], "\n", |draft| {
        assert!(draft.unwrap().gpu.is_none());
    });
    assert_eq!(questions.len(), 1, "{questions:?}");
    assert!(
        Cli::try_parse_from(["optimus-vmm", "init"].iter().chain(&words)).is_err(),
        "a subsystem has four digits"
    );
}

#[test]
fn wrong_answers_are_asked_again() {
    let questions =
        talked(&["--disk-size", "1G"], "/no/such.iso\n\nDOS\nWindows\nnone\nunknown\n", |draft| {
            let draft = draft.unwrap();
            assert_eq!((draft.os, draft.subsystem), (GuestOs::Windows, None));
        });
    let said = questions.join("");
    assert!(
        said.contains("cannot use the disc /no/such.iso") && said.contains("write windows, linux or other"),
        "{said}"
    );
    assert!(said.contains("four hexadecimal digits"), "{said}");
}

#[test]
fn nobody_at_the_terminal_is_an_error() {
    let questions = talked(&[], "", |draft| {
        assert!(matches!(draft, Err(InitError::NoAnswer { .. })), "{draft:?}");
    });
    assert_eq!(questions.len(), 1);
    // Tests have no terminal, or one that `cargo test` does not lend to them as both.
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        let error = run(&args(&["/nowhere/vm.toml"])).unwrap_err();
        assert_eq!(error.status(), 2);
        assert!(error.to_string().contains("--yes"), "{error}");
    }
}

#[test]
fn the_end_names_files_and_the_next_command() {
    let found = survey(HOST);
    let asked = args(&["--yes", "my-vm.toml"]);
    let draft = Draft::new(&asked, &found, None).unwrap();
    let text = summary::text(&draft, &["iommu", "vm-toml"]);
    for words in [
        "my-vm.toml: a machine for Windows with the GPU 0000:01:00.0 (10de:1c8d), 4G of memory, 2 cores",
        "my-vm.raw: a new disk of 80G (raw)",
        "fill in `subsystem`",
        "`vbios` in [dgpu]",
        "Next: `optimus-vmm doctor my-vm.toml`",
        "iommu, vm-toml",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Of another host no more can be said than that.
    assert!(summary::text(&draft, &[]).contains("Next, on that host: `optimus-vmm doctor my-vm.toml`"));
    let mut here = found.clone();
    here.live = true;
    let draft = Draft::new(&asked, &here, None).unwrap();
    let setup = "`optimus-vmm host setup --dry-run my-vm.toml`";
    assert!(summary::text(&draft, &["iommu", "gpu-driver"]).contains(setup));
    assert!(!summary::text(&draft, &["firmware"]).contains(setup));
    assert!(summary::text(&draft, &[]).contains("Next: `sudo optimus-vmm run my-vm.toml`"));
    here.root = true;
    let draft = Draft::new(&asked, &here, None).unwrap();
    assert!(summary::text(&draft, &[]).contains("Next: `optimus-vmm run my-vm.toml`"));
}

#[test]
fn a_gpu_that_is_not_there_is_refused() {
    let fixture = Fixture::new(HOST);
    for (words, message) in [
        (&["--yes", "--gpu", "0000:02:00.0"][..], "no PCI function 0000:02:00.0"),
        (&["--yes", "--gpu", "none", "--subsystem", "17aa:39d1"], "--subsystem is about a GPU"),
        (&["--yes", "--vbios", "/no/such.rom"], "/no/such.rom cannot be the GPU's video BIOS"),
        (&["--yes", "--iso", "/no/such.iso"], "cannot use the disc"),
        (&["--yes", "/no/such/folder/vm.toml"], "there is no folder /no/such/folder"),
    ] {
        let asked = args(words);
        let found = of_root(fixture.root(), &asked);
        let error = Draft::new(&asked, &found, None).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(error.status(), 2);
    }
}

#[test]
fn paths_are_words_of_a_shell() {
    for (path, word) in [
        ("vm.toml", "vm.toml"),
        ("my vm.toml", "'my vm.toml'"),
        ("it's", r"'it'\''s'"),
        ("-x.toml", "./'-x.toml'"),
    ] {
        assert_eq!(shell_word(Path::new(path)), word);
    }
}
