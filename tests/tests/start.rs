//! The start of a machine on any host: what is refused before anything is changed or lost. No KVM is needed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions: a failure of the host is the failure of the test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

/// Of the package ovmf.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Stands for a FIFO's, file's or other name in a case.
const NAME: &str = "@NAME@";

fn program() -> std::path::PathBuf {
    tests::binary::path().unwrap_or_else(|error| panic!("{}", error.message().unwrap_or_default()))
}

/// Runs the machine of `folder`, in that folder. Who waits for ever is ended by timeout(1) with status 124.
fn run(folder: &Path, toml: &str, arguments: &[&str]) -> (i32, String) {
    let unless = |key: &str, path: &str| match toml.contains(&format!("{key} =")) {
        true => String::new(),
        false => format!("{key} = \"{path}\"\n"),
    };
    let firmware = unless("code", CODE) + &unless("vars_template", VARS);
    // What a case says of [firmware] comes first.
    let toml = match toml.strip_prefix("[firmware]\n") {
        Some(rest) => format!("[firmware]\n{firmware}{rest}"),
        None => format!("[firmware]\n{firmware}{toml}"),
    };
    fs::write(folder.join("vm.toml"), toml).unwrap();
    let Output { status, stderr, .. } = Command::new("timeout")
        .args(["--signal=KILL", "60"])
        .arg(program())
        .args(["run", "--headless", "--timeout", "20", "--control", "off"])
        .args(arguments)
        .arg("vm.toml")
        .current_dir(folder)
        .output()
        .unwrap();
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&stderr).into_owned())
}

fn make_fifo(path: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
}

