//! USB devices of the host, QEMU's, in the guest. Here its disk: what is read and written, and what is left when it is unplugged and when the machine ends.

mod events;
mod peers;

use std::fs;
use std::io::Write;
use std::time::Instant;

use rustix::process::Signal;
use tests::image;
use tests::machine::Machine;
use tests::program;
use tests::run::{Options, Running};
use tests::usb::{DISK, UsbDisk};
use tests::{Outcome, ensure};

use crate::{Scenario, by_hand, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("usb_disk_is_lent_and_replugged", 60, || lent(1)),
    scenario("usb_peers_behind_a_hub", 30, peers::behind_a_hub),
    by_hand("usb_peers_are_given_back_after_a_kill", peers::killed),
    by_hand("usb_soak_replugs", || lent(100)),
    by_hand("usb_stick_boots_through_ovmf", boots),
    by_hand("usb_disk_speed", speed),
    by_hand("usb_events_beside_qemu", events::compare),
];

/// Bytes that are compared.
const SIZE: usize = 8 << 20;

/// So many rounds of a soak pass from one use of fio to the next.
const FIO_EVERY: u32 = 10;

/// Each round's data differs.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(SIZE / 4).flatten().collect()
}

fn machine() -> Outcome<Machine> {
    let mut machine = Machine::small("test=shell")?.with_tools()?.directly();
    machine.sections = format!("[[usb_device]]\nid = \"{DISK}\"\n");
    Ok(machine)
}

/// Starts it, with the driver of USB disks.
fn start(machine: &Machine, options: Options, seconds: u64) -> Outcome<Running> {
    let mut running = start_drivers(machine, options, seconds)?;
    for command in [
        "here() { until d=$(ls /sys/block | grep '^sd') && [ -e /dev/$d ]; do sleep 0.2; done; d=/dev/$d; }",
        "gone() { while ls /sys/block | grep -q '^sd'; do sleep 0.2; done; }",
        "here",
    ] {
        running.shell(command)?;
    }
    Ok(running)
}

/// Starts it, with the drivers of USB devices.
fn start_drivers(machine: &Machine, options: Options, seconds: u64) -> Outcome<Running> {
    let mut running = machine.start(&Options { interactive: true, ..options.within(seconds) })?;
    running.expect("L2-USERSPACE-UP")?;
    for command in [
        "for m in crc32c_generic libcrc32c ext4; do modprobe -q $m; done",
        "for s in /sys/block/vd*/serial; do d=${s#/sys/block/}; ln -s /dev/${d%%/*} /dev/disk-$(cat $s); done",
        "mkdir -p /tools /lib64; mount -t ext4 -o ro /dev/disk-tools /tools",
        "ln -s /tools/lib/ld-linux-x86-64.so.2 /lib64/",
        "export LD_LIBRARY_PATH=/tools/lib PATH=$PATH:/tools/bin",
        "for m in /tools/usb/*; do insmod $m 2>/dev/null; done; true",
    ] {
        running.shell(command)?;
    }
    Ok(running)
}

