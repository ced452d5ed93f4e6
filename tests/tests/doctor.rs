//! `optimus-vmm doctor` on any host, as a program: children that hang, archives, exit statuses. No KVM is needed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions: a failure of the host is the failure of the test"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Runs the doctor; its status, standard output and standard error. One that waits for ever is ended with status 124.
fn doctor(arguments: &[&str]) -> (i32, String, String) {
    let program =
        tests::binary::path().unwrap_or_else(|error| panic!("{}", error.message().unwrap_or_default()));
    let output = Command::new("timeout")
        .args(["--signal=KILL", "120"])
        .arg(program)
        .arg("doctor")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A host that has hardly anything.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian 13\"\n"),
        ("proc/cpuinfo", "vendor_id\t: GenuineIntel\nmodel name\t: Model\nflags\t: fpu vmx\n"),
        ("sys/module/kvm/parameters/ignore_msrs", "N\n"),
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn findings<'a>(report: &'a Value, id: &str) -> Vec<&'a Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id).collect()
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// Places that a run would write to are looked at, all of them at once, and left as they are.
#[test]
fn places_that_are_taken_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let _console = std::os::unix::net::UnixListener::bind(at("taken.sock")).unwrap();
    let toml = format!(
        "name = \"places\"\n[kernel]\nimage = \"none\"\nboot = \"direct\"\n[machine]\ncontrol = \"unix:{}\"\n[serial]\noutput = \"file:{}\"\n\
         [debugcon]\noutput = \"file:{}\"\n[display]\nvnc = \"{address}\"\n",
        at("taken.sock"),
        at("none/serial.log"),
        at("vm.toml"),
    );
    fs::write(at("vm.toml"), &toml).unwrap();
    let (status, text, _) = doctor(&["--json", &at("vm.toml")]);
    assert_eq!(status, 3, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    for (line, word) in [
        (6, "another program listens there"),
        (8, "there is no folder"),
        (10, "the configuration"),
        (12, "another program has this port"),
    ] {
        let found = findings(&report, "vm-toml").into_iter().any(|finding| {
            finding["source"].as_str().unwrap().starts_with(&format!("{}:{line}:", at("vm.toml")))
                && finding.to_string().contains(word)
        });
        assert!(found, "line {line}: {text}");
    }
    assert_eq!(fs::read_to_string(at("vm.toml")).unwrap(), toml);
    assert!(!folder.path().join("none").exists());
    // Free places are no findings.
    let free = toml
        .replace("taken.sock", "free.sock")
        .replace("none/serial", "serial")
        .replace("vm.toml", "debug.log");
    drop(port);
    fs::write(at("vm.toml"), free).unwrap();
    let (_, text, _) = doctor(&["--json", &at("vm.toml")]);
    for word in ["free.sock", "serial.log", "debug.log", "VNC"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// Opening a FIFO waits for a writer, as some attributes in sysfs wait for their driver.
#[test]
fn a_probe_that_hangs_is_told_and_the_others_answer() {
    let root = root();
    let fifo = root.path().join("sys/module/kvm/parameters/ignore_msrs");
    fs::remove_file(&fifo).unwrap();
    make_fifo(&fifo);
    let began = Instant::now();
    let (status, text, _) =
        doctor(&["--json", "--patience", "2", "--sysroot", root.path().to_str().unwrap()]);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(status, 3, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let [hung] = findings(&report, "unanswered")[..] else { panic!("{text}") };
    assert_eq!(hung["found"], "the probe processor has not answered within 2 s");
    assert_eq!(hung["severity"], "blocks");
    // What comes before and after it is there, and nothing of it.
    assert_eq!(findings(&report, "distribution")[0]["found"], "Debian 13, Linux of an unknown release");
    assert_eq!(findings(&report, "iommu").len(), 1, "{text}");
    assert_eq!(findings(&report, "network").len(), 1, "{text}");
    assert!(findings(&report, "virtualization").is_empty(), "{text}");
}

/// Two of them do not keep the rest from being read either, and each is told.
#[test]
fn two_probes_may_hang() {
    let root = root();
    for (folder, name) in [("sys/module/kvm/parameters", "ignore_msrs"), ("proc", "meminfo")] {
        let fifo = root.path().join(folder).join(name);
        let _ = fs::remove_file(&fifo);
        make_fifo(&fifo);
    }
    let (_, text, _) = doctor(&["--json", "--patience", "2", "--sysroot", root.path().to_str().unwrap()]);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(findings(&report, "unanswered").len(), 2, "{text}");
    assert_eq!(findings(&report, "iommu").len(), 1, "{text}");
    assert_eq!(findings(&report, "firmware").len(), 1, "{text}");
}

#[test]
fn this_host_and_its_archive_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.tar");
    let name = file.to_str().unwrap();
    let (status, said, errors) = doctor(&["--capture", name]);
    assert_eq!(status, 0, "{errors}");
    assert!(said.contains("files of this host"), "{said}");
    let (status, _, errors) = doctor(&["--capture", name]);
    assert_eq!(status, 3);
    assert!(errors.contains("there is a file of this name"), "{errors}");
    let unpacked = folder.path().join("root");
    fs::create_dir(&unpacked).unwrap();
    let done = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&unpacked).status().unwrap();
    assert!(done.success());
    let report = |arguments: &[&str]| -> Value { serde_json::from_str(&doctor(arguments).1).unwrap() };
    let (here, there) = (report(&["--json"]), report(&["--json", "--sysroot", unpacked.to_str().unwrap()]));
    // What only this host can be asked, and what is otherwise from one moment to the next, is left out.
    let still = |report: &Value| -> Vec<Value> {
        let moving = ["kvm", "rights", "memory", "gpu-users", "locked-memory"];
        let all = report["findings"].as_array().unwrap().iter();
        all.filter(|finding| !moving.contains(&finding["id"].as_str().unwrap())).cloned().collect()
    };
    assert_eq!(still(&here), still(&there));
    assert_eq!(here["live"], true);
    assert_eq!(there["live"], false);
}

#[test]
fn a_vm_toml_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.toml");
    let name = path.to_str().unwrap();
    fs::write(&path, "[machine]\nmemroy = \"1G\"\n").unwrap();
    let (status, text, _) = doctor(&["--json", name]);
    assert_eq!(status, 3, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let [wrong] = findings(&report, "vm-toml")[..] else { panic!("{text}") };
    assert_eq!(wrong["source"], format!("{name}:2:1"));
    assert!(wrong["found"].as_str().unwrap().contains("memroy"), "{text}");
    // All that is wrong at once: a disk, and a device, with their lines.
    fs::write(
        &path,
        "[[disk]]\npath = \"none.qcow2\"\n[kernel]\nimage = \"none\"\nboot = \"direct\"\n[dgpu]\nhost = \"0000:7f:1f.7\"\n",
    )
    .unwrap();
    let (status, text, _) = doctor(&["--json", name]);
    assert_eq!(status, 3, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    for (line, word) in [(2, "none.qcow2"), (4, "none"), (7, "this host has no PCI device 0000:7f:1f.7")] {
        let found = findings(&report, "vm-toml").into_iter().any(|finding| {
            finding["source"].as_str().unwrap().starts_with(&format!("{name}:{line}:"))
                && finding["found"].as_str().unwrap().contains(word)
        });
        assert!(found, "line {line}: {text}");
    }
    let (status, _, errors) = doctor(&["--sysroot", name]);
    assert_eq!(status, 2);
    assert!(errors.contains("is no directory with a `sys` in it"), "{errors}");
}
