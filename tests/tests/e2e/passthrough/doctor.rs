//! The doctor on a host with a real IOMMU: what it says is done, word by word, and then a machine runs that did not before, by a vm.toml that
//! `init` has written. Before that the host is set up for good and that is undone, and devices are bound and released.

use std::path::Path;

use serde_json::Value;
use tests::lab::Firmware;
use tests::machine::Machine;
use tests::passthrough::{Gpu, Passthrough, Rom};
use tests::run::Options;
use tests::vfio::{HostFunction, ids};
use tests::{Outcome, binary, ensure, toml};

use super::gpu::SPOOFED;
use crate::{Scenario, elsewhere, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("doctor_leads_to_a_run", 70, to_a_run),
    elsewhere("doctor_tells_that_interrupts_are_not_remapped", 10, "unsafe", not_remapped),
    elsewhere("doctor_tells_that_the_iommu_is_off", 10, "off", no_iommu),
];

/// The doctor's status, and its report as JSON.
fn doctor(arguments: &[&str]) -> Outcome<(i32, Value)> {
    let output = std::process::Command::new(binary::path()?)
        .args(["doctor", "--json", "--patience", "60"])
        .args(arguments)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text)
        .map_err(|error| format!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.code().unwrap_or(-1), report))
}

/// What the findings of this name say, in one text.
fn said(report: &Value, id: &str, severity: &str) -> String {
    let findings = report["findings"].as_array().into_iter().flatten();
    let of_id = findings.filter(|finding| finding["id"] == id && finding["severity"] == severity);
    of_id.map(|finding| format!("{}\n{}\n", finding["found"], finding["fix"])).collect()
}

/// The commands between backticks of all that stands in the way of the machine.
fn commands(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let blocking = findings.filter(|finding| finding["id"] == "vm-toml" && finding["severity"] == "blocks");
    blocking
        .filter_map(|finding| finding["fix"].as_str())
        .flat_map(|fix| fix.split('`').skip(1).step_by(2).filter(|quoted| quoted.contains("sudo ")))
        .map(str::to_owned)
        .collect()
}

/// What `optimus-vmm host` prints, which must succeed.
fn host(arguments: &[&str]) -> Outcome<String> {
    tests::lab::call(&binary::path()?.to_string_lossy(), &[&["host"][..], arguments].concat())
}

/// All files of the host's configuration, with permissions and contents.
fn configuration() -> Outcome<String> {
    tests::lab::call(
        "sh",
        &[
            "-c",
            "cd /etc && find . -printf '%p %m %u %g %y %l\\n' | sort && find . -type f -exec sha256sum {} + | sort",
        ],
    )
}