/// What `sha256sum` says of so many bytes of a file, in the host.
fn hash(path: &std::path::Path, size: usize) -> Outcome<String> {
    let output = std::process::Command::new("sh")
        .args(["-c", "head -c \"$2\" \"$1\" | sha256sum", "sh"])
        .arg(path)
        .arg(size.to_string())
        .output()?;
    ensure(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Read and written without a byte lost, unplugged under load and plugged in again, and given back.
fn lent(replugs: u32) -> Outcome {
    let disk = UsbDisk::find()?;
    ensure(disk.driver().as_deref() == Some("usb-storage"), "the host's driver has the disk")?;
    let machine = machine()?;
    let sample = machine.file("sample");
    fs::write(&sample, noise(1))?;
    let mut node = fs::OpenOptions::new().write(true).open(disk.block()?)?;
    node.write_all(&noise(1))?;
    node.sync_all()?;
    drop(node);
    let mut wanted = hash(&sample, SIZE)?;

    let mut running = start(&machine, Options::default(), 300 + 60 * u64::from(replugs))?;
    ensure(disk.driver().as_deref() == Some("usbfs"), "the guest has the disk")?;
    let read = "dd if=$d bs=1M count=8 iflag=direct 2>/dev/null | sha256sum";
    for round in 0..replugs {
        if round % FIO_EVERY == 0 {
            verify(&mut running)?;
        }
        let seen = running.shell(read)?;
        ensure(seen.starts_with(&wanted), format!("in round {round} the guest reads {seen}, not {wanted}"))?;
        running.shell("head -c 8388608 /dev/urandom >/tmp/new; dd if=/tmp/new of=$d bs=1M oflag=direct 2>/dev/null; sync")?;
        wanted =
            running.shell("sha256sum </tmp/new")?.split_whitespace().next().unwrap_or_default().to_owned();
        // With requests under way.
        running
            .shell("(while dd if=$d of=/dev/null bs=1M iflag=direct 2>/dev/null; do :; done) & sleep 1")?;
        disk.unplug()?;
        running.shell("gone")?;
        disk.plug()?;
        running.shell("here")?;
        if replugs > 1 {
            crate::say(&format!("replugged {} times", round + 1));
        }
    }
    let seen = running.shell(read)?;
    ensure(seen.starts_with(&wanted), format!("after the last the guest reads {seen}, not {wanted}"))?;
    running.send("poweroff -f\n")?;
    let finished = running.wait()?;
    finished.status(0)?;
    // The host's driver has it again, and reads what the guest has written.
    let node = disk.block()?;
    ensure(disk.driver().as_deref() == Some("usb-storage"), "the host's driver has the disk again")?;
    let left = hash(&node, SIZE)?;
    ensure(left == wanted, format!("the host reads {left}, the guest has written {wanted}"))
}

/// fio writes behind what [`lent`] compares, reads meanwhile, and compares what it has written.
fn verify(running: &mut Running) -> Outcome {
    running
        .shell(
            "fio --filename=$d --direct=1 --ioengine=libaio --iodepth=8 --name=mixed --rw=randrw --bsrange=512-64k --offset=16M --size=6M \
             --verify=crc32c --verify_fatal=1 --verify_dump=0 --end_fsync=1 --eta=never >/tmp/fio 2>&1 || { cat /tmp/fio; false; }",
        )
        .map(drop)
}

/// The firmware's driver reads a program from it.
fn boots() -> Outcome {
    let disk = UsbDisk::find()?;
    let mut machine = Machine::new()?;
    machine.sections = format!("[[usb_device]]\nid = \"{DISK}\"\n");
    let stick = image::bootable(&machine.file("stick"), &program::passes("stick"))?;
    let mut node = fs::OpenOptions::new().write(true).open(disk.block()?)?;
    node.write_all(&fs::read(&stick.path)?)?;
    node.sync_all()?;
    drop(node);
    let mut running = machine.start(&Options::default().within(300))?;
    running.expect("STARTED-FROM stick")?;
    running.signal(Signal::TERM)?;
    running.wait()?;
    disk.block().map(drop)
}

/// Sequential reads and writes of a MiB, and single sectors, by turns with the peer.
fn speed() -> Outcome {
    let disk = UsbDisk::find()?;
    for round in 0..3 {
        for peer in [false, true] {
            let machine = machine()?;
            let options = if peer { Options::peer() } else { Options::default() };
            let mut running = start(&machine, options, 400)?;
            for (what, command) in [
                (
                    "read 1M",
                    "for i in 1 2 3 4 5 6 7 8; do dd if=$d of=/dev/null bs=1M count=48 iflag=direct; done",
                ),
                (
                    "write 1M",
                    "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=$d bs=1M count=48 oflag=direct; done",
                ),
                ("read 64K", "dd if=$d of=/dev/null bs=64K count=400 iflag=direct"),
                ("read 4K", "dd if=$d of=/dev/null bs=4K count=1000 iflag=direct"),
            ] {
                let begun = Instant::now();
                running.shell(&format!("({command}) 2>/dev/null"))?;
                let name = if peer { "peer" } else { "ours" };
                crate::say(&format!("{round} {name} {what}: {:.2} s", begun.elapsed().as_secs_f64()));
            }
            running.send("poweroff -f\n")?;
            running.wait()?.status(0)?;
            disk.block()?;
        }
    }
    Ok(())
}