/// A FIFO that nobody has open on the other side, for every file that a machine has.
#[test]
fn nothing_waits_for_a_fifo() {
    let inputs = [
        ("firmware", "[firmware]\ncode = \"@NAME@\"\n"),
        ("variables", "[firmware]\nvars = \"@NAME@\"\n"),
        ("template", "[firmware]\nvars_template = \"@NAME@\"\n"),
        ("raw disk", "[[disk]]\npath = \"@NAME@\"\nformat = \"raw\"\n"),
        ("qcow2 disk", "[[disk]]\npath = \"@NAME@\"\nformat = \"qcow2\"\n"),
        ("read-only disk", "[[disk]]\npath = \"@NAME@\"\nformat = \"raw\"\nreadonly = true\n"),
        ("kernel", "[kernel]\nimage = \"@NAME@\"\n"),
        ("ACPI table", "[[acpi.table]]\nfile = \"@NAME@\"\n"),
        ("video BIOS", "[dgpu]\nvbios = \"@NAME@\"\n"),
        ("ROM", "[[vfio]]\nhost = \"0000:7f:1f.7\"\nguest = \"00:10.0\"\nrom = \"@NAME@\"\n"),
        ("fw_cfg item", "[[fw_cfg]]\nname = \"opt/a\"\nfile = \"@NAME@\"\n"),
        ("password", "[display]\nvnc = \"unix:vnc\"\npassword_file = \"@NAME@\"\n"),
        ("serial port", "[serial]\noutput = \"file:@NAME@\"\n"),
        ("debug port", "[debugcon]\noutput = \"file:@NAME@\"\n"),
    ];
    let mut failures = Vec::new();
    for (what, toml) in inputs {
        let folder = tempfile::tempdir().unwrap();
        make_fifo(&folder.path().join("fifo"));
        let serial = if what == "serial port" { &[][..] } else { &["--serial", "none"] };
        let (status, said) = run(folder.path(), &toml.replace(NAME, "fifo"), serial);
        // Files of vm.toml are its mistakes; the reader of an output is a matter of the host.
        let expected = if what.ends_with("port") { 3 } else { 2 };
        if status != expected || !said.contains("fifo") {
            failures.push(format!("{what}: status {status}: {said}"));
        }
    }
    for (option, fifo) in [("--events", "fifo"), ("--log", "fifo"), ("--screenshot", "fifo.png")] {
        let folder = tempfile::tempdir().unwrap();
        make_fifo(&folder.path().join(fifo));
        let (status, said) = match option {
            "--log" => {
                let done = Command::new("timeout")
                    .args(["--signal=KILL", "60"])
                    .arg(program())
                    .args(["--log", fifo, "plan", "vm.toml"])
                    .current_dir(folder.path())
                    .output()
                    .unwrap();
                (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stderr).into_owned())
            }
            option => run(folder.path(), "", &["--serial", "none", option, fifo]),
        };
        if status != 3 || !said.contains("fifo") {
            failures.push(format!("{option}: status {status}: {said}"));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    make_fifo(&folder.path().join("vm.toml"));
    for command in [&["run"][..], &["plan"], &["acpi", "dump"]] {
        let done = Command::new("timeout")
            .args(["--signal=KILL", "60"])
            .arg(program())
            .args(command)
            .arg("vm.toml")
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.code() != Some(2) || !said.contains("it is a FIFO, not a regular file") {
            failures.push(format!("{command:?}: {}: {said}", done.status));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// A mistake in any file is one of vm.toml, with its line.
#[test]
fn wrong_files_are_told_with_their_lines() {
    for (toml, line, words) in [
        ("[[disk]]\npath = \"none.img\"\n", 5, "disk[0]: the disk image"),
        ("[[vfio]]\nhost = \"0000:7f:1f.7\"\nguest = \"00:10.0\"\nrom = \"none.rom\"\n", 7, "none.rom"),
        ("[kernel]\nimage = \"none.efi\"\n", 5, "none.efi"),
        ("[[fw_cfg]]\nname = \"opt/a\"\nfile = \"none.txt\"\n", 6, "none.txt"),
        ("[display]\nvnc = \"unix:vnc\"\npassword_file = \"none.pw\"\n", 6, "none.pw"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (status, said) = run(folder.path(), toml, &["--serial", "none"]);
        assert!(status == 2 && said.contains(words), "{toml}: status {status}: {said}");
        assert!(said.contains(&format!("vm.toml:{line}:")), "{toml}: {said}");
    }
}

/// The configuration may be right, and the host does not give what it asks for.
#[test]
fn ends_that_cannot_be_had_are_told_with_their_lines() {
    for (toml, line, words) in [
        ("[serial]\noutput = \"file:none/log\"\n", 5, "cannot connect the serial port to file:"),
        (
            "[serial]\noutput = \"none\"\n[debugcon]\noutput = \"unix:none/s\"\n",
            7,
            "cannot connect the debug port to unix:",
        ),
        (
            "[serial]\noutput = \"none\"\n[display]\nvnc = \"192.0.2.1:5900\"\npassword_file = \"pw\"\n",
            7,
            "no such address",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("pw"), "secret").unwrap();
        fs::set_permissions(folder.path().join("pw"), fs::Permissions::from_mode(0o600)).unwrap();
        let (status, said) = run(folder.path(), toml, &[]);
        assert!(status == 3 && said.contains(words), "{toml}: status {status}: {said}");
        assert!(said.contains(&format!("vm.toml:{line}:")), "{toml}: {said}");
    }
}

/// `plan` says what `run` would, without making or locking anything; with `--offline` it does not look.
#[test]
fn plan_says_what_run_would_refuse() {
    let vbios = "[dgpu]\nvbios = \"file\"\n";
    let vars = "[firmware]\nvars = \"file\"\n";
    let code = "[firmware]\ncode = \"file\"\n";
    let template = "[firmware]\nvars_template = \"file\"\n";
    let others = [
        "[[disk]]\npath = \"file\"\nformat = \"raw\"\n",
        "[[disk]]\npath = \"file\"\nformat = \"qcow2\"\n",
        "[kernel]\nimage = \"file\"\n",
        "[[acpi.table]]\nfile = \"file\"\n",
        "[[fw_cfg]]\nname = \"opt/a\"\nfile = \"file\"\n",
        "[[vfio]]\nhost = \"0000:7f:1f.7\"\nguest = \"00:10.0\"\nrom = \"./file\"\n",
        "[display]\nvnc = \"unix:vnc\"\npassword_file = \"file\"\n",
    ];
    type Make = fn(&Path);
    let kinds: [(&str, Make); 4] = [
        ("missing", |_| ()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a FIFO", make_fifo),
        ("empty", |path| fs::write(path, "").unwrap()),
    ];
    for toml in [vbios, vars, code, template].into_iter().chain(others) {
        for (kind, make) in kinds {
            // Variables are made at the first run, and an item may be empty.
            if (kind, toml) == ("missing", vars) || kind == "empty" && toml.contains("[[fw_cfg]]") {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            make(&folder.path().join("file"));
            let (status, refused) = run(folder.path(), toml, &["--serial", "none"]);
            assert_eq!(status, 2, "{kind}: {toml}: {refused}");
            let _ = fs::remove_file(folder.path().join("vm_VARS.fd"));
            let before = names(folder.path());
            let (status, planned) = plan(folder.path(), &[]);
            assert_eq!(status, 2, "{kind}: {toml}: {planned}");
            let message = refused.trim_start_matches("optimus-vmm: ").trim_end();
            assert!(planned.contains(message), "{kind}: {toml}:\n{planned}\nrun says:\n{refused}");
            assert!(planned.contains("vm.toml:"), "{kind}: {toml}: {planned}");
            assert_eq!(plan(folder.path(), &["--offline"]).0, 0, "{kind}: {toml}");
            assert_eq!(names(folder.path()), before);
        }
    }
}

/// What KVM lacks, too, where there is one: no processor has both of these features.
#[test]
fn plan_says_what_kvm_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "[cpu]\nfeatures = { add = [\"amx-tile\", \"sse4a\"] }\n";
    let (status, refused) = run(folder.path(), toml, &["--serial", "none"]);
    let (planned_status, planned) = plan(folder.path(), &[]);
    if status == 3 {
        assert!(refused.contains("/dev/kvm"), "{refused}");
        assert_eq!((planned_status, planned), (0, String::new()), "nothing is known to be lacking");
    } else {
        assert_eq!((status, planned_status), (2, 2), "{refused}\n{planned}");
        assert!(refused.contains("vm.toml:5:") && refused.contains("KVM does not offer"), "{refused}");
        assert_eq!(planned, refused);
    }
    assert_eq!(plan(folder.path(), &["--offline"]).0, 0);
}

/// CPUs that this host does not have are refused here, and may be those of the machine's host.
#[test]
fn plan_leaves_the_cpus_of_this_host_alone_offline() {
    let folder = tempfile::tempdir().unwrap();
    for (pin, status) in [("[1023]", 3), ("\"auto\"", 0)] {
        let toml = format!("[firmware]\ncode = \"{CODE}\"\nvars_template = \"{VARS}\"\n[cpu]\npin = {pin}\n");
        fs::write(folder.path().join("vm.toml"), toml).unwrap();
        let (found, said) = plan(folder.path(), &[]);
        assert_eq!(found, status, "{pin}: {said}");
        assert_eq!(said.contains("no CPU 1023"), status == 3, "{pin}: {said}");
        assert_eq!(plan(folder.path(), &["--offline"]), (0, String::new()), "{pin}");
    }
}

/// A device that this host has is planned as on any other.
#[test]
fn plan_leaves_the_devices_of_this_host_alone_offline() {
    let functions = names(Path::new("/sys/bus/pci/devices"));
    let Some(host) = functions.first().and_then(|name| name.to_str()) else {
        eprintln!("not tried: this host has no PCI device");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[firmware]\ncode = \"{CODE}\"\nvars_template = \"{VARS}\"\n[[vfio]]\nhost = \"{host}\"\nguest = \"00:10.0\"\n"
    );
    fs::write(folder.path().join("vm.toml"), toml).unwrap();
    let planned = |arguments: &[&str]| {
        let mut plan = Command::new(program());
        let done =
            plan.arg("plan").args(arguments).arg("vm.toml").current_dir(folder.path()).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    let (here, anywhere) = (planned(&[]), planned(&["--offline"]));
    assert!(here.contains("driver on the host: ") && !here.contains("was not asked"), "{here}");
    assert!(anywhere.contains("the host was not asked") && !anywhere.contains("on the host: "), "{anywhere}");
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// Plans the machine that [`run`] has run in `folder`.
fn plan(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let done = Command::new("timeout")
        .args(["--signal=KILL", "60"])
        .arg(program())
        .arg("plan")
        .args(arguments)
        .arg("vm.toml")
        .current_dir(folder)
        .output()
        .unwrap();
    (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stderr).into_owned())
}

/// `explain code43` of the machine in `folder`, or of what else `words` name: status, answer, messages.
fn explain(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new("timeout")
        .args(["--signal=KILL", "60"])
        .arg(program())
        .args(["explain", "code43"])
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    (status.code().unwrap_or(-1), stdout, stderr)
}

/// A machine that does not exist, and one that no program can look at.
#[test]
fn explain_tells_what_is_no_machine() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("notes"), "[dgpu\n").unwrap();
    fs::write(folder.join("conflict.toml"), "[rng]\naddress = \"00:00.0\"\n").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let dead = folder.join("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    for (words, status, expected) in [
        (&["no-such-vm.toml"][..], 2, "cannot read the configuration no-such-vm.toml: No such file"),
        (&["./no-such-vm"], 2, "cannot read the configuration ./no-such-vm"),
        (&["no-such-vm"], 3, "there is no file no-such-vm, and no machine `no-such-vm` runs"),
        // Not a file, so the name of a machine.
        (&["folder"], 3, "no machine `folder` runs"),
        (&["./folder"], 2, "./folder"),
        (&["notes"], 2, "notes:1:"),
        (&["conflict.toml"], 2, "conflict.toml:2:"),
        (&["dead.sock"], 3, "it has ended, and only its socket was left"),
        (&["./dead.sock"], 3, "it has ended, and only its socket was left"),
        (&["vm.toml", "--driver", "new"], 2, "write the driver's version as NVIDIA does"),
        (&[], 2, "VM.TOML|MACHINE"),
    ] {
        let (found, told, said) = explain(folder, words);
        assert_eq!(found, status, "{words:?}: {told}{said}");
        assert!(said.contains(expected) && told.is_empty(), "{words:?}: {told}{said}");
    }
}

/// A video BIOS that cannot be read is what the driver misses, and no reason to say nothing of the rest.
#[test]
fn explain_tells_of_an_unreadable_video_bios_with_its_line() {
    type Make = fn(&Path);
    let kinds: [(&str, Make); 5] = [
        ("No such file", |_| ()),
        ("is a directory", |path| fs::create_dir(path).unwrap()),
        ("it is a FIFO", make_fifo),
        ("the file is empty", |path| fs::write(path, "").unwrap()),
        ("no PCI option ROM", |path| fs::write(path, "GIF89a").unwrap()),
    ];
    for (why, make) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        make(&folder.join("vbios.rom"));
        let toml = format!(
            "[firmware]\ncode = \"{CODE}\"\n[dgpu]\nhost = \"0000:7f:1f.7\"\nvbios = \"vbios.rom\"\n"
        );
        fs::write(folder.join("vm.toml"), toml).unwrap();
        let (status, told, said) = explain(folder, &["vm.toml"]);
        assert_eq!(status, 1, "{why}: {told}{said}");
        // However lines are broken.
        let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("FAILS vbios ") && words.contains(why), "{why}: {told}");
        assert!(words.contains("change: vm.toml:5: "), "{why}: {told}");
        // The host does not have the GPU either.
        assert!(words.contains("FAILS gpu this host has no PCI device 0000:7f:1f.7"), "{told}");
        assert!(said.contains("`optimus-vmm plan` says which"), "{said}");
        let (status, told, said) = explain(folder, &["vm.toml", "--offline"]);
        assert_eq!((status, said.as_str()), (0, ""), "{told}");
        assert!(told.contains("unknown  vbios "), "{told}");
    }
}

/// Neither a host that says nothing of itself nor one that says it to root alone keeps `--offline` from an answer.
#[test]
fn explain_offline_leaves_the_hosts_identity_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let toml = format!(
        "[firmware]\ncode = \"{CODE}\"\n[dgpu]\nhost = \"0000:7f:1f.7\"\n[battery]\nmode = \"none\"\n[smbios]\n\
         mirror_host = true\nmirror_serials = true\n"
    );
    fs::write(folder.join("vm.toml"), toml).unwrap();
    let (status, told, said) = explain(folder, &["vm.toml", "--offline"]);
    // Without a battery the machine is no laptop.
    assert_eq!((status, said.as_str()), (1, ""), "{told}");
    assert!(told.contains("unknown  chassis      as the host's, which was not asked"), "{told}");
}

/// What is wrong is told once, as by a start in the foreground, and with its status; and what makes no sense without a terminal is refused.
#[test]
fn a_detached_start_fails_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let run = |toml: &str, arguments: &[&str]| {
        let toml = format!("[firmware]\ncode = \"{CODE}\"\nvars_template = \"{VARS}\"\n{toml}");
        fs::write(folder.path().join("vm.toml"), toml).unwrap();
        let Output { status, stdout, stderr } = Command::new("timeout")
            .args(["--signal=KILL", "60"])
            .arg(program())
            .args(["run", "--timeout", "20"])
            .args(arguments)
            .arg("vm.toml")
            .current_dir(folder.path())
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("HOME", folder.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&stdout), "");
        (status.code().unwrap_or(-1), String::from_utf8_lossy(&stderr).into_owned())
    };
    for toml in ["[[disk]]\npath = \"none.img\"\n", "[machine]\nmemroy = \"1G\"\n"] {
        let told = run(toml, &["--headless"]);
        assert_eq!(told.0, 2, "{}", told.1);
        assert_eq!(run(toml, &["--detach", "--log", "log"]), told);
    }
    let nowhere = "with --detach there is no standard input and output that this could lead to";
    for (toml, arguments, status, words) in [
        ("[serial]\noutput = \"stdio\"\n", &["--detach"][..], 2, &["vm.toml:5:10: ", nowhere][..]),
        (
            "[debugcon]\noutput = \"stdio\"\n",
            &["--detach", "--serial", "none"],
            2,
            &["vm.toml:5:10: ", nowhere],
        ),
        ("", &["--detach", "--serial", "stdio"], 2, &["--serial", nowhere]),
        ("", &["--detach", "--control", "off"], 2, &["--control", "nobody could reach"]),
        ("", &["--detach", "--expect", "x"], 2, &["cannot be used with"]),
        ("", &["--detach", "--fail-on", "x"], 2, &["cannot be used with"]),
        ("", &["--detach", "--log", "none/log"], 3, &["none/log"]),
    ] {
        let (code, said) = run(toml, arguments);
        assert_eq!(code, status, "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {said}");
        }
    }
}

