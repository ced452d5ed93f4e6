//! Disks in trouble: file systems of the host that are full, sectors that cannot be read, images that grow. Linux' drivers say what they
//! make of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::image;
use tests::lab::call;
use tests::machine::{Bus, Disk, Format, Machine};
use tests::network::run;
use tests::run::{Finished, Options, Running, ctl};
use tests::{Outcome, ensure};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[scenario("disks_in_trouble_are_told_as_they_are", 50, trouble)];

/// The buses, and what goes before the names of their disks.
const BUSES: [(Bus, &str); 3] = [(Bus::Virtio, "virtio"), (Bus::Nvme, "nvme"), (Bus::Sata, "sata")];

/// A file system in memory, with less room than the images on it say they have.
struct Small(PathBuf);

impl Small {
    fn mounted(path: PathBuf) -> Outcome<Self> {
        run(&format!("mkdir {0}; mount -t tmpfs -o size=6M small {0}", path.display()))?;
        Ok(Self(path))
    }

    fn make_room(&self) -> Outcome {
        run(&format!("mount -o remount,size=64M {}", self.0.display()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = run(&format!("umount {}", self.0.display()));
    }
}

/// A block device of the device mapper, of 16 MiB, whose page [`Mapped::PAGE`] fails while it is bad.
struct Mapped {
    name: String,
    below: String,
    /// By the kernel's name: there is no udev that would make others.
    device: PathBuf,
}

impl Mapped {
    const SECTORS: u64 = 32768;
    /// In pages of 4096 bytes.
    const PAGE: u64 = 1029;

    fn bad(name: &str, directory: &Path) -> Outcome<Self> {
        let file = directory.join(format!("{name}.below"));
        std::fs::File::create(&file)?.set_len(Self::SECTORS * 512)?;
        run("modprobe -a loop dm_mod")?;
        let below = call("losetup", &["--find", "--show", &file.display().to_string()])?.trim().to_owned();
        let mut mapped = Self { name: name.into(), below, device: PathBuf::new() };
        run(&format!("printf '{}' | dmsetup create --noudevsync {name}", mapped.table(true)))?;
        let made = call("dmsetup", &["info", "-c", "--noheadings", "-o", "blkdevname", name])?;
        mapped.device = Path::new("/dev").join(made.trim());
        Ok(mapped)
    }

    fn table(&self, bad: bool) -> String {
        let (first, end, below) = (Self::PAGE * 8, Self::PAGE * 8 + 8, &self.below);
        let middle = if bad { "error".into() } else { format!("linear {below} {first}") };
        let rest = Self::SECTORS - end;
        format!("0 {first} linear {below} 0\\n{first} 8 {middle}\\n{end} {rest} linear {below} {end}\\n")
    }

    fn set(&self, bad: bool) -> Outcome {
        let Self { name, .. } = self;
        run(&format!(
            "dmsetup suspend --noudevsync {name}; printf '{}' | dmsetup reload {name}; dmsetup resume --noudevsync {name}",
            self.table(bad)
        ))
    }

    fn disk(&self, bus: Bus) -> Disk {
        Disk::new(&self.device, Format::Raw, &self.name).on(bus)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = run(&format!(
            "dmsetup remove --retry --noudevsync {}; losetup --detach {}",
            self.name, self.below
        ));
    }
}

fn must(words: &[&str]) -> Outcome {
    let (done, said) = ctl(words)?;
    ensure(done, said)
}

/// Waits until the machine is stopped by a disk, and gives its status.
fn stopped(running: &mut Running) -> Outcome<String> {
    let begin = Instant::now();
    loop {
        let (_, status) = ctl(&["status"])?;
        if status.contains("io-error") {
            return Ok(status);
        }
        if begin.elapsed() > Duration::from_secs(200) {
            return Err(running.failure(format!("the machine is not stopped: {status}")));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// All in one boot: the guest's tests come one after the other, and each tells when the host has to do something.
fn trouble() -> Outcome {
    let mut machine = Machine::small("test=stops,full,bad,native,grows full=virtio-full,nvme-full,sata-full bad=virtio-bad,nvme-bad,sata-bad")?
        .with_tools()?
        .directly();
    let stops = Small::mounted(machine.file("stops"))?;
    let disk = image::empty(&stops.0.join("image.raw"), Format::Raw, 32, "stops")?;
    machine = machine.with_disk(disk.with_key("on_error = \"stop\""));
    let grows = image::empty(&machine.file("grows.img"), Format::Raw, 32, "grows")?;
    machine = machine.with_disk(grows);
    let (mut full, mut bad) = (Vec::new(), Vec::new());
    for (bus, name) in BUSES {
        let small = Small::mounted(machine.file(name))?;
        let short = image::empty(&small.0.join("image.raw"), Format::Raw, 32, &format!("{name}-full"))?;
        let mapped = Mapped::bad(&format!("{name}-bad"), machine.directory())?;
        machine = machine.with_disk(short.on(bus)).with_disk(mapped.disk(bus));
        full.push(small);
        bad.push(mapped);
    }
    let native = image::empty(&machine.file("native"), Format::Raw, 64, "native")?.on(Bus::Sata);
    machine = machine.with_disk(native.with_key("sectors = \"4kn\""));
    let mut running = machine.start(&Options { interactive: true, ..Options::default().within(600) })?;

    running.expect("STOPS")?;
    let status = stopped(&mut running)?;
    let why = "image.raw): failed to write at byte ";
    ensure(status.contains(why) && status.contains("No space left on device"), &status)?;
    // It is tried again, and there is still no room.
    must(&["resume"])?;
    stopped(&mut running)?;
    stops.make_room()?;
    must(&["resume"])?;
    let (_, status) = ctl(&["status"])?;
    ensure(!status.contains("failed "), format!("with room there is still: {status}"))?;
    running.expect("L2-TEST-PASSED stops")?;

    for (_, name) in BUSES {
        running.expect(&format!("FULL {name}-full"))?;
    }
    running.expect("SECTION-END kernel full")?;
    full.iter().try_for_each(Small::make_room)?;
    running.send("\n")?;
    running.expect("L2-TEST-PASSED full")?;

    running.expect("SECTION-END kernel sata-bad")?;
    for is_bad in [false, true] {
        bad.iter().try_for_each(|mapped| mapped.set(is_bad))?;
        running.send("\n")?;
        running.expect(if is_bad { "SECTION-END kernel lost" } else { "SECTION-END kernel mended" })?;
    }
    running.expect("L2-TEST-PASSED native")?;

    running.expect("GROWS 33554432")?;
    must(&["disk", "resize", "2", "48M"])?;
    // The buses whose disks do not grow say so.
    for number in ["5", "7"] {
        let (done, said) = ctl(&["disk", "resize", number, "48M"])?;
        ensure(!done && said.contains("is on a bus whose disks do not grow while the guest runs"), said)?;
    }
    running.expect("GREW 50331648")?;
    let finished = running.wait()?;
    for test in ["stops", "full", "bad", "native", "grows"] {
        finished.passed(test)?;
    }
    judge(&finished)
}

/// What the guest's kernel has made of it.
fn judge(finished: &Finished) -> Outcome {
    finished.printed("NATIVE 4096 4096 67108864")?;
    finished.ensure(!finished.section("kernel stops")?.contains("error"), "the guest knows of an error")?;
    // Only NVMe has a word for it.
    let said = finished.section("kernel full")?;
    finished.ensure(said.contains("critical space allocation error, dev nvme"), "NVMe does not say why")?;
    let page = Mapped::PAGE * 8;
    for (bus, name) in BUSES {
        let said = finished.section(&format!("kernel {name}-bad"))?;
        let word = if bus == Bus::Nvme { "critical medium error" } else { "I/O error" };
        let medium = bus != Bus::Sata || said.contains("Sense Key : Medium Error");
        finished.ensure(medium, "the error of the SATA disk is none of the medium")?;
        let device = finished
            .serial
            .split(&format!("BAD {name}-bad "))
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        let words = format!("{word}, dev {}, sector {page} ", device.unwrap_or_default());
        finished.ensure(said.contains(&words), format!("the guest's kernel does not say `{words}`"))?;
        // Of one request for several pages too, where the bus can tell: no request of the guest's begins there.
        let times = said.matches(&words).count();
        finished.ensure(bus != Bus::Sata || times == 2, format!("`{words}` is there {times} times"))?;
    }
    finished.ensure(!finished.serial.contains("Call Trace"), "the guest's kernel is in trouble itself")?;
    // A sector that cannot be read is no reason to reset anything.
    for step in ["virtio-bad", "nvme-bad", "sata-bad", "mended"] {
        let said = finished.section(&format!("kernel {step}"))?;
        for complaint in ["resetting", "frozen", "timeout", "offline"] {
            finished.ensure(!said.contains(complaint), format!("the guest's kernel says: {complaint}"))?;
        }
    }
    Ok(())
}
