//! Disks on NVMe, with Linux's driver and OVMF's.

use tests::Outcome;
use tests::image;
use tests::machine::{Bus, Format, Machine};
use tests::run::Options;

use crate::debian::{interactive, login, shell};
use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("nvme_fio_verifies_raw", 60, || fio(Format::Raw)),
    scenario("nvme_fio_verifies_qcow2", 80, || fio(Format::Qcow2)),
    scenario("nvme_cli_and_smartctl_find_no_fault", 80, cli),
    scenario("nvme_boots_debian_through_ovmf", 240, debian),
];

/// A small guest without firmware, with an NVMe disk `data` beside the one with its tools.
fn machine(words: &str, format: Format) -> Outcome<(Machine, tests::machine::Disk)> {
    let machine = Machine::small(words)?.with_tools()?.with_topology(1, 2, 1).directly();
    let disk = image::empty(&machine.file("data"), format, 64, "data")?.on(Bus::Nvme);
    Ok((machine.with_disk(disk.clone()), disk))
}

fn fio(format: Format) -> Outcome {
    let (machine, disk) = machine("test=fio", format)?;
    let finished = machine.run(&Options::default().within(400))?;
    finished.passed("fio")?;
    finished.ensure(!finished.serial.contains("I/O error"), "the guest's kernel saw I/O errors")?;
    image::check(&disk)
}

fn cli() -> Outcome {
    let (machine, _) = machine("test=nvmecli", Format::Raw)?;
    // Linux sets several up at once.
    let other = image::empty(&machine.file("other"), Format::Raw, 64, "other")?.on(Bus::Nvme);
    let machine = machine.with_disk(other);
    let finished = machine.run(&Options::default().within(400))?;
    finished.passed("nvmecli")?;
    for words in [
        "sn        : data ",
        "mn        : optimus-vmm NVMe disk",
        "nsze    : 0x20000",
        "lbaf  0 : ms:0   lbads:9  rp:0 (in use)",
        "critical_warning\t\t\t: 0",
        "get-feature:0x07 (Number of Queues), Current value:0x00010001",
        "SMART overall-health self-assessment test result: PASSED",
        "Invalid Command Opcode",
    ] {
        finished.printed(words)?;
    }
    for complaint in ["I/O error", "timeout, completion polled"] {
        finished
            .ensure(!finished.serial.contains(complaint), format!("the guest's kernel says: {complaint}"))?;
    }
    Ok(())
}

fn debian() -> Outcome {
    let machine = Machine::new()?;
    let disk = image::debian(&machine.file("disk.qcow2"), Format::Qcow2)?.bootable().on(Bus::Nvme);
    let machine = machine.with_disk(disk.clone()).with_topology(1, 2, 1);
    let mut running = machine.start(&interactive())?;
    login(&mut running)?;
    let root = shell(&mut running, "findmnt -no SOURCE,FSTYPE /")?;
    tests::ensure(root.contains("/dev/nvme0n1p2 ext4"), format!("the root is not the disk's: {root}"))?;
    let queues = shell(&mut running, "ls /sys/block/nvme0n1/mq; grep -c nvme0q /proc/interrupts")?;
    let queues: Vec<&str> = queues.split_whitespace().collect();
    tests::ensure(queues.ends_with(&["0", "1", "3"]), format!("the queues are {queues:?}"))?;
    shell(
        &mut running,
        "head -c 20000000 /dev/urandom >/root/data && md5sum /root/data >/root/sum && fstrim -v / && sync",
    )?;
    running.send("systemctl reboot\n")?;
    login(&mut running)?;
    shell(&mut running, "md5sum -c /root/sum")?;
    let errors = shell(&mut running, "dmesg --level=emerg,alert,crit,err,warn | grep -i nvme; true")?;
    tests::ensure(!errors.contains("nvme nvme0"), format!("the kernel complains: {errors}"))?;
    running.send("systemctl poweroff\n")?;
    running.expect("reboot: Power down")?;
    running.wait()?.status(0)?;
    image::check(&disk)
}
