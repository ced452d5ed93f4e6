//! Interrupts, DMA, BARs and whole devices.

use rustix::process::Signal;
use tests::machine::Machine;
use tests::run::{Finished, Hypervisor, Options};
use tests::vfio::{HostFunction, Lent, ids};
use tests::{Outcome, ensure, image, lab, program};

use super::{pass, pass_to};
use crate::refusal::refusal;
use crate::{Scenario, crash, igpu, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("edu_answers_and_transfers", 60, edu),
    scenario("edu_bar_moves_and_vanishes_under_a_reader", 60, moving),
    scenario("edu_100000_interrupts_by_message_and_by_line", 190, interrupts),
    scenario("edu_interrupts_change_processors", 45, migrating),
    scenario("e1000e_traffic_is_intact", 40, || {
        traffic(ids::E1000E, Machine::small("test=net nic=e1000e")?.directly())
    }),
    scenario("igb_traffic_is_intact_across_resets", 60, || {
        traffic(ids::IGB, Machine::small("test=net nic=igb methods=flr")?.directly())
    }),
    scenario("igb_virtual_function_has_traffic", 40, virtual_function),
    scenario("igb_virtual_function_is_made_for_the_run", 30, virtual_for_the_run),
    scenario("nvme_reads_and_writes", 50, nvme),
    scenario("nvme_boots", 40, nvme_boots),
    scenario("bar_of_four_gib", 50, big_bar),
];

fn edu() -> Outcome {
    let commands = "ident,factorial,dma:14,read:10000,config:1000,ident";
    let finished = pass(&[ids::EDU], "edu", &format!("edu={commands}"), 2)?;
    for word in ["21 factorials are right", "14 rounds of transfers"] {
        finished.printed(word)?;
    }
    Ok(())
}

/// One thread reads the BAR while another moves it or stops its decoding.
///
/// The peer gets one processor: with two it ends with "kvm run failed Bad address" within a second, since it tells the device
/// of the change before it takes the BAR's memory from the guest.
fn moving() -> Outcome {
    let peer = Options::default().hypervisor == Hypervisor::Peer;
    let finished = pass(&[ids::EDU], "edu", "edu=toggle:3000,move:40,ident", if peer { 1 } else { 2 })?;
    // A read that nobody answers gives all ones, where the peer makes it zero.
    let fine = if peer { ", 0 were wrong" } else { ", 0 were zero, 0 were wrong" };
    let rounds = finished.serial.matches(fine).count();
    finished.ensure(rounds == 2, "not both rounds went well")
}

/// With one processor: of two, one would spin for the interrupt while the other waits for the lab's processor.
fn interrupts() -> Outcome {
    let machine = Machine::small("test=edu edu=msi:100000,intx:100000")?.directly();
    let finished = pass_to(machine, &[ids::EDU], "edu")?;
    let kinds = finished.serial.matches("100000 of 100000 interrupts, 0 without a cause").count();
    finished.ensure(kinds == 2, "not both kinds of interrupts went well")
}

/// Both kinds, in turn, moved to the other processor after every seventh.
fn migrating() -> Outcome {
    let finished = pass(&[ids::EDU], "edu", "edu=msi:500:7,intx:500:7,msi:100,intx:100,msi:500:1", 2)?;
    let rounds = finished.serial.matches("interrupts, 0 without a cause").count();
    finished.ensure(rounds == 5, format!("{rounds} rounds of interrupts went well, not 5"))
}

fn traffic(device: (u16, u16), machine: Machine) -> Outcome {
    let finished = pass_to(machine.with_topology(1, 2, 1), &[device], "net")?;
    finished.printed("TRAFFIC 1000000 bytes")?;
    let vectors = finished.serial.matches("PCI-MSIX").count();
    finished.ensure(vectors >= 2, "the driver did not use MSI-X")
}

/// A virtual function of a network card whose driver stays with the host.
fn virtual_function() -> Outcome {
    let card = HostFunction::find(ids::IGB)?;
    let before = card.driver();
    card.bind(Some("igb"))?;
    let done = with_virtual_function(&card);
    let _ = card.make_virtual(0);
    card.bind(before.as_deref())?;
    done
}

/// A machine makes one, bound and gone at the end, also of a run that was killed; and leaves alone those that were there before.
fn virtual_for_the_run() -> Outcome {
    let card = HostFunction::find(ids::IGB)?;
    let before = card.driver();
    card.bind(Some("igb"))?;
    let done = made_for_the_run(&card);
    let _ = card.make_virtual(0);
    card.bind(before.as_deref())?;
    done
}

