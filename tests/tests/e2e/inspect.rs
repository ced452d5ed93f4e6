//! What dmidecode, lspci, acpidump with iasl and the kernel's log say of the machine.
//!
//! With `OPTIMUS_E2E_OUT=DIRECTORY` everything is kept there, with the same from the peer, QEMU's q35: the
//! source of `docs/q35-differences.md`; and with the same from a kernel that starts without firmware.

use std::path::{Path, PathBuf};

use tests::machine::Machine;
use tests::run::{Finished, Options};
use tests::{Outcome, ensure, image, machine::Format, report};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("tables_and_devices_raise_no_complaint", 90, by_firmware),
    scenario("direct_tables_and_devices_raise_no_complaint", 60, directly),
];

/// The machine, the same for the peer: with a slot of two root ports.
fn machine() -> Outcome<Machine> {
    let mut machine = Machine::small("test=report")?.with_tools()?.with_topology(1, 2, 1);
    let disk = image::empty(&machine.file("report.img"), Format::Raw, 16, "report")?;
    machine.root_ports = ["00:01.0", "00:01.1"].map(str::to_owned).into();
    machine.sections = concat!(
        "[smbios]\nmanufacturer = \"Example Ltd\"\nproduct = \"Model 1\"\nserial = \"S-1234\"\n",
        "chassis_type = \"notebook\"\n"
    )
    .into();
    Ok(machine.with_disk(disk))
}

/// Where reports are kept.
fn kept() -> Option<PathBuf> {
    std::env::var_os("OPTIMUS_E2E_OUT").map(PathBuf::from)
}

fn by_firmware() -> Outcome {
    if let Some(kept) = kept() {
        let machine = machine()?;
        let peer = machine.run(&Options::peer().within(300))?;
        report::unpack(&machine.file("report.img"), &machine.file("report"))?;
        keep(&peer, &machine.file("report"), &kept.join("peer"))?;
    }
    inspect(&machine()?, "optimus", |report, smbios| {
        for value in ["Example Ltd", "Model 1", "S-1234", "Type: Notebook"] {
            ensure(smbios.contains(value), format!("dmidecode does not show '{value}':\n{smbios}"))?;
        }
        no_emulator(
            report,
            &["dmi-tables", "dmidecode", "identity", "disks", "lspci"],
            &["QEMU0001", "QEMU0002"],
        )
    })
}

/// Without what is QEMU's by name, and as the lab's host, which says that it is QEMU's.
fn directly() -> Outcome {
    let mut machine = machine()?.directly().with_key("pvpanic = false").with_key("fw_cfg_device = false");
    let identity =
        "mirror_host = true\nmirror_serials = true\nserial = \"S-1234\"\nchassis_type = \"notebook\"\n";
    machine.sections = format!("[smbios]\n{identity}");
    inspect(&machine, "direct", |report, smbios| {
        for value in ["Serial Number: S-1234", "Type: Notebook"] {
            ensure(smbios.contains(value), format!("dmidecode does not show '{value}':\n{smbios}"))?;
        }
        mirrored(report)?;
        no_emulator(report, &["disks", "lspci"], &[])
    })
}

/// The names of the host, but for those that the configuration has, as Linux shows them here and in the guest.
fn mirrored(report: &Path) -> Outcome {
    let guest = std::fs::read_to_string(report.join("identity"))?;
    let mut compared = 0;
    for file in [
        "bios_date",
        "bios_vendor",
        "bios_version",
        "board_name",
        "board_serial",
        "board_vendor",
        "board_version",
        "chassis_serial",
        "chassis_vendor",
        "chassis_version",
        "product_family",
        "product_name",
        "product_sku",
        "product_uuid",
        "product_version",
        "sys_vendor",
    ] {
        let host = std::fs::read_to_string(Path::new("/sys/class/dmi/id").join(file)).unwrap_or_default();
        if !host.trim().is_empty() {
            let shown = guest.lines().any(|line| line.ends_with(&format!("/{file}:{}", host.trim())));
            ensure(shown, format!("the guest's {file} is not the host's '{}':\n{guest}", host.trim()))?;
            compared += 1;
        }
    }
    ensure(compared > 5, format!("the host has only {compared} names to compare"))
}

fn inspect(machine: &Machine, name: &str, identity: impl Fn(&Path, &str) -> Outcome) -> Outcome {
    let finished = machine.run(&Options::default().within(300))?;
    let report = machine.file("report");
    report::unpack(&machine.file("report.img"), &report)?;
    // Kept before it is judged.
    if let Some(kept) = kept() {
        keep(&finished, &report, &kept.join(name))?;
    }
    finished.passed("report")?;

    let complaints = report::complaints(&std::fs::read_to_string(report.join("kernel-log"))?);
    ensure(complaints.is_empty(), format!("the kernel complains:\n{}", complaints.join("\n")))?;

    let smbios = std::fs::read_to_string(report.join("dmidecode"))?;
    for trouble in ["<BAD INDEX>", "<OUT OF SPEC>", "Wrong DMI", "Invalid entry", "TRUNCATED"] {
        ensure(!smbios.contains(trouble), format!("dmidecode says '{trouble}':\n{smbios}"))?;
    }

    board(&report, &smbios, machine)?;
    identity(&report, &smbios)?;

    let devices = std::fs::read_to_string(report.join("lspci"))?;
    for id in ["8086:29c0", "8086:2918", "1af4:1042", "1af4:1044"] {
        ensure(devices.contains(&format!("[{id}]")), format!("lspci does not show {id}:\n{devices}"))?;
    }
    for trouble in ["<chain broken>", "!!!", "<access denied>", "Unknown header type"] {
        ensure(!devices.contains(trouble), format!("lspci says '{trouble}':\n{devices}"))?;
    }

    let directory = machine.file("acpi");
    let tables = report::disassemble(&report.join("acpidump"), &directory)?;
    let names: Vec<_> = tables.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["APIC", "DSDT", "FACP", "FACS", "MCFG", "WAET"] {
        ensure(names.contains(&name), format!("there is no ACPI table {name}: {names:?}"))?;
    }
    for (name, source) in &tables {
        let lines = report::recompile(source, &directory)?;
        ensure(lines.is_empty(), format!("iasl on {name}:\n{}\n{source}", lines.join("\n")))?;
    }
    Ok(())
}

