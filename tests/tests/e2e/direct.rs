//! Kernels that start without firmware.

use tests::machine::Machine;
use tests::run::{Finished, Options};
use tests::{Outcome, vmlinux};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("direct_bzimage_reboots", 60, reboots),
    Scenario { large: true, ..scenario("direct_bzimage_with_4_processors", 50, processors) },
    scenario("direct_elf_reboots_with_4_processors", 90, elf),
];

/// The third of several boots, each after a reset by the guest.
fn reboots() -> Outcome {
    let machine = Machine::small("test=rng after=reboot")?.directly().with_key("grace = 1");
    let options = Options::default().with(["--expect", "L2-USERSPACE-UP"].into_iter().cycle().take(6));
    let finished = machine.run(&options)?;
    finished.status(0)?;
    finished.passed("rng")?;
    let resets = finished.events_of("guest_reset").count();
    finished.ensure(resets >= 2, format!("--events has {resets} resets, not 2"))?;
    handed_over(&finished)
}

/// The same kernel as an ELF file.
fn elf() -> Outcome {
    let mut machine = Machine::small("test=sizes,rng after=reboot")?
        .directly()
        .with_topology(1, 4, 1)
        .with_key("grace = 1");
    let vmlinux = machine.file("vmlinux");
    let kernel = machine.kernel.as_mut().ok_or("there is no kernel")?;
    vmlinux::extract(&kernel.image, &vmlinux)?;
    kernel.image = vmlinux;
    let options = Options::default()
        .with(["--expect", "L2-USERSPACE-UP", "--expect", "CPUS-ONLINE 4"].into_iter().cycle().take(8));
    let finished = machine.run(&options)?;
    finished.status(0)?;
    finished.passed("rng")?;
    handed_over(&finished)
}

fn processors() -> Outcome {
    let machine = Machine::small("test=sizes,rng")?.directly().with_topology(2, 1, 2).with_memory("5G");
    let finished = machine.run(&Options::default())?;
    for test in ["sizes", "rng"] {
        finished.passed(test)?;
    }
    let count = finished.last_number("CPUS-ONLINE");
    finished.ensure(count == Some(4), "the guest should have 4 processors")?;
    let map = finished.last_number("MEMORY-MAP-MIB").unwrap_or_default();
    finished.ensure((5110..=5120).contains(&map), format!("the guest's memory map has {map} MiB of RAM"))
}

/// `--events` tells of the kernel, and of no firmware.
fn handed_over(finished: &Finished) -> Outcome {
    finished.quiet()?;
    let order = ["process_start", "memory_ready", "kernel_handed_over", "first_instruction", "exit"];
    let time = |kind: &'static str| finished.events_of(kind).next().and_then(|event| event["ns"].as_u64());
    let times: Vec<_> = order.into_iter().map(time).collect();
    let in_order = times.iter().all(Option::is_some) && times.is_sorted();
    finished.ensure(in_order, format!("events are out of order: {:?}", finished.events))?;
    let none = ["firmware_fw_cfg", "table_loader"].into_iter().all(|kind| time(kind).is_none());
    finished.ensure(none, "there is no firmware whose progress could be told")
}
