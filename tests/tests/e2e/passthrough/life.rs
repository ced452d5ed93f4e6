//! Reboots, repeated runs, sudden ends, and devices that are given back.

use rustix::process::Signal;
use tests::machine::{Disk, Format, Machine};
use tests::passthrough::{Function, Gpu, Passthrough, Rom};
use tests::run::{Finished, Hypervisor, Options, Running};
use tests::vfio::{HostFunction, Lent, VFIO, View, ids};
use tests::{Outcome, ensure, program};

use super::gpu::SPOOFED;
use crate::crash::{application, kernel};
use crate::refusal::refusal;
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("passed_device_works_after_each_of_ten_reboots", 140, || reboots(Machine::directly, 11)),
    scenario("passed_device_works_after_two_reboots_through_ovmf", 75, || reboots(|machine| machine, 3)),
    scenario("ten_runs_with_one_device", 130, runs),
    scenario("killed_with_a_busy_device_and_run_again", 45, killed),
    scenario("a_device_in_use_is_refused", 15, in_use),
    scenario("a_device_that_the_host_wants_back_ends_the_run", 15, wanted),
    scenario("managed_devices_are_given_back", 65, managed),
    scenario("managed_devices_are_given_back_after_a_kill", 65, managed_after_kill),
];

const WORK: &str = "edu=ident,msi:100,intx:100,dma:2";

/// Both ways: OVMF places the device anew, and sizes its BARs, after each reset.
fn reboots(machine: fn(Machine) -> Machine, boots: usize) -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let machine = machine(Machine::small(&format!("test=edu,boots boots={boots} {WORK}"))?);
    let finished = machine.with_functions(&lent.addresses()).run(&Options::default().within(900))?;
    finished.passed("boots")?;
    finished.printed(&format!("BOOT {boots}\n"))?;
    let worked = finished.serial.matches("L2-TEST-PASSED edu").count();
    finished.ensure(worked == boots, format!("the device worked in {worked} boots, not {boots}"))?;
    lent.unchanged()
}

fn runs() -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let machine = Machine::small(&format!("test=edu {WORK}"))?.directly().with_functions(&lent.addresses());
    for _ in 0..10 {
        machine.run(&Options::default().within(120))?.passed("edu")?;
        lent.unchanged()?;
    }
    Ok(())
}

/// Killed in the middle of transfers, then of interrupts. Nothing of it may be left in the device.
fn killed() -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let mut machine = Machine::small("test=edu edu=dma:10000")?.directly().with_functions(&lent.addresses());
    for words in ["test=edu edu=msi:10000000", &format!("test=edu {WORK}")] {
        let mut running = machine.start(&Options::default())?;
        running.expect("EDU-BEGIN (dma|msi) ")?;
        std::thread::sleep(std::time::Duration::from_secs(1));
        running.kill()?.status(128 + 9)?;
        lent.unchanged()?;
        machine.set_words(words)?;
    }
    machine.run(&Options::default())?.passed("edu")?;
    lent.unchanged()
}

fn in_use() -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let first = kernel(&program::spin())?.with_functions(&lent.addresses());
    let mut running = first.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    let second = kernel(&program::spin())?.with_functions(&lent.addresses());
    let refused = second.run(&Options::default())?;
    let holder = running.pid().to_string();
    refusal(&refused, &[3], &[lent.addresses().first().copied().unwrap_or_default(), &holder])?;
    // The first is not disturbed, and when it has gone, the device is free at once.
    let _ = running.kill()?;
    lent.unchanged()?;
    let mut running = second.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    let _ = running.kill()?;
    lent.unchanged()
}

/// Unbinding a device waits until its user lets go. The guest does not listen to its power button, and the grace period
/// ends it.
fn wanted() -> Outcome {
    let lent = Lent::take(&[ids::EDU])?;
    let machine = kernel(&program::spin())?.with_functions(&lent.addresses()).with_key("grace = 2");
    let mut running = machine.start(&Options::default().within(60))?;
    running.expect("APPLICATION-UP")?;
    let function = HostFunction::find(ids::EDU)?;
    let unbinding =
        std::thread::spawn(move || function.unbind().map_err(|error| error.message().map(str::to_owned)));
    let finished = running.wait()?;
    finished.status(6)?;
    let address = lent.addresses().first().copied().unwrap_or_default().to_owned();
    finished.said(&format!("the host wants {address} back"))?;
    let unbound = unbinding.join().map_err(|_| "the thread that unbinds has failed")?;
    ensure(unbound.is_ok(), format!("the device could not be unbound: {unbound:?}"))?;
    ensure(HostFunction::find(ids::EDU)?.driver().is_none(), "the device is still bound")
}

