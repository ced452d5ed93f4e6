//! `optimus-vmm init` on any host, as a program: what it writes is what `plan` reads, and nothing is written over. No KVM is needed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions: a failure of the host is the failure of the test"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs the program in a folder, without a terminal; its status, standard output and standard error. One that waits for ever is ended with
/// status 124.
fn optimus(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let program =
        tests::binary::path().unwrap_or_else(|error| panic!("{}", error.message().unwrap_or_default()));
    let output = Command::new("timeout")
        .args(["--signal=KILL", "120"])
        .arg(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A host with an NVIDIA GPU, in the folder `root`.
fn host(folder: &Path) {
    for (name, text) in [
        ("etc/os-release", "ID=fedora\nPRETTY_NAME=\"Fedora Linux 41\"\n"),
        ("proc/cpuinfo", "vendor_id\t: AuthenticAMD\nmodel name\t: Model\nflags\t: fpu svm\n"),
        ("proc/meminfo", "MemTotal:       32500000 kB\nMemAvailable:   20000000 kB\n"),
        ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
        ("sys/bus/pci/devices/0000:01:00.0/device", "0x2560\n"),
        ("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n"),
        ("usr/share/edk2/ovmf/OVMF_CODE.fd", ""),
        ("usr/share/edk2/ovmf/OVMF_VARS.fd", ""),
    ] {
        let path = folder.join("root").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn what_is_written_is_what_plan_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    host(at);
    let words = ["init", "--yes", "--sysroot", "root", "--disk-size", "1G", "games.toml"];
    let (status, said, errors) = optimus(at, &words);
    assert_eq!(status, 0, "{errors}");
    assert!(
        said.contains(
            "games.toml: a machine for Windows with the GPU 0000:01:00.0 (10de:2560), 16G of memory"
        ),
        "{said}"
    );
    assert!(said.lines().last().unwrap().contains("`optimus-vmm doctor games.toml`"), "{said}");
    let (status, plan, errors) = optimus(at, &["plan", "--offline", "--json", "games.toml"]);
    assert_eq!(status, 0, "{errors}");
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["name"], "games", "{plan:#}");
    assert_eq!(fs::metadata(at.join("games.raw")).unwrap().len(), 1 << 30);
    // Not twice.
    let text = fs::read(at.join("games.toml")).unwrap();
    let (status, _, errors) = optimus(at, &words);
    assert!(status == 2 && errors.contains("--force"), "{status}: {errors}");
    assert_eq!(fs::read(at.join("games.toml")).unwrap(), text);
}

#[test]
fn nobody_at_the_terminal_is_told_of_yes() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said, errors) = optimus(folder.path(), &["init"]);
    assert_eq!((status, said.as_str()), (2, ""));
    assert!(errors.contains("there is nobody to ask") && errors.contains("`--yes`"), "{errors}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn this_host_gets_a_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said, errors) =
        optimus(folder.path(), &["init", "-y", "--os", "linux", "--disk-size", "1G"]);
    assert_eq!(status, 0, "{errors}");
    assert!(said.contains("vm.raw: a new disk of 1G (raw)") && said.contains("Next: `"), "{said}");
    let (status, _, errors) = optimus(folder.path(), &["plan", "--offline", "vm.toml"]);
    assert_eq!(status, 0, "{errors}");
    // A host that is none.
    let (status, _, errors) = optimus(folder.path(), &["init", "-y", "--sysroot", "vm.toml", "other.toml"]);
    assert!(status == 2 && errors.contains("is no directory with a `sys` in it"), "{errors}");
    assert!(!folder.path().join("other.toml").exists() && !folder.path().join("other.raw").exists());
}