fn made_for_the_run(card: &HostFunction) -> Outcome {
    let section = format!("[igpu]\nparent = \"{}\"\ntype = \"sriov\"\nramfb = false\n", card.address);
    let state = || {
        let read =
            |name| std::fs::read_to_string(card.path().join(name)).unwrap_or_default().trim().to_owned();
        ["sriov_numvfs", "sriov_drivers_autoprobe", "power/control"].map(read)
    };
    let before = state();
    ensure(before[..2] == ["0", "1"], format!("virtual functions before: {before:?}"))?;
    let as_before = || ensure(state() == before, format!("{before:?} has become {:?}", state()));

    let machine = igpu::with_section(Machine::small("test=pci")?.directly(), section.clone());
    let finished = machine.run(&Options::default())?;
    finished.passed("pci")?;
    finished.printed("PCI 0000:00:02.0 0x8086 0x10ca")?;
    as_before()?;

    let machine = igpu::with_section(crash::kernel(&program::spin())?, section.clone()).with_key("grace = 1");
    let start = || machine.start(&Options::default());
    let mut running = start()?;
    running.expect("APPLICATION-UP")?;
    let made = HostFunction::find(ids::IGB_VIRTUAL)?;
    ensure(made.driver().as_deref() == Some("vfio-pci"), "the virtual function is not lent")?;
    ensure(state() == ["1", "0", "on"], format!("while it runs: {:?}", state()))?;
    running.kill()?.status(128 + 9)?;
    ensure(state() == ["1", "0", "on"], "a killed process can't put anything back: who did?")?;
    let mut running = start()?;
    running.expect("APPLICATION-UP")?;
    running.signal(Signal::TERM)?;
    running.wait()?.said("an earlier run of")?;
    as_before()?;

    card.make_virtual(2)?;
    let drivers = || -> Vec<Option<String>> {
        let link = |index| std::fs::read_link(card.path().join(format!("virtfn{index}/driver")));
        [0, 1].map(|index| Some(link(index).ok()?.file_name()?.to_string_lossy().into_owned())).into()
    };
    let own = drivers();
    let mut running = start()?;
    running.expect("APPLICATION-UP")?;
    ensure(drivers() == [Some("vfio-pci".into()), own[1].clone()], format!("with two: {:?}", drivers()))?;
    running.signal(Signal::TERM)?;
    running.wait()?;
    ensure(state()[0] == "2" && drivers() == own, format!("{:?} and {:?} are left", state(), drivers()))?;
    card.make_virtual(0)?;

    // Its own driver makes them.
    card.bind(Some("vfio-pci"))?;
    let refused = igpu::with_section(crash::kernel(&program::spin())?, section).run(&Options::default())?;
    refusal(&refused, &[3], &[&format!("{} is bound to vfio-pci", card.address), "host release"])
}

fn with_virtual_function(card: &HostFunction) -> Outcome {
    let interface = std::fs::read_dir(card.path().join("net"))?.flatten().next();
    let interface = interface.ok_or("the card has no network interface")?.file_name();
    lab::call("ip", &["link", "set", &interface.to_string_lossy(), "up"])?;
    card.make_virtual(1)?;
    // It is new to the kernel; the others have been through this when the host booted. In a real one the bit is always 0.
    HostFunction::find(ids::IGB_VIRTUAL)?.enable_memory()?;
    // Its driver binds by its IDs, which its own configuration space does not have.
    traffic(ids::IGB_VIRTUAL, Machine::small("test=net nic=igbvf")?.directly())
}

/// The namespace, through the host's own driver, with which it is filled and judged.
fn with_namespace(what: impl FnOnce(&std::path::Path) -> Outcome) -> Outcome {
    let function = HostFunction::find(ids::NVME)?;
    let before = function.driver();
    function.bind(Some("nvme"))?;
    let block = std::path::Path::new("/dev/nvme0n1");
    for _ in 0..600 {
        if block.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let done = what(block);
    function.bind(before.as_deref())?;
    done
}

fn nvme() -> Outcome {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    })
    .take(1 << 20)
    .flatten()
    .collect();
    with_namespace(|block| Ok(std::fs::write(block, &content)?))?;
    let finished = pass(&[ids::NVME], "nvme", "", 2)?;
    let digest = |finished: &Finished, word: &str| -> Outcome<String> {
        let found = finished.serial.lines().find_map(|line| line.trim().strip_prefix(word));
        Ok(found.ok_or_else(|| finished.failure(format!("the guest printed no {word}")))?.trim().to_owned())
    };
    let (read, written) = (digest(&finished, "NVME-READ")?, digest(&finished, "NVME-WRITTEN")?);
    with_namespace(|block| {
        let script = "dd if=\"$0\" bs=1M skip=\"$1\" count=\"$2\" status=none | sha256sum | cut -d ' ' -f 1";
        let block = block.display().to_string();
        let host = |skip: &str, count: &str| lab::call("sh", &["-c", script, &block, skip, count]);
        finished.ensure(host("0", "8")?.trim() == read, "the guest read other data than the host wrote")?;
        finished.ensure(host("32", "4")?.trim() == written, "the host reads other data than the guest wrote")
    })
}

/// The firmware finds the disk by itself and starts what the host wrote there.
fn nvme_boots() -> Outcome {
    let machine = Machine::new()?.with_memory("256M");
    let disk = image::bootable(&machine.file("esp.img"), &program::power_off())?;
    with_namespace(|block| {
        std::fs::copy(&disk.path, block)?;
        Ok(())
    })?;
    let lent = Lent::take(&[ids::NVME])?;
    let machine = machine.with_functions(&lent.addresses());
    let finished = machine.run(&Options::default().within(120))?;
    finished.printed("APPLICATION-UP")?;
    finished.status(0)?;
    lent.unchanged()
}

/// At the place that the firmware finds for it.
fn big_bar() -> Outcome {
    // Debian's kernel keeps /dev/mem from BARs otherwise.
    let machine = Machine::small("test=bar iomem=relaxed")?.with_topology(1, 2, 1);
    let finished = pass_to(machine, &[ids::SHARED_MEMORY], "bar")?;
    finished.printed("BAR-SIZE 4294967296 at 0x")?;
    ensure(finished.serial.contains("BAR-PLACES"), "the BAR was not written")
}