/// Whatever it is called: by its own name, another one, or a link.
#[test]
fn outputs_that_are_files_of_the_machine_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["disk.img", "base.img", "table.aml", "item"] {
        fs::write(at(name), [0x5a; 4096]).unwrap();
    }
    fs::copy(VARS, at("vm_VARS.fd")).unwrap();
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", "over.qcow2"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("disk.img", at("symbolic")).unwrap();
    fs::hard_link(at("disk.img"), at("hard")).unwrap();
    let toml = "[firmware]\nvars = \"vm_VARS.fd\"\n[[disk]]\npath = \"disk.img\"\n[[disk]]\npath = \"over.qcow2\"\n\
                backing = \"allow\"\n[[fw_cfg]]\nname = \"opt/a\"\nfile = \"item\"\n";
    let names = ["disk.img", "symbolic", "hard", "base.img", "over.qcow2", "vm_VARS.fd", "vm.toml", "item"];
    let contents = || {
        names[..7]
            .iter()
            .filter(|name| **name != "vm.toml")
            .map(|name| fs::read(at(name)).unwrap())
            .collect::<Vec<_>>()
    };
    let before = contents();
    let refused = |arguments: &[&str]| {
        let (status, said) = run(folder.path(), toml, arguments);
        assert_eq!(status, 2, "{arguments:?}: {said}");
        assert!(said.contains("would overwrite"), "{arguments:?}: {said}");
    };
    for name in names {
        let file = format!("file:{name}");
        refused(&["--serial", &file]);
        refused(&["--serial", "none", "--debugcon", &file]);
        refused(&["--serial", "none", "--events", name]);
        // Pictures have names of their own.
        let picture = format!("{name}.png");
        fs::hard_link(at(name), at(&picture)).unwrap();
        refused(&["--serial", "none", "--screenshot", &picture]);
    }
    fs::write(at("log"), "").unwrap();
    fs::hard_link(at("log"), at("log2")).unwrap();
    refused(&["--serial", "file:log", "--debugcon", "file:log2"]);
    refused(&["--serial", "file:log", "--events", "log2"]);
    refused(&["--serial", "file:new", "--events", "new"]);
    assert!(contents() == before, "a file of the machine was changed");
}

