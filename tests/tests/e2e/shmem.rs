//! Shared memory: what the guest writes is in the host's file, and the other way round, and a passed-through device reads and writes it.

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
    let base = bar(&mut running, "0000:00:08.0", 2)?;
    for (number, offset) in [0, 0x1000, SIZE / 2, SIZE - 4].into_iter().enumerate() {
        exchange(&mut running, &file, base, offset, 0x5eed_0000 + number as u32)?;
    }
    by_dma(&mut running, &file, base)?;
    running.send("poweroff -f\n")?;
    let finished = running.wait()?;
    finished.status(0)?;
    // A device that could not reach the memory would be warned of.
    finished.ensure(!finished.stderr.contains("shared memory"), "the device does not reach the memory")?;
    ensure(path.exists(), "the file is gone, and a client would have lost it")?;
    std::fs::remove_file(path)?;
    lent.unchanged()
}

/// Where a BAR of a function of the guest is.
fn bar(running: &mut Running, function: &str, number: usize) -> Outcome<u64> {
    let bars = running.shell(&format!("cat /sys/bus/pci/devices/{function}/resource"))?;
    let bar = bars.lines().nth(number).and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    Ok(u64::from_str_radix(bar.trim_start_matches("0x"), 16)?)
}

/// The passed-through `edu` reads a word of the memory, and writes it elsewhere in it (QEMU's docs/specs/edu.rst).
fn by_dma(running: &mut Running, file: &File, base: u64) -> Outcome {
    const WORD: u32 = 0xd5a_1234;
    const BUFFER: u64 = 0x40000;
    let (from, to) = (SIZE / 4, SIZE - 0x2000);
    file.write_all_at(&WORD.to_le_bytes(), from)?;
    running.shell("echo 1 >/sys/bus/pci/devices/0000:01:00.0/enable")?;
    // Memory and bus mastering.
    running.shell("printf '\\006' | dd of=/sys/bus/pci/devices/0000:01:00.0/config bs=1 seek=4 conv=notrunc 2>/dev/null")?;
    let registers = bar(running, "0000:01:00.0", 0)?;
    for (source, target, command) in [(base + from, BUFFER, 1), (BUFFER, base + to, 3)] {
        for (register, value) in [(0x80, source), (0x88, target), (0x90, 4), (0x98, command)] {
            running.shell(&format!("devmem {:#x} 64 {value:#x}", registers + register))?;
        }
        let done = format!("$(($(devmem {:#x} 32) & 1)) = 0", registers + 0x98);
        running.shell(&format!("until [ {done} ]; do sleep 0.1; done"))?;
    }
    let mut found = [0; 4];
    file.read_exact_at(&mut found, to)?;
    let found = u32::from_le_bytes(found);
    ensure(found == WORD, format!("the device has copied {found:#x} in place of {WORD:#x}"))
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
