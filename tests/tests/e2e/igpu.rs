//! The display GPU: virtual devices of the kernel's sample drivers, made for a run and removed after it.
//!
//! The labs of these scenarios have the drivers of `scripts/lab exec --mdev`.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tests::machine::Machine;
use tests::run::Options;
use tests::vfio::{Lent, ids};
use tests::{Outcome, ensure, program};

use crate::crash::kernel;
use crate::refusal::refusal;
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("virtual_gpu_is_made_for_the_run", 40, made),
    scenario("virtual_gpu_without_edid_or_list_of_capabilities", 20, plainest),
    scenario("virtual_gpu_behind_a_root_port_beside_a_passed_device", 35, beside),
    scenario("virtual_gpu_that_exists_is_left_alone", 10, existing),
    scenario("virtual_gpu_of_a_killed_run_is_removed_by_the_next", 10, killed),
    scenario("virtual_gpus_that_cannot_be_had_are_refused", 10, refused),
];

const UUID: &str = "af5972fb-5530-41a7-0000-fd836204445b";
const OTHER: &str = "6f1d7a52-3c1e-4d7b-9a55-0c8e2f4b7d19";
pub(crate) const MBOCHS: &str = "parent = \"mbochs\"\ntype = \"mbochs-small\"\n";

/// The directory of a virtual device.
fn device(uuid: &str) -> PathBuf {
    Path::new("/sys/bus/mdev/devices").join(uuid)
}

/// How many virtual devices the host has.
fn count() -> usize {
    std::fs::read_dir("/sys/bus/mdev/devices").map_or(0, Iterator::count)
}

/// Requires that none is left behind.
pub(crate) fn none_left() -> Outcome {
    ensure(count() == 0, format!("{} mediated devices were left behind", count()))
}

/// The section, for a device of one's own making.
pub(crate) fn section(lines: &str) -> String {
    format!("[igpu]\nuuid = \"{UUID}\"\n{lines}")
}

pub(crate) fn with_section(mut machine: Machine, section: String) -> Machine {
    machine.sections = section;
    match std::env::var("OPTIMUS_E2E_VFIO") {
        Ok(backend) => machine.with_key(&format!("vfio_backend = \"{backend}\"")),
        Err(_) => machine,
    }
}

/// A device that the test makes, and removes at the end.
struct Existing(&'static str);

impl Existing {
    fn make(uuid: &'static str) -> Outcome<Self> {
        std::fs::write("/sys/class/mdev_bus/mbochs/mdev_supported_types/mbochs-small/create", uuid)?;
        Ok(Self(uuid))
    }
}

impl Drop for Existing {
    fn drop(&mut self) {
        // A failing test has said what matters already.
        let _ = std::fs::write(device(self.0).join("remove"), "1");
    }
}

/// It is at its place in the guest, also after a reboot, and gone from the host at the end.
fn made() -> Outcome {
    let machine = with_section(Machine::small("test=pci,boots boots=2")?, section(MBOCHS));
    let finished = machine.run(&Options::default())?;
    finished.passed("pci")?;
    finished.passed("boots")?;
    finished.printed("PCI 0000:00:02.0 0x1234 0x1111 0x1af4 0x1100")?;
    none_left()
}

/// mdpy says nothing of its regions beyond the last, has no interrupts and a single capability.
fn plainest() -> Outcome {
    let vga = section("parent = \"mdpy\"\ntype = \"mdpy-vga\"\nramfb = false\n");
    let machine =
        with_section(Machine::small("test=pci after=reboot")?.directly().with_key("grace = 0"), vga);
    let twice = ["--expect", "L2-TEST-PASSED pci"].into_iter().cycle().take(2 * 2);
    let options = Options::default().with(twice).with(["--fail-on", "L2-TEST-FAILED"]);
    let finished = machine.run(&options)?;
    finished.passed("pci")?;
    finished.printed("PCI 0000:00:02.0 0x1b36 0x000f")?;
    none_left()
}

/// A device behind the IOMMU and one that is not share the address space of DMA.
fn beside() -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let mut machine = Machine::small("test=edu,pci edu=ident,msi:100,intx:100,dma:2")?
        .directly()
        .with_functions(&lent.addresses());
    // Which of VFIO's interfaces is used is said with the functions.
    machine.sections = section(&format!("{MBOCHS}guest = \"02:00.0\"\n"));
    let finished = machine.run(&Options::default().within(300))?;
    finished.passed("edu")?;
    finished.passed("pci")?;
    finished.printed("PCI 0000:02:00.0 0x1234 0x1111")?;
    none_left()?;
    lent.unchanged()
}