/// The card's audio function and a network card with their own drivers, the graphics function with none.
struct Managed {
    passthrough: Passthrough,
    functions: Vec<(HostFunction, Option<&'static str>)>,
    views: Vec<View>,
}

impl Managed {
    fn new() -> Outcome<Self> {
        let [gpu, audio, nic] = [ids::GPU, ids::AUDIO, ids::E1000E].map(HostFunction::find);
        let functions = vec![(gpu?, None), (audio?, Some("snd_hda_intel")), (nic?, Some("e1000e"))];
        for (function, driver) in &functions {
            function.bind(*driver)?;
        }
        let views = functions.iter().map(|(function, _)| function.view()).collect::<Outcome<_>>()?;
        let [gpu, audio, nic] = functions.as_slice() else { return Err("three functions are needed".into()) };
        let [gpu, audio, nic] = [gpu, audio, nic].map(|(function, _)| function.address.clone());
        let gpu = Gpu { host: gpu, others: vec![audio], ids: Some(SPOOFED), rom: Rom::Off, manage: true };
        let nic = Function { host: nic, guest: "02:00.0".into(), manage: true };
        Ok(Self { passthrough: Passthrough { gpu: Some(gpu), functions: vec![nic] }, functions, views })
    }

    /// The program does this itself; the peer can't.
    fn prepare(&self, options: &Options) -> Outcome {
        if options.hypervisor == Hypervisor::Peer {
            self.functions.iter().try_for_each(|(function, _)| function.bind(Some(VFIO)))?;
        }
        Ok(())
    }

    fn given_back(&self, options: &Options) -> Outcome {
        if options.hypervisor == Hypervisor::Peer {
            self.functions.iter().try_for_each(|(function, driver)| function.bind(*driver))?;
        }
        self.views.iter().try_for_each(View::compare)
    }

    fn judge(finished: &Finished) -> Outcome {
        finished.passed("net")?;
        finished.passed("pci")?;
        finished.printed("PCI 0000:01:00.1 0x8086 0x2668")
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        for (function, _) in &self.functions {
            let _ = function.bind(None);
        }
    }
}

fn managed() -> Outcome {
    let options = Options::default();
    let managed = Managed::new()?;
    managed.prepare(&options)?;
    if options.hypervisor == Hypervisor::Optimus {
        nothing_taken_for_a_wrong_path(&managed)?;
        signals_end_a_start(&managed)?;
    }
    let machine = Machine::small("test=net,pci")?.directly().with_passthrough(managed.passthrough.clone());
    Managed::judge(&machine.run(&options)?)?;
    managed.given_back(&options)
}

/// Devices that are taken and given back look as before: only the log tells that they were left alone.
fn nothing_taken_for_a_wrong_path(managed: &Managed) -> Outcome {
    let machine = application(&program::spin())?
        .with_passthrough(managed.passthrough.clone())
        .with_disk(Disk::new("/none.img", Format::Raw, "none"));
    let options = Options::default().within(20).under(["env", "OPTIMUS_VMM_LOG=debug"]);
    let finished = machine.run(&options)?;
    finished.status(2)?;
    finished.said("vm.toml:")?;
    finished.said("/none.img does not exist")?;
    finished.ensure(!finished.stderr.contains("driver_override"), "a device was taken")?;
    managed.given_back(&options)
}

/// SIGTERM while another start has the record of changes, and while devices are being taken.
fn signals_end_a_start(managed: &Managed) -> Outcome {
    let options = Options::default().within(40);
    let start = || -> Outcome<(Machine, Running)> {
        let machine = application(&program::spin())?
            .with_passthrough(managed.passthrough.clone())
            .with_key("grace = 1");
        let running = machine.start(&options)?;
        Ok((machine, running))
    };
    let ended = |running: Running| -> Outcome {
        running.signal(Signal::TERM)?;
        let finished = running.wait()?;
        finished.status(128 + 15)?;
        finished.ensure(finished.elapsed.as_secs() < 40, "it has not ended at once")?;
        managed.given_back(&options)
    };
    let records = std::path::Path::new("/var/lib/optimus-vmm");
    std::fs::create_dir_all(records)?;
    let other = std::fs::File::open(records)?;
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive)?;
    let (machine, running) = start()?;
    // The last file that is opened before devices are looked at: the variables come from their template.
    wait_until(|| machine.vars().exists())?;
    ended(running)?;
    drop(other);

    let (_machine, running) = start()?;
    let [_, _, (nic, _)] = managed.functions.as_slice() else {
        return Err("three functions are needed".into());
    };
    wait_until(|| nic.driver().as_deref() != Some("e1000e"))?;
    ended(running)
}

fn wait_until(seen: impl Fn() -> bool) -> Outcome {
    for _ in 0..3000 {
        if seen() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Err("it has not happened within 30 s".into())
}

/// What a killed run could not give back, the next one does, also when it is refused for another reason.
fn managed_after_kill() -> Outcome {
    let options = Options::default();
    let managed = Managed::new()?;
    managed.prepare(&options)?;
    let machine = Machine::small("test=net,pci")?.directly().with_passthrough(managed.passthrough.clone());
    let mut running = machine.start(&options)?;
    running.expect("L2-USERSPACE-UP")?;
    running.kill()?.status(128 + 9)?;
    let taken = managed.functions.iter().all(|(function, _)| function.driver().as_deref() == Some(VFIO));
    ensure(taken, "a killed process can't give anything back: who did?")?;

    Managed::judge(&machine.run(&options)?)?;
    managed.given_back(&options)
}
