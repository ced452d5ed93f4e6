//! A graphics card of two functions, in the disguise of a laptop's GPU.

use std::path::Path;

use regex::Regex;
use tests::image;
use tests::machine::{Format, Machine};
use tests::passthrough::{Gpu, Passthrough, Rom};
use tests::run::Options;
use tests::vfio::{HostFunction, Lent, ids};
use tests::{Outcome, ensure, report};

use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("gpu_with_spoofed_ids_and_no_rom", 45, no_rom),
    scenario("gpu_with_the_hosts_rom", 45, host_rom),
    scenario("gpu_with_a_rom_of_a_file", 45, file_rom),
    scenario("gpu_alone_has_one_function", 25, alone),
    scenario("gpu_looks_as_with_the_peer", 140, side_by_side),
];

/// An NVIDIA GeForce GTX 1050 Mobile as Lenovo built it in.
pub(super) const SPOOFED: [u16; 4] = [0x10de, 0x1c8d, 0x17aa, 0x39d1];

/// The card with both functions.
pub(super) fn card(lent: &Lent, rom: Rom) -> Outcome<Passthrough> {
    let [gpu, others @ ..] = lent
        .addresses()
        .try_into()
        .map(|both: [&str; 2]| both.map(str::to_owned))
        .map_err(|_| "the card has two functions")?;
    Ok(Passthrough {
        gpu: Some(Gpu { host: gpu, others: others.into(), ids: Some(SPOOFED), rom, manage: false }),
        functions: Vec::new(),
    })
}

/// Runs the guest with the card and gives what its test of the ROM printed.
fn with_rom(lent: &Lent, rom: Rom) -> Outcome<String> {
    let machine =
        Machine::small("test=pci,rom rom=0000:01:00.0")?.directly().with_passthrough(card(lent, rom)?);
    let finished = machine.run(&Options::default().within(200))?;
    finished.passed("pci")?;
    finished.passed("rom")?;
    finished.printed("PCI 0000:01:00.0 0x10de 0x1c8d 0x17aa 0x39d1 0x030000")?;
    let audio = HostFunction::find(ids::AUDIO)?;
    let id = |name: &str| std::fs::read_to_string(audio.path().join(name)).map(|text| text.trim().to_owned());
    finished.printed(&format!(
        "PCI 0000:01:00.1 0x8086 0x2668 {} {} 0x040300",
        id("subsystem_vendor")?,
        id("subsystem_device")?
    ))?;
    // The GPU's parent is where laptops have it.
    finished.printed("PCI 0000:00:01.0 ")?;
    lent.unchanged()?;
    let printed = finished.serial.lines().find_map(|line| line.trim().strip_prefix("ROM "));
    Ok(printed.ok_or_else(|| finished.failure("the guest said nothing of the ROM"))?.to_owned())
}

fn no_rom() -> Outcome {
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let found = with_rom(&lent, Rom::Off)?;
    ensure(found == "none", format!("there should be no ROM, but the guest found: {found}"))
}

fn host_rom() -> Outcome {
    let rom = HostFunction::find(ids::GPU)?.rom()?;
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let found = with_rom(&lent, Rom::Host)?;
    // The IDs in its PCI data structure follow those of the function, so the bytes are not all the same.
    let expected = format!("{} bytes ", rom.len());
    ensure(found.starts_with(&expected), format!("the host's ROM has {expected}, the guest's: {found}"))
}

fn file_rom() -> Outcome {
    let mut rom = HostFunction::find(ids::GPU)?.rom()?;
    // Another build of it, with the right checksum: one that the device does not have itself.
    let Some([.., other, last]) = rom.get_mut(..) else { return Err("the GPU has no ROM".into()) };
    (*other, *last) = (other.wrapping_sub(0x5a), last.wrapping_add(0x5a));
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("gpu.rom");
    std::fs::write(&path, &rom)?;
    let digest = tests::lab::call("sha256sum", &[&path])?;
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let found = with_rom(&lent, Rom::File(path))?;
    let expected = format!("{} bytes {}", rom.len(), digest.split(' ').next().unwrap_or_default());
    ensure(found == expected, format!("the file has {expected}, the guest found {found}"))
}

fn alone() -> Outcome {
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let mut card = card(&lent, Rom::Off)?;
    if let Some(gpu) = &mut card.gpu {
        gpu.others.clear();
    }
    let machine = Machine::small("test=pci")?.directly().with_passthrough(card);
    let finished = machine.run(&Options::default().within(200))?;
    finished.passed("pci")?;
    finished.printed("PCI 0000:01:00.0 0x10de 0x1c8d 0x17aa 0x39d1 0x030000")?;
    finished.ensure(!finished.serial.contains("PCI 0000:01:00.1"), "there should be no second function")?;
    lent.unchanged()
}

/// What may differ between lspci's reports of a function, and why.
struct Difference {
    /// Lines of text: what is taken out before they are compared.
    text: &'static str,
    /// Bytes of configuration space that are not compared.
    bytes: std::ops::Range<usize>,
}

