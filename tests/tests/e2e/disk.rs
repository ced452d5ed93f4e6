//! Data written to virtio-blk comes back.

use tests::Outcome;
use tests::image;
use tests::machine::{Format, Machine};
use tests::run::Options;

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("fio_verifies_raw", 45, || fio(Format::Raw)),
    scenario("fio_verifies_qcow2", 60, || fio(Format::Qcow2)),
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
