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
    inspect(&machine()?, "optimus")
}

fn directly() -> Outcome {
    inspect(&machine()?.directly(), "direct")
}

fn inspect(machine: &Machine, name: &str) -> Outcome {
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
    for value in ["Example Ltd", "Model 1", "S-1234", "Type: Notebook"] {
        ensure(smbios.contains(value), format!("dmidecode does not show '{value}':\n{smbios}"))?;
    }
    for trouble in ["<BAD INDEX>", "<OUT OF SPEC>", "Wrong DMI", "Invalid entry", "TRUNCATED"] {
        ensure(!smbios.contains(trouble), format!("dmidecode says '{trouble}':\n{smbios}"))?;
    }

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

fn keep(finished: &Finished, report: &Path, directory: &Path) -> Outcome {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("serial"), &finished.serial)?;
    std::fs::write(directory.join("stderr"), &finished.stderr)?;
    for entry in std::fs::read_dir(report)? {
        let entry = entry?;
        std::fs::copy(entry.path(), directory.join(entry.file_name()))?;
    }
    for (name, source) in report::disassemble(&report.join("acpidump"), &report.join("acpi"))? {
        std::fs::write(directory.join(format!("{name}.dsl")), source)?;
    }
    Ok(())
}