/// Another machine has the socket: what it writes, and what is left of earlier runs, stays.
#[test]
fn a_refused_start_leaves_outputs_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let outputs = ["serial", "debug", "events"];
    let arguments = ["--serial", "file:serial", "--debugcon", "file:debug", "--events", "events"];
    for name in outputs {
        fs::write(at(name), "of the machine that runs").unwrap();
    }
    let unharmed = |what: &str| {
        for name in outputs {
            assert_eq!(fs::read(at(name)).unwrap(), b"of the machine that runs", "{what}: {name}");
        }
    };
    let listener = UnixListener::bind(at("socket")).unwrap();
    let (status, said) = run(folder.path(), "[display]\nvnc = \"unix:socket\"\n", &arguments);
    assert!(status == 3 && said.contains("another program listens there"), "{said}");
    drop(listener);
    unharmed("socket");
    let (status, said) = run(folder.path(), "[[disk]]\npath = \"none.img\"\n", &arguments);
    assert!(status == 2 && said.contains("none.img"), "{said}");
    unharmed("disk");
    // Another machine writes to one of them.
    let other = fs::File::open(at("events")).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (status, said) = run(folder.path(), "", &arguments);
    assert!(status == 3 && said.contains("another program writes to it"), "{said}");
    unharmed("lock");
}

#[test]
fn outputs_are_their_users_alone() {
    let folder = tempfile::tempdir().unwrap();
    // Refused after they were made: nobody reads the FIFO.
    make_fifo(&folder.path().join("fifo"));
    let arguments = ["--serial", "file:serial", "--debugcon", "file:debug", "--events", "fifo"];
    let (status, said) = run(folder.path(), "", &arguments);
    assert!(status == 3 && said.contains("nobody reads this FIFO"), "{said}");
    for name in ["serial", "debug"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