/// The host is set up for the machine of this file, all of it is there, and all of it goes.
fn set_up_and_undone(config: &str, functions: &[HostFunction]) -> Outcome {
    // What earlier scenarios left beside.
    let before = configuration()?;
    let done = host(&["setup", config, "--yes", "--group", "root"])?;
    let modprobe = std::fs::read_to_string("/etc/modprobe.d/optimus-vmm-setup.conf")?;
    for (vendor, device) in [ids::GPU, ids::AUDIO] {
        ensure(modprobe.contains(&format!("{vendor:04x}:{device:04x}")), format!("{modprobe}{done}"))?;
    }
    // kmod understands it.
    let known = tests::lab::call("modprobe", &["--showconfig"])?;
    ensure(known.contains("softdep snd_hda_intel pre: vfio-pci"), known)?;
    let again = host(&["setup", config, "--yes", "--group", "root"])?;
    ensure(again.contains("everything is set up already"), again)?;
    let status: Value =
        serde_json::from_str(&host(&["status", "--json"])?).map_err(|error| error.to_string())?;
    ensure(
        status["setup"] == "complete" && status["lent"] == Value::Array(Vec::new()),
        format!("{status:#}"),
    )?;
    let undone = host(&["undo"])?;
    ensure(undone.contains("removed: /etc/modprobe.d/optimus-vmm-setup.conf"), undone)?;
    ensure(configuration()? == before, "the host's configuration is not as before")?;

    // For the moment, the functions together.
    let names: Vec<&str> = functions.iter().map(|function| function.address.as_str()).collect();
    let bound = host(&[&["bind"][..], &names].concat())?;
    ensure(names.iter().all(|name| bound.contains(name)), bound)?;
    let status: Value =
        serde_json::from_str(&host(&["status", "--json"])?).map_err(|error| error.to_string())?;
    let lent = status["lent"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure(lent.len() == 2 && lent.iter().all(|lent| lent["by"] == "host bind"), format!("{status:#}"))?;
    ensure(functions.iter().all(|function| function.driver().as_deref() == Some("vfio-pci")), "not bound")?;
    host(&["release", names[0]])?;
    ensure(functions.iter().all(|function| function.driver().is_none()), "not released")
}

fn to_a_run() -> Outcome {
    let functions = [HostFunction::find(ids::GPU)?, HostFunction::find(ids::AUDIO)?];
    for function in &functions {
        function.bind(None)?;
    }
    let [gpu, audio] = &functions;
    let machine = Machine::small("test=pci after=halt")?.directly().with_passthrough(Passthrough {
        gpu: Some(Gpu {
            host: gpu.address.clone(),
            others: vec![audio.address.clone()],
            ids: Some(SPOOFED),
            rom: Rom::Off,
            manage: false,
        }),
        functions: Vec::new(),
    });
    let path = machine.file("doctor.toml");
    std::fs::write(&path, toml::of(&machine))?;
    let name = path.display().to_string();
    let before: Vec<_> = functions.iter().map(HostFunction::driver).collect();
    let (status, sick) = doctor(&[&name])?;
    ensure(status == 3, format!("status {status} while nothing is bound: {sick:#}"))?;
    let told = said(&sick, "vm-toml", "blocks");
    for function in &functions {
        let word = format!("{} is without driver, not bound to vfio-pci", function.address);
        ensure(told.contains(&word), format!("'{word}' is not in {told}"))?;
    }
    let now: Vec<_> = functions.iter().map(HostFunction::driver).collect();
    ensure(now == before, "the doctor has changed a driver")?;
    set_up_and_undone(&name, &functions)?;
    for id in ["iommu", "interrupt-remapping", "kvm", "virtualization"] {
        ensure(!said(&sick, id, "ok").is_empty(), format!("{id} is not ok: {sick:#}"))?;
    }
    ensure(said(&sick, "gpu-group", "ok").contains(&gpu.address), format!("the group: {sick:#}"))?;

    let commands = commands(&sick);
    ensure(commands.len() == 2, format!("{commands:?}"))?;
    for command in commands {
        // The lab is root and has no sudo.
        tests::lab::call("sh", &["-ec", &command.replace("sudo ", "")])?;
    }
    let (status, well) = doctor(&[&name])?;
    ensure(status == 0, format!("status {status} after what it said was done: {well:#}"))?;
    ensure(said(&well, "gpu-driver", "ok").contains("vfio-pci has the GPU"), format!("{well:#}"))?;

    let config = begun(&machine, &gpu.address)?;
    let name = config.display().to_string();
    let kernel = machine.kernel.as_ref().ok_or("the machine has a kernel")?;
    let initrd = kernel.initrd.as_ref().ok_or("the kernel has an initrd")?;
    let files = [kernel.image.display().to_string(), initrd.display().to_string()];
    let words = ["--direct", "--kernel", &files[0], "--initrd", &files[1], "--append", &kernel.cmdline];
    let mut running = machine.start(&Options::default().within(300).of_file(&config).with(words))?;
    running.expect("L2-TEST-PASSED pci")?;
    // Its own process is named as the one that has the GPU.
    let (status, held) = doctor(&[&name])?;
    ensure(status == 3, format!("status {status} while a machine has the GPU: {held:#}"))?;
    let who = said(&held, "gpu-users", "blocks");
    ensure(who.contains("optimus-vmm (process "), format!("who has the GPU: {who}"))?;
    let finished = running.kill()?;
    finished.printed("PCI 0000:01:00.0 0x1002 0x5046")?;
    for function in &functions {
        function.bind(None)?;
    }
    Ok(())
}

/// What `init` says.
fn init(arguments: &[&str]) -> Outcome<String> {
    tests::lab::call(&binary::path()?.display().to_string(), &[&["init", "--yes"], arguments].concat())
}

/// The command that comes next, without the program's name.
fn next(said: &str) -> Outcome<Vec<String>> {
    let line = said.lines().find_map(|line| line.strip_prefix("Next: `optimus-vmm "));
    let command =
        line.and_then(|rest| rest.split('`').next()).ok_or_else(|| format!("what comes next: {said}"))?;
    Ok(command.split(' ').map(str::to_owned).collect())
}

/// Writes a vm.toml for the GPU, which is bound, in a laptop that lacks the firmware at first, and does what is said until it can run.
fn begun(machine: &Machine, gpu: &str) -> Outcome<std::path::PathBuf> {
    let config = machine.file("laptop.toml");
    let name = config.display().to_string();
    let arguments = [&name, "--gpu", gpu, "--os", "linux", "--disk-size", "64M", "--patience", "60"];
    let said = init(&arguments)?;
    ensure(next(&said)? == ["doctor", &name], format!("without firmware the doctor is next: {said}"))?;
    let text = std::fs::read_to_string(&config)?;
    for line in [&format!("host = \"{gpu}\""), "manage = false", "os = \"linux\"", "backend = \"user\""] {
        ensure(text.lines().any(|other| other == line), format!("'{line}' is not in {text}"))?;
    }
    let disk = std::fs::metadata(machine.file("laptop.raw"))?;
    ensure(disk.len() == 64 << 20, format!("a disk of {} bytes", disk.len()))?;
    let (status, report) = doctor(&[&name])?;
    let told = self::said(&report, "vm-toml", "blocks");
    ensure(
        status == 3 && told.contains("apt install ovmf"),
        format!("status {status} without firmware: {told}"),
    )?;
    // As the package does.
    let place = Path::new("/usr/share/OVMF");
    std::fs::create_dir_all(place)?;
    std::fs::copy(Firmware::USUAL.code(), place.join("OVMF_CODE_4M.fd"))?;
    std::fs::copy(Firmware::USUAL.vars(), place.join("OVMF_VARS_4M.fd"))?;
    let (status, report) = doctor(&[&name])?;
    ensure(status == 0, format!("status {status} with firmware: {report:#}"))?;
    // A second time the run is next; what there is, is kept.
    let refused = init(&arguments);
    ensure(refused.is_err(), format!("the file was replaced without --force: {refused:?}"))?;
    let said = init(&[&name, "--force", "--gpu", gpu, "--os", "linux", "--patience", "60"])?;
    ensure(next(&said)? == ["run", &name], format!("the run is next: {said}"))?;
    ensure(said.contains("a disk that exists"), said)?;
    Ok(config)
}

fn not_remapped() -> Outcome {
    let (status, report) = doctor(&[])?;
    ensure(status == 3, format!("status {status}: {report:#}"))?;
    let told = said(&report, "interrupt-remapping", "blocks");
    ensure(told.contains("interrupts are not remapped") && told.contains("allow_unsafe_interrupts=1"), told)
}

fn no_iommu() -> Outcome {
    let (status, report) = doctor(&[])?;
    ensure(status == 3, format!("status {status}: {report:#}"))?;
    let told = said(&report, "iommu", "blocks");
    ensure(told.contains("IOMMU"), format!("{report:#}"))
}
