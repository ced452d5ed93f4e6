//! Stock firmware of every release, a kernel handed over by fw_cfg, all sizes of machines.

use std::time::{SystemTime, UNIX_EPOCH};

use tests::Outcome;
use tests::lab::Firmware;
use tests::machine::Machine;
use tests::run::{Finished, Options};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("ovmf_2022_11_2m_with_256_mib_of_huge_pages", 30, oldest_and_smallest),
    scenario("ovmf_2022_11_4m_with_2_gib_and_2_cores", 40, two_cores),
    scenario("ovmf_2025_02_with_4_processors", 60, four_processors),
    Scenario { large: true, ..scenario("ovmf_2026_08_with_5_gib", 60, newest_and_largest) },
];

fn oldest_and_smallest() -> Outcome {
    // As an administrator would: a pool for this machine.
    std::fs::write("/proc/sys/vm/nr_hugepages", "130")?;
    let machine = small([Firmware::ALL[0]])?.with_memory("256M").with_key("hugepages = \"2M\"");
    let finished = machine.run(&Options::default());
    std::fs::write("/proc/sys/vm/nr_hugepages", "0")?;
    let finished = finished?;
    sizes(&finished, 1, 256)?;
    handed_over(&finished)
}

fn two_cores() -> Outcome {
    let machine =
        small([Firmware::ALL[1]])?.with_memory("2G").with_topology(1, 2, 1).with_key("shared = true");
    let finished = machine.run(&Options::default())?;
    sizes(&finished, 2, 2048)?;
    finished.printed("CPU 0 package 0 core 0 threads 0\n")?;
    finished.printed("CPU 1 package 0 core 1 threads 1\n")
}

fn four_processors() -> Outcome {
    let machine = small([Firmware::ALL[2]])?.with_topology(2, 1, 2);
    let finished = machine.run(&Options::default().within(300))?;
    sizes(&finished, 4, 1024)?;
    // Two packages of one core with two threads each.
    let packages: Vec<_> = finished.serial.lines().filter(|line| line.starts_with("CPU ")).collect();
    for (package, threads) in [(0, "0-1"), (1, "2-3")] {
        let count = packages
            .iter()
            .filter(|line| line.contains(&format!("package {package} ")) && line.ends_with(threads))
            .count();
        finished.ensure(count == 2, format!("package {package} should have the threads {threads}"))?;
    }
    Ok(())
}

fn newest_and_largest() -> Outcome {
    let machine = small([Firmware::ALL[3]])?.with_memory("5G");
    sizes(&machine.run(&Options::default())?, 1, 5120)
}

fn small([firmware]: [Firmware; 1]) -> Outcome<Machine> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(Machine::small(&format!("test=sizes,clock,rng now={now}"))?.with_firmware(firmware))
}

/// The guest powered off by itself, and found the processors and the memory it was to have.
fn sizes(finished: &Finished, processors: u64, mib: u64) -> Outcome {
    for test in ["sizes", "clock", "rng"] {
        finished.passed(test)?;
    }
    finished.quiet()?;
    let count = finished.last_number("CPUS-ONLINE");
    finished.ensure(count == Some(processors), format!("the guest should have {processors} processors"))?;
    // The firmware keeps some for itself and says so in other ways.
    let map = finished.last_number("MEMORY-MAP-MIB").unwrap_or_default();
    finished.ensure(
        map <= mib && map + mib / 50 + 24 >= mib,
        format!("the guest's memory map has {map} MiB of RAM, expected a little less than {mib} MiB"),
    )
}

/// `--events` tells the way from the process to the kernel.
fn handed_over(finished: &Finished) -> Outcome {
    let time = |kind: &'static str| {
        let event = finished.events_of(kind).next();
        let time = event.and_then(|event| event["ns"].as_u64());
        time.ok_or_else(|| finished.failure(format!("--events has no '{kind}'")))
    };
    // Releases of OVMF differ in which of the last two comes first.
    let early = ["process_start", "memory_ready", "first_instruction", "firmware_fw_cfg"];
    for last in ["table_loader", "kernel_handed_over"] {
        let order = early.into_iter().chain([last, "guest_poweroff", "exit"]);
        let times = order.map(time).collect::<Outcome<Vec<_>>>()?;
        finished.ensure(times.is_sorted(), format!("events are out of order: {:?}", finished.events))?;
    }
    let exit = finished.events_of("exit").next().ok_or("no exit")?;
    finished
        .ensure(exit["status"] == 0 && exit["reason"] == "poweroff", format!("wrong exit event: {exit}"))?;
    finished.ensure(exit["exits"]["io_out"].as_u64() > Some(100), format!("exits are not counted: {exit}"))
}