/// One that somebody else made is used, by either way to ask for it, and not removed.
fn existing() -> Outcome {
    let _existing = Existing::make(UUID)?;
    for section in [section(MBOCHS), format!("[igpu]\nmdev = \"{UUID}\"\n")] {
        let machine = with_section(kernel(&program::spin())?, section);
        let mut running = machine.start(&Options::default())?;
        running.expect("APPLICATION-UP")?;
        let _ = running.kill()?;
        ensure(device(UUID).exists(), "a device that was there before is gone")?;
    }
    Ok(())
}

fn killed() -> Outcome {
    let machine = with_section(kernel(&program::spin())?, section(MBOCHS));
    let mut running = machine.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    ensure(device(UUID).exists(), "no device was made")?;
    running.kill()?.status(128 + 9)?;
    ensure(device(UUID).exists(), "a killed process can't remove anything: who did?")?;
    // The next start of any machine removes it, here of one that makes another device.
    let other = format!("[igpu]\nuuid = \"{OTHER}\"\n{MBOCHS}");
    // The program does not listen to its power button, and the grace period ends it.
    let machine = with_section(kernel(&program::spin())?, other).with_key("grace = 1");
    let mut running = machine.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    ensure(!device(UUID).exists() && device(OTHER).exists(), "the device of the killed run is still there")?;
    running.signal(Signal::TERM)?;
    let finished = running.wait()?;
    finished.said("an earlier run of")?;
    none_left()
}

fn refused() -> Outcome {
    let run = |section: String| with_section(kernel(&program::spin())?, section).run(&Options::default());
    let no_type = run(section("parent = \"mbochs\"\ntype = \"mbochs-huge\"\n"))?;
    refusal(&no_type, &[3], &["mbochs offers no type mbochs-huge", "mbochs-small"])?;
    let no_parent = run(section("parent = \"0000:00:02.0\"\ntype = \"i915-GVTg_V5_4\"\n"))?;
    refusal(&no_parent, &[3], &["0000:00:02.0 makes no mediated devices"])?;
    // All at once, each with its line.
    let gone = "[[vfio]]\nhost = \"0000:7f:1f.7\"\n[[vfio]]\nhost = \"0000:7f:1f.6\"\n";
    let several = run(section("parent = \"mbochs\"\ntype = \"mbochs-huge\"\n") + gone)?;
    let told =
        ["| type = \"mbochs-huge\"", "| host = \"0000:7f:1f.7\"", "no PCI device 0000:7f:1f.6", "3 problems"];
    refusal(&several, &[3], &told)?;
    let missing = run(format!("[igpu]\nmdev = \"{UUID}\"\n"))?;
    refusal(&missing, &[3], &[UUID, "mdevctl list --defined"])?;
    none_left()?;

    let _existing = Existing::make(UUID)?;
    let other = run(section("parent = \"mbochs\"\ntype = \"mbochs-large\"\n"))?;
    refusal(&other, &[3], &["exists already and is mbochs-small of mbochs"])?;
    let first = with_section(kernel(&program::spin())?, section(MBOCHS));
    let mut running = first.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    let holder = running.pid().to_string();
    refusal(&run(section(MBOCHS))?, &[3], &[UUID, &holder])?;
    let _ = running.kill()?;
    Ok(())
}