/// The reasons are in `docs/q35-differences.md`.
const DIFFERENCES: &[Difference] = &[
    // The firmware places BARs by the sizes of the windows and by what else there is.
    Difference { text: r"(?:at|ports at) [0-9a-f]{4,16}", bytes: 0x10..0x28 },
    Difference { text: r"Expansion ROM at [0-9a-f]{4,8}", bytes: 0x30..0x34 },
    // The interrupt controller's input, and the firmware's note of it.
    Difference { text: r"routed to IRQ \d+", bytes: 0x3c..0x3d },
    // The peer's port has hot-plug, whose driver names the slot.
    Difference { text: r"^\s*Physical Slot: \d+$", bytes: 0..0 },
    // The peer marks function 0 alone as one of several; ours marks each, as devices do.
    Difference { text: "^$", bytes: 0x0e..0x0f },
    // Groups are those of a guest with an IOMMU; there is none.
    Difference { text: r"IOMMU group: \d+", bytes: 0..0 },
];

/// lspci's report of one function: the text without what may differ, and the bytes.
fn function_of(report: &str, slot: &str) -> Outcome<(Vec<String>, Vec<Option<u8>>)> {
    let block = report.split("\n\n").find(|block| block.trim_start().starts_with(slot));
    let block = block.ok_or_else(|| format!("lspci does not show {slot}:\n{report}"))?;
    let dump = Regex::new("^([0-9a-f]{2,3}): ((?:[0-9a-f]{2} ?)+)$")?;
    let (mut text, mut bytes) = (Vec::new(), Vec::new());
    for line in block.trim().lines() {
        if let Some(groups) = dump.captures(line) {
            bytes.extend(groups[2].split(' ').map(|byte| u8::from_str_radix(byte, 16).ok()));
        } else {
            let mut line = line.to_owned();
            for each in DIFFERENCES {
                line = Regex::new(each.text)?.replace_all(&line, "(differs)").into_owned();
            }
            // What differs from end to end may be missing on one side.
            if line != "(differs)" {
                text.push(line);
            }
        }
    }
    for each in DIFFERENCES {
        for byte in bytes.get_mut(each.bytes.clone()).into_iter().flatten() {
            *byte = None;
        }
    }
    Ok((text, bytes))
}

fn side_by_side() -> Outcome {
    let lent = Lent::take(&[ids::GPU, ids::AUDIO])?;
    let (mut reports, mut complaints) = (Vec::new(), Vec::new());
    for options in [Options::default(), Options::peer()] {
        let machine = Machine::small("test=report")?.with_tools()?.with_passthrough(card(&lent, Rom::Host)?);
        let disk = image::empty(&machine.file("report.img"), Format::Raw, 16, "report")?;
        let machine = machine.with_disk(disk);
        let finished = machine.run(&options.within(250))?;
        finished.passed("report")?;
        lent.unchanged()?;
        report::unpack(&machine.file("report.img"), &machine.file("report"))?;
        let directory = machine.file("report");
        let log = std::fs::read_to_string(directory.join("kernel-log"))?;
        complaints.push(report::complaints(&log));
        let lspci = std::fs::read_to_string(directory.join("lspci"))?;
        keep(&lspci, reports.len())?;
        reports.push(lspci);
    }
    // OVMF leaves the value there by which it sized the ROM's BAR, and Linux complains of it, with either hypervisor.
    ensure(
        complaints.iter().skip(1).all(|peers| complaints.first() == Some(peers)),
        format!("the kernel's complaints differ: {complaints:#?}"),
    )?;
    let [ours, peer] = reports.as_slice() else { return Err("two reports are needed".into()) };
    let mut wrong = Vec::new();
    for slot in ["01:00.0", "01:00.1"] {
        let (ours, peer) = (function_of(ours, slot)?, function_of(peer, slot)?);
        wrong.extend(
            ours.0.iter().filter(|line| !peer.0.contains(line)).map(|line| format!("{slot} ours: {line}")),
        );
        wrong.extend(
            peer.0.iter().filter(|line| !ours.0.contains(line)).map(|line| format!("{slot} peer: {line}")),
        );
        ensure(ours.1.len() == peer.1.len(), format!("{slot}: {} and {} bytes", ours.1.len(), peer.1.len()))?;
        for (offset, (ours, peer)) in ours.1.iter().zip(&peer.1).enumerate() {
            if ours != peer {
                wrong.push(format!("{slot} byte {offset:#05x}: ours {ours:02x?}, peer {peer:02x?}"));
            }
        }
    }
    ensure(wrong.is_empty(), format!("lspci shows differences without a reason:\n{}", wrong.join("\n")))
}

/// With `OPTIMUS_E2E_OUT=DIRECTORY` the reports are kept.
fn keep(lspci: &str, index: usize) -> Outcome {
    if let Some(kept) = std::env::var_os("OPTIMUS_E2E_OUT") {
        let directory = Path::new(&kept).join(["optimus", "peer"].get(index).unwrap_or(&"other"));
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("lspci-gpu"), lspci)?;
    }
    Ok(())
}
