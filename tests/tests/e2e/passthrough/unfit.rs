//! Hosts and devices in a state in which nothing can be passed through: without IOMMU, without interrupt remapping, a
//! device that is off the bus, a driver that does not let go.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::machine::Machine;
use tests::passthrough::{Function, Passthrough};
use tests::run::Options;
use tests::vfio::{HostFunction, Lent, VFIO, ids};
use tests::{Outcome, ensure, lab, program};

use crate::crash::kernel;
use crate::refusal::refusal;
use crate::{Scenario, elsewhere, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("a_device_that_reads_all_ones_is_refused", 10, all_ones),
    scenario("a_driver_that_does_not_let_go_is_told", 20, hanging_unbind),
    elsewhere("a_host_without_iommu_is_refused", 10, "off", no_iommu),
    elsewhere("interrupts_that_are_not_remapped_are_refused", 25, "unsafe", unsafe_interrupts),
];

/// A machine with edu, bound by itself if `manage`, that powers off as soon as it runs.
fn with_edu(edu: &HostFunction, manage: bool) -> Outcome<Machine> {
    let function = Function { host: edu.address.clone(), guest: "01:00.0".into(), manage };
    let passthrough = Passthrough { gpu: None, functions: vec![function] };
    Ok(kernel(&program::power_off())?.with_passthrough(passthrough))
}

/// A bus with a number by which nobody asks for it, as long as this lives: what is on it reads all ones.
struct Cut {
    config: fs::File,
    number: [u8; 1],
}

/// Secondary Bus Number (PCIe 6.0, 7.5.1.3.4).
const SECONDARY_BUS: u64 = 0x19;

impl Cut {
    fn off(function: &HostFunction) -> Outcome<Self> {
        let config =
            fs::File::options().read(true).write(true).open(function.port()?.path().join("config"))?;
        let mut number = [0];
        config.read_exact_at(&mut number, SECONDARY_BUS)?;
        config.write_all_at(&[0xff], SECONDARY_BUS)?;
        Ok(Self { config, number })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = self.config.write_all_at(&self.number, SECONDARY_BUS);
    }
}

fn all_ones() -> Outcome {
    for (driver, manage) in [(Some(VFIO), false), (None, true)] {
        let edu = HostFunction::find(ids::EDU)?;
        edu.bind(driver)?;
        let view = edu.view()?;
        let machine = with_edu(&edu, manage)?;
        let cut = Cut::off(&edu)?;
        let config = fs::read(edu.path().join("config"))?;
        ensure(config.iter().all(|byte| *byte == 0xff), "the device still answers: the test is wrong")?;
        let refused = machine.run(&Options::default())?;
        drop(cut);
        refusal(&refused, &[3], &[&edu.address, "all ones", "power/control"])?;
        view.compare()?;
        // It was the bus, and nothing has been done to the device.
        if !manage {
            machine.run(&Options::default().within(60))?.status(0)?;
        }
        edu.bind(None)?;
    }
    Ok(())
}

/// Tells the lab's driver of edu whether to let go.
fn hold(hold: bool) -> Outcome {
    Ok(fs::write("/sys/module/lab_stuck/parameters/hold", if hold { "1" } else { "0" })?)
}

fn hanging_unbind() -> Outcome {
    let edu = HostFunction::find(ids::EDU)?;
    edu.bind(Some("lab_stuck"))?;
    let view = edu.view()?;
    let machine = with_edu(&edu, true)?;
    hold(true)?;
    let refused = machine.run(&Options::default().within(60));
    hold(false)?;
    let refused = refused?;
    refusal(
        &refused,
        &[3],
        &[&edu.address, "lab_stuck", "did not end within 10 s", "The next start tries again"],
    )?;
    // What was asked of the driver still happens when it can.
    let began = Instant::now();
    while edu.driver().is_some() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure(edu.driver().is_none(), "the driver has not let go")?;
    // The next start puts back what this one could not, and then has the device.
    let finished = machine.run(&Options::default().within(60))?;
    finished.status(0)?;
    finished.printed("APPLICATION-UP")?;
    view.compare()?;
    edu.bind(None)
}

fn no_iommu() -> Outcome {
    let groups = fs::read_dir("/sys/kernel/iommu_groups")?.count();
    ensure(groups == 0, "this host has an IOMMU: the lab is wrong")?;
    let edu = HostFunction::find(ids::EDU)?;
    let view = edu.view()?;
    for manage in [false, true] {
        let refused = with_edu(&edu, manage)?.run(&Options::default())?;
        refusal(&refused, &[3], &[&edu.address, "IOMMU", "firmware setup", "reboot"])?;
        view.compare()?;
    }
    Ok(())
}

fn unsafe_interrupts() -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let machine = kernel(&program::power_off())?.with_functions(&lent.addresses());
    let refused = machine.run(&Options::default())?;
    let parameter = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
    refusal(&refused, &[3], &["remap interrupts", "echo Y | sudo tee", parameter])?;
    lent.unchanged()?;
    // The message's own advice helps.
    ensure(Path::new(parameter).exists(), "there is no such parameter")?;
    lab::call("sh", &["-c", &format!("echo Y | tee {parameter}")])?;
    let finished = machine.run(&Options::default().within(60));
    lab::call("sh", &["-c", &format!("echo N | tee {parameter}")])?;
    let finished = finished?;
    finished.status(0)?;
    finished.printed("APPLICATION-UP")?;
    lent.unchanged()
}
