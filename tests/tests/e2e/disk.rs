//! Data written to virtio-blk comes back; and what resets leave of disks on all buses.

use tests::Outcome;
use tests::image;
use tests::machine::{Bus, Format, Machine};
use tests::run::Options;

use crate::{Scenario, by_hand, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("fio_verifies_raw", 45, || fio(Format::Raw)),
    scenario("fio_verifies_qcow2", 60, || fio(Format::Qcow2)),
    scenario("disks_are_reset_under_load", 80, || resets(&Bus::ALL, 5)),
    by_hand("disk_soak_resets_virtio", || resets(&[Bus::Virtio], 100)),
    by_hand("disk_soak_resets_nvme", || resets(&[Bus::Nvme], 100)),
    by_hand("disk_soak_resets_sata", || resets(&[Bus::Sata], 100)),
];

/// The raw disk without firmware, the other one through it.
fn fio(format: Format) -> Outcome {
    let machine = Machine::small("test=fio")?.with_tools()?.with_topology(1, 2, 1);
    let machine = if format == Format::Raw { machine.directly() } else { machine };
    let disk = image::empty(&machine.file("data"), format, 64, "data")?;
    let machine = machine.with_disk(disk.clone());
    let finished = machine.run(&Options::default().within(300))?;
    finished.passed("fio")?;
    finished.ensure(!finished.serial.contains("I/O error"), "the guest's kernel saw I/O errors")?;
    image::check(&disk)
}

/// Resets of the controller, for which Linux issues requests again, and disks that are gone and come back, each with requests under way.
fn resets(buses: &[Bus], count: u32) -> Outcome {
    let names: Vec<&str> = buses.iter().map(|bus| bus.name()).collect();
    let words = format!("test=resets resets={count} buses={}", names.join(","));
    let mut machine = Machine::small(&words)?.with_tools()?.with_topology(1, 2, 1).directly();
    let mut disks = Vec::new();
    for bus in buses {
        let disk = image::empty(&machine.file(bus.name()), Format::Qcow2, 64, bus.name())?.on(*bus);
        machine = machine.with_disk(disk.clone());
        disks.push(disk);
    }
    let finished =
        machine.run(&Options::default().within(u64::from(300 + 40 * count) * buses.len() as u64))?;
    finished.passed("resets")?;
    for name in names {
        finished.printed(&format!("RESETS {name} {count}"))?;
    }
    for complaint in
        ["Device not ready", "timeout, aborting", "timeout, completion", "qc timeout", "blocked for more"]
    {
        finished.ensure(!finished.serial.contains(complaint), format!("the guest says: {complaint}"))?;
    }
    disks.iter().try_for_each(image::check)
}
