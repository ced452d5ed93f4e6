//! Shared memory: what the guest writes is in the host's file, and the other way round, beside a passed-through device that may reach it, too.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::vfio::{Lent, ids};
use tests::{Outcome, ensure};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[scenario("shared_memory_is_the_hosts_file", 35, both_ways)];

const SIZE: u64 = 32 << 20;

fn both_ways() -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let mut machine = Machine::small("test=shell")?.directly().with_functions(&lent.addresses());
    let path = Path::new("/dev/shm/optimus-vmm-test");
    machine.sections =
        format!("[[shmem]]\npath = \"{}\"\nfor = \"1920x1080\"\naddress = \"00:08.0\"\n", path.display());
    let mut running = machine.start(&Options { interactive: true, ..Options::default().within(300) })?;
    running.expect("L2-USERSPACE-UP")?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let metadata = file.metadata()?;
    ensure(metadata.len() == SIZE, format!("the file has {} bytes", metadata.len()))?;
    ensure(metadata.mode() & 0o777 == 0o660, format!("the file's mode is {:o}", metadata.mode()))?;
    running.shell("echo 1 >/sys/bus/pci/devices/0000:00:08.0/enable")?;
    let bars = running.shell("cat /sys/bus/pci/devices/0000:00:08.0/resource")?;
    let bar = bars.lines().nth(2).and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    let base = u64::from_str_radix(bar.trim_start_matches("0x"), 16)?;
    for (number, offset) in [0, 0x1000, SIZE / 2, SIZE - 4].into_iter().enumerate() {
        exchange(&mut running, &file, base, offset, 0x5eed_0000 + number as u32)?;
    }
    running.send("poweroff -f\n")?;
    let finished = running.wait()?;
    finished.status(0)?;
    // A device that could not reach the memory would be warned of.
    finished.ensure(!finished.stderr.contains("shared memory"), "the device does not reach the memory")?;
    ensure(path.exists(), "the file is gone, and a client would have lost it")?;
    std::fs::remove_file(path)?;
    lent.unchanged()
}

/// A word there and another back.
fn exchange(running: &mut Running, file: &File, base: u64, offset: u64, word: u32) -> Outcome {
    file.write_all_at(&word.to_le_bytes(), offset)?;
    let address = base + offset;
    let seen = running.shell(&format!("devmem {address:#x} 32"))?;
    ensure(
        u32::from_str_radix(seen.trim_start_matches("0x"), 16) == Ok(word),
        format!("the guest sees {seen} at {offset:#x}, where {word:#x} was written"),
    )?;
    running.shell(&format!("devmem {address:#x} 32 {:#x}", !word))?;
    let mut back = [0; 4];
    file.read_exact_at(&mut back, offset)?;
    let back = u32::from_le_bytes(back);
    ensure(back == !word, format!("at {offset:#x} the guest wrote {:#x}, and the file has {back:#x}", !word))
}
