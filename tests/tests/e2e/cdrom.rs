//! CD drives and the order of booting: OVMF boots from discs and from disks on each bus, and Linux' driver sees discs change.

use std::path::Path;
use std::process::Command;

use tests::image;
use tests::machine::{Bus, Machine};
use tests::run::{Options, ctl};
use tests::{Outcome, ensure, program};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("cdrom_and_disks_boot_through_ovmf", 60, boots),
    scenario("cdrom_changes_discs_under_linux", 60, changes),
];

/// A section for a drive.
fn drive(disc: &Path, more: &str) -> String {
    format!("[[cdrom]]\npath = \"{}\"\n{more}", disc.display())
}

/// One after the other, since each that is started but the last one fails: disks on all buses, one of them with sectors of 4096 bytes, a
/// disc by genisoimage in the second drive, and in the first one a disc as distributions make theirs, whose GRUB starts Linux.
fn boots() -> Outcome {
    let mut machine = Machine::new()?;
    let disks = [
        ("virtio", Bus::Virtio, 512),
        ("nvme", Bus::Nvme, 512),
        ("sata", Bus::Sata, 512),
        ("4kn", Bus::Sata, 4096),
    ];
    for (place, (name, bus, sector)) in (0..).zip(disks) {
        let disk = image::bootable_in_sectors(&machine.file(name), sector, &program::passes(name))?;
        let disk = disk.on(bus).boots(place);
        machine.disks.push(if sector == 512 { disk } else { disk.with_key("sectors = \"4kn\"") });
    }
    for (disk, (name, ..)) in machine.disks.iter_mut().zip(disks) {
        disk.serial = name.into();
    }
    let installer = image::installer(&machine.file("installer.iso"), "test=sizes")?;
    let disc = image::disc(&machine.file("boot.iso"), &[], Some(&program::passes("disc")))?;
    machine.sections = drive(&installer, "boot_index = 11\n") + &drive(&disc, "boot_index = 10\n");
    let finished = machine.run(&Options::default().within(600))?;
    let started: Vec<&str> =
        finished.serial.lines().filter_map(|line| line.trim().split("STARTED-FROM ").nth(1)).collect();
    finished
        .ensure(started == ["virtio", "nvme", "sata", "4kn", "disc"], format!("started were {started:?}"))?;
    finished.printed("GRUB-FROM-DISC")?;
    finished.passed("sizes")
}

/// What the driver reads, a change with its leave, and one without.
fn changes() -> Outcome {
    let mut machine = Machine::small("test=cdrom")?.directly();
    let data: Vec<u8> =
        (0..4_000_000u32).flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect();
    let files = |word: &str| [("word", word.as_bytes().to_vec()), ("data", data.clone())];
    let first = image::disc(&machine.file("first.iso"), &files("first"), None)?;
    let second = image::disc(&machine.file("second.iso"), &files("second"), None)?;
    let sum = Command::new("sha256sum").arg(first.with_extension("tree").join("data")).output()?.stdout;
    let sum = String::from_utf8_lossy(&sum).chars().take(64).collect::<String>();
    machine.sections = drive(&first, "");
    let mut running = machine.start(&Options { interactive: true, ..Options::default().within(600) })?;
    let ctl = |words: &[&str]| ctl(&[&["cdrom"], words].concat());
    let must = |words: &[&str]| ctl(words).and_then(|(done, said)| ensure(done, said));
    let insert = second.display().to_string();
    running.expect("DISC first")?;
    running.expect(&sum)?;
    // It is mounted, and nothing in this guest answers to requests for the disc.
    let (done, said) = ctl(&["insert", &insert])?;
    ensure(!done && said.contains("the guest has locked the tray of cdrom[0]"), said)?;
    running.send("\n")?;
    running.expect("DISC-FREE")?;
    must(&["insert", &insert])?;
    running.send("\n")?;
    running.expect("DISC second")?;
    must(&["insert", "--force", &first.display().to_string()])?;
    running.send("\n")?;
    running.expect("DISC-GONE")?;
    running.expect("DISC first")?;
    running.wait()?.passed("cdrom")
}
