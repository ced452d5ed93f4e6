//! The GPU's video BIOS through `_ROM`, as a driver in the guest gets it, under every release of the firmware.

use std::process::Command;

use regex::Regex;
use serde_json::Value;
use tests::lab::{Firmware, call};
use tests::machine::Machine;
use tests::run::{Finished, Options};
use tests::vfio::{Lent, ids};
use tests::{Outcome, binary, ensure, vbios};

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
    machine.set_words(&format!("test=vrom,power,pci,acpi_log vrom={of} vrom_size={size} vrom_sum={sum}"))?;
    machine.sections = format!("[battery]\nmode = \"full\"\n[dgpu]\nvbios = \"{path}\"\n{text}");
    Ok(machine)
}

/// Everything equal, in memory that the guest leaves alone, and not a word from its ACPI.
fn check(machine: &Machine) -> Outcome<Finished> {
    judge(machine.run(&Options::default())?)
}

fn judge(finished: Finished) -> Outcome<Finished> {
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

/// What `explain code43` says in JSON, and its exit status.
fn explained(of: &str, arguments: &[&str]) -> Outcome<(Value, Option<i32>)> {
    let output =
        Command::new(binary::path()?).args(["explain", "code43", "--json", of]).args(arguments).output()?;
    let told = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!("explain code43 {of} says {error}: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok((told, output.status.code()))
}

/// The conditions that do not hold, each with its state.
fn doubtful(told: &Value) -> Vec<String> {
    let conditions = told["conditions"].as_array().into_iter().flatten();
    let states = conditions.map(|told| (&told["id"], &told["state"])).filter(|(_, state)| *state != "ok");
    states
        .map(|(id, state)| format!("{} {}", id.as_str().unwrap_or("?"), state.as_str().unwrap_or("?")))
        .collect()
}

/// What was found of one condition.
fn found<'a>(told: &'a Value, id: &str) -> &'a str {
    let mut conditions = told["conditions"].as_array().into_iter().flatten();
    conditions.find(|told| told["id"] == id).and_then(|told| told["found"].as_str()).unwrap_or_default()
}

/// Compares what `explain code43` says of the machine, planned and running, with how it is. The stand-in for the GPU is another one, which
/// its owner would be told.
fn explain(machine: &Machine) -> Outcome<Value> {
    let stand_in = ["device-id warning", "subsystem warning", "hypervisor warning"];
    let config = machine.file("vm.toml").display().to_string();
    let mut running = Value::Null;
    for of in [config.as_str(), "machine"] {
        let (told, status) = explained(of, &[])?;
        ensure(
            doubtful(&told) == stand_in && status == Some(0),
            format!("explain code43 {of} ends with {status:?} and says {told:#}"),
        )?;
        // KVM shows itself, and nobody has said that the guest is Linux.
        let (old, status) = explained(of, &["--driver", "442.92"])?;
        ensure(
            doubtful(&old).contains(&"hypervisor fails".into()) && status == Some(1),
            format!("explain code43 {of} --driver 442.92 ends with {status:?} and says {old:#}"),
        )?;
        running = told;
    }
    ensure(running["running"] == true, "the second is of the running machine")?;
    let place = found(&running, "place");
    ensure(
        place == "01:00.0 behind the root port 00:01.0 (8086:1901)",
        format!("the running machine has the GPU {place}"),
    )?;
    Ok(running)
}

/// Requires that each memory BAR of the GPU is where the guest's system has it.
fn compare_bars(told: &Value, finished: &Finished) -> Outcome {
    let bars = Regex::new(r"BAR(\d) \([0-9A-Z]+\) at (0x[0-9a-f]+)")?;
    let told = found(told, "bars");
    let mut compared = 0;
    for bar in bars.captures_iter(told) {
        let address = u64::from_str_radix(bar[2].trim_start_matches("0x"), 16)?;
        // Lines of `resource` count from 1.
        let line = bar[1].parse::<u32>()? + 1;
        finished.printed(&format!("BAR 0000:01:00.0 {line}:{address:#018x} "))?;
        compared += 1;
    }
    finished.ensure(compared >= 2, format!("explain code43 tells of {compared} memory BARs: {told}"))
}

/// With a GPU of the host, under other IDs: the ROM is for those. What is told of the machine meanwhile is so.
fn of_a_gpu() -> Outcome {
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let [gpu, _] = lent.addresses()[..] else { return Err("the card has two functions".into()) };
    let text = format!(
        "host = \"{gpu}\"\nvendor = \"10de\"\ndevice = \"1c8d\"\nsubsystem = \"17aa:39d1\"\nfunctions = \"all\"\n"
    );
    let mut machine = machine(Firmware::ALL[1], "0000:01:00.0", ORDINARY, &text)?;
    machine.cpu_keys = vec!["hide_hypervisor = false".into()];
    let mut running = machine.start(&Options::default())?;
    running.expect("L2-USERSPACE-UP")?;
    let program = binary::path()?.display().to_string();
    // So that it does not end meanwhile.
    call(&program, &["ctl", "machine", "pause"])?;
    let told = explain(&machine);
    call(&program, &["ctl", "machine", "resume"])?;
    let (told, finished) = (told?, judge(running.wait()?)?);
    compare_bars(&told, &finished)?;
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
