//! The GPU's video BIOS through `_ROM`, as a driver in the guest gets it, under every release of the firmware.

use tests::lab::{Firmware, call};
use tests::machine::Machine;
use tests::run::{Finished, Options};
use tests::vfio::{Lent, ids};
use tests::{Outcome, vbios};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("vbios_of_a_passed_gpu_under_ovmf_2022_11", 30, of_a_gpu),
    scenario("vbios_above_1_mib_without_a_gpu_under_ovmf_2025_02", 20, without_function),
    scenario("vbios_at_another_function_under_ovmf_2026_08", 25, elsewhere),
    scenario("nouveau_shadows_the_vbios_by_acpi", 35, shadowed),
];

/// 167936 bytes, as those of many laptops.
const ORDINARY: u16 = 328;
/// Some more than 1 MiB, and no multiple of 4 KiB.
const LARGE: u16 = 2_201;

/// A machine whose guest asks the device `of` for a ROM of so many units, all of it and in every unusual way. Keys of
/// `[dgpu]` and further sections follow.
fn machine(firmware: Firmware, of: &str, units: u16, text: &str) -> Outcome<Machine> {
    let mut machine = Machine::new()?.with_firmware(firmware);
    let path = machine.file("vbios.rom");
    let rom = vbios::laptop(0x10de, 0x1c8d, units);
    std::fs::write(&path, &rom)?;
    let path = path.display().to_string();
    let sum = call("sha256sum", &[&path])?;
    let sum = sum.split_whitespace().next().unwrap_or_default();
    let size = rom.len();
    machine.set_words(&format!("test=vrom,power,acpi_log vrom={of} vrom_size={size} vrom_sum={sum}"))?;
    machine.sections = format!("[battery]\nmode = \"full\"\n[dgpu]\nvbios = \"{path}\"\n{text}");
    Ok(machine)
}

/// Everything equal, in memory that the guest leaves alone, and not a word from its ACPI.
fn check(machine: &Machine) -> Outcome<Finished> {
    let finished = machine.run(&Options::default())?;
    for test in ["vrom", "power", "acpi_log"] {
        finished.passed(test)?;
    }
    finished.printed("VROM-MEMORY ACPI Non-volatile Storage\n")?;
    finished.ensure(
        !finished.serial.contains("VROM-MEMORY System RAM"),
        "the guest takes the ROM's memory for its own",
    )?;
    Ok(finished)
}

/// With a GPU of the host, under other IDs: the ROM is for those.
fn of_a_gpu() -> Outcome {
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let [gpu, _] = lent.addresses()[..] else { return Err("the card has two functions".into()) };
    let text = format!(
        "host = \"{gpu}\"\nvendor = \"10de\"\ndevice = \"1c8d\"\nsubsystem = \"17aa:39d1\"\nfunctions = \"all\"\n"
    );
    let finished = check(&machine(Firmware::ALL[1], "0000:01:00.0", ORDINARY, &text)?)?;
    // The battery of guides for laptops, and its adapter.
    for (supply, attribute) in [
        ("BAT0", "type:Battery"),
        ("BAT0", "present:1"),
        ("BAT0", "status:Full"),
        ("BAT0", "technology:Li-ion"),
        ("BAT0", "capacity:100"),
        ("BAT0", "charge_full_design:6000000"),
        ("BAT0", "charge_full:6000000"),
        ("BAT0", "charge_now:6000000"),
        ("BAT0", "voltage_min_design:14800000"),
        ("BAT0", "voltage_now:14800000"),
        ("ADP1", "type:Mains"),
        ("ADP1", "online:1"),
    ] {
        finished.printed(&format!("POWER {supply} {attribute}\n"))?;
    }
    lent.unchanged()
}

/// No function is there: the ACPI device is made, where laptops have it.
fn without_function() -> Outcome {
    check(&machine(Firmware::ALL[2], "\\_SB.PCI0.PEG0.PEGP", LARGE, "")?).map(|_| ())
}

/// On the device of a function that has one already.
fn elsewhere() -> Outcome {
    let text = "guest = \"02:00.0\"\nvendor = \"10de\"\ndevice = \"1c8d\"\n[rng]\naddress = \"02:00.0\"\n";
    let mut machine = machine(Firmware::ALL[3], "0000:02:00.0", ORDINARY, text)?;
    machine.root_ports = ["00:06.0", "00:1c.0"].map(str::to_owned).into();
    check(&machine).map(|_| ())
}

/// nouveau, the driver itself, gets the ROM as it does on a laptop: it tries one source after the other, and takes this
/// one. There it stays, because what follows is the GPU's hardware.
fn shadowed() -> Outcome {
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let [gpu, _] = lent.addresses()[..] else { return Err("the card has two functions".into()) };
    let text = format!("host = \"{gpu}\"\nvendor = \"10de\"\ndevice = \"1c8d\"\nsubsystem = \"17aa:39d1\"\n");
    let mut machine = machine(Firmware::USUAL, "0000:01:00.0", ORDINARY, &text)?.with_tools()?.directly();
    machine.set_words("test=nouveau,acpi_log nouveau=debug=bios=trace")?;
    let finished = machine.run(&Options::default())?;
    finished.passed("nouveau")?;
    finished.passed("acpi_log")?;
    finished.printed("NVIDIA GP107 (137000a1)\n")?;
    let [first, second, third] = vbios::image_sizes(ORDINARY);
    let at = [0, first, first + second];
    for line in [
        format!("{:08x}: type 00, {first} bytes", at[0]),
        format!("{:08x}: type e0, {second} bytes", at[1]),
        format!("{:08x}: type 70, {third} bytes", at[2]),
        // The most that three images can have: all of each was read, and the checksum is right.
        "scored 12".into(),
        "using image from ACPI".into(),
        "BIT signature found".into(),
        format!("version {}", vbios::VERSION),
    ] {
        finished.printed(&format!("nouveau 0000:01:00.0: bios: {line}\n"))?;
    }
    finished.ensure(
        !finished.serial.contains("checksum failed"),
        "nouveau finds a wrong checksum in what it was given",
    )?;
    lent.unchanged()
}