/// Caches as the processors tell of them, the slots of the root ports, and the temperature of a notebook, by Linux's drivers.
fn board(report: &Path, smbios: &str, machine: &Machine) -> Outcome {
    let values = |title, key| report::dmi_values(smbios, title, key);
    let levels = values("Cache Information", "Configuration");
    let levels = levels.iter().filter_map(|text| text.rsplit_once("Level ")?.1.parse::<u8>().ok());
    let sizes = values("Cache Information", "Installed Size");
    let sizes = sizes.iter().filter_map(|text| match text.split_once(' ')? {
        (size, "kB") => size.parse::<u64>().ok(),
        (size, "MB") => Some(size.parse::<u64>().ok()? * 1024),
        _ => None,
    });
    let told: Vec<(u8, u64)> = levels.zip(sizes).collect();
    let caches = report::caches(&std::fs::read_to_string(report.join("caches"))?);
    // Who shares the L3 of AMD's family 17h, Linux takes from APIC IDs and not from CPUID: it may find one where there are two.
    let same = |(level, size): &(u8, u64)| {
        caches.get(level).is_some_and(|found| size == found || *level == 3 && *size == found * 2)
    };
    ensure(
        told.len() == caches.len() && told.iter().all(same),
        format!("Linux finds the caches {caches:?} (KiB by level), SMBIOS says {told:?}"),
    )?;

    let ports: Vec<String> = machine.root_ports.iter().map(|port| format!("0000:{port}")).collect();
    let slots = values("System Slot Information", "Bus Address");
    ensure(slots == ports, format!("the root ports are {ports:?}, the slots {slots:?}"))?;
    let connectors = values("Port Connector Information", "External Reference Designator");
    ensure(connectors == ["COM1", "Keyboard", "Mouse"], format!("{connectors:?}"))?;

    let probe = values("Temperature Probe", "Nominal Value");
    ensure(probe == ["50.0 deg C"], format!("the temperature probe says {probe:?}"))?;
    let thermal = std::fs::read_to_string(report.join("thermal"))?;
    for line in ["type:acpitz", "temp:50000", "trip_point_0_type:critical", "trip_point_0_temp:105000"] {
        let there = thermal.lines().any(|have| have.ends_with(&format!("/thermal_zone0/{line}")));
        ensure(there, format!("the thermal zone does not have {line}:\n{thermal}"))?;
    }
    ensure(!thermal.contains("trip_point_1"), format!("the thermal zone has more trip points:\n{thermal}"))
}

/// Nothing names the emulators that guests look for, but the ids by which drivers find fw_cfg and pvpanic, and virtio's subsystem.
fn no_emulator(report: &Path, files: &[&str], allowed: &[&str]) -> Outcome {
    let mut files: Vec<PathBuf> = files.iter().map(|name| report.join(name)).collect();
    for table in std::fs::read_dir(report.join("acpi-tables"))? {
        files.push(table?.path());
    }
    ensure(files.len() > 6, format!("the guest has left only {files:?}"))?;
    let mut ids = 0;
    for file in files {
        let mut content = std::fs::read(&file)?;
        ensure(!content.is_empty(), format!("{} is empty", file.display()))?;
        if file.ends_with("lspci") {
            // virtio's drivers for Windows ask for its subsystem.
            let text = String::from_utf8_lossy(&content);
            let others = text.split("\n\n").filter(|function| !function.contains("[1af4:10"));
            content = others.collect::<String>().into_bytes();
        }
        for text in report::emulators(&content) {
            let known = file.ends_with("DSDT") && allowed.contains(&text.as_str());
            ensure(known, format!("{} says '{text}'", file.display()))?;
            ids += 1;
        }
    }
    ensure(ids == allowed.len(), format!("of {allowed:?} the DSDT has {ids}"))
}

fn keep(finished: &Finished, report: &Path, directory: &Path) -> Outcome {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("serial"), &finished.serial)?;
    std::fs::write(directory.join("stderr"), &finished.stderr)?;
    // Its folders have the tables as they are, which are kept as sources below.
    for entry in std::fs::read_dir(report)?.flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), directory.join(entry.file_name()))?;
    }
    for (name, source) in report::disassemble(&report.join("acpidump"), &report.join("acpi"))? {
        std::fs::write(directory.join(format!("{name}.dsl")), source)?;
    }
    Ok(())
}
