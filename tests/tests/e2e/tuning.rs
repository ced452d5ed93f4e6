//! `[host]`: settings change for the time of a run, and the next start puts back what a killed one left, in a host of four CPUs;
//! and what becomes of a guest when the host sleeps, by a logind of our own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::logind::{Done, Logind};
use tests::machine::Machine;
use tests::run::Options;
use tests::{Outcome, binary, ensure, toml};

use crate::{Scenario, by_hand, scenario, several_cpus};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("the_guest_rests_while_the_host_sleeps", 15, sleeps),
    several_cpus("settings_of_the_host_are_put_back_after_a_kill", 30, 4, killed),
    by_hand("tuning_soak_kills_at_random_moments", soak),
];

const GROUPS: &str = "/sys/fs/cgroup";
const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// 256 MiB in pages of 2 MiB; two of four CPUs for vCPUs.
fn machine(host: &str) -> Outcome<Machine> {
    let mut machine = Machine::small("test=sizes after=halt")?.with_topology(1, 2, 1).directly();
    machine.memory = "256M".into();
    machine.cpu_keys.push("pin = [[2], [3]]".into());
    machine.machine_keys.push("hugepages = \"2M\"".into());
    machine.sections.push_str(host);
    Ok(machine)
}

const TUNED: &str = "[host]\nisolate = true\nhugepages = \"allocate\"\n";

/// A control group with a process, and one inside with another, as services have them.
struct Service(Child);

impl Service {
    fn new() -> Outcome<Self> {
        let folder = Path::new(GROUPS).join("service.slice");
        fs::create_dir_all(&folder)?;
        let process = Command::new("sleep").arg("100000").spawn()?;
        fs::write(folder.join("cgroup.procs"), process.id().to_string())?;
        Ok(Self(process))
    }

    /// The CPUs that its process may run on.
    fn cpus(&self) -> Outcome<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Ok(list.unwrap_or_default().trim().to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir(Path::new(GROUPS).join("service.slice"));
    }
}

/// Every setting that may be changed, by its file.
fn settings() -> BTreeMap<String, Option<String>> {
    let groups =
        ["cgroup.subtree_control", "service.slice/cgroup.subtree_control", "service.slice/cpuset.cpus"];
    let files = groups.map(|name| format!("{GROUPS}/{name}")).into_iter().chain([PAGES.to_owned()]);
    files.map(|file| (file.clone(), fs::read_to_string(file).ok())).collect()
}

/// No record of changes is left.
fn no_record() -> Outcome {
    match fs::read_dir("/var/lib/optimus-vmm") {
        Ok(names) => ensure(names.count() == 0, "a record of changes is left"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn killed() -> Outcome {
    let service = Service::new()?;
    let before = settings();
    ensure(service.cpus()? == "0-3", format!("the service has {}", service.cpus()?))?;

    // It has no frequencies to choose, and says so.
    let fast = machine("[host]\ngovernor = \"performance\"\n")?;
    let config = fast.file("vm.toml");
    fs::write(&config, toml::of(&fast))?;
    let refused = Command::new(binary::path()?).arg("plan").arg(&config).output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let governor = Path::new("/sys/devices/system/cpu/cpu2/cpufreq").exists();
    ensure(
        governor || said.contains("leave `governor` out"),
        format!("`plan` says of the governor: {said}"),
    )?;

    let tuned = machine(TUNED)?;
    let mut running = tuned.start(&Options::default())?;
    running.expect("L2-TEST-PASSED sizes")?;
    ensure(service.cpus()? == "0-1", format!("the service has CPU {} beside vCPUs", service.cpus()?))?;
    ensure(fs::read_to_string(PAGES)?.trim() == "128", "the pool has not the guest's 128 pages")?;
    running.kill()?.status(128 + 9)?;
    ensure(service.cpus()? == "0-1", "a killed process can't put anything back: who did?")?;

    // Any machine's start does, here of one that has nothing to change; and that finds no huge pages then.
    let plain = machine("")?;
    let refused = plain.run(&Options::default())?;
    refused.said("without putting settings of the host back")?;
    refused.said("huge pages")?;
    ensure(settings() == before, format!("settings are {:?}, and were {before:?}", settings()))?;
    ensure(service.cpus()? == "0-3", format!("the service has {}", service.cpus()?))?;
    no_record()?;

    // A run that ends in order puts them back itself, also by a signal.
    let tuned = machine(TUNED)?.with_key("grace = 0");
    let mut running = tuned.start(&Options::default())?;
    running.expect("L2-TEST-PASSED sizes")?;
    running.signal(Signal::TERM)?;
    running.wait()?.status(128 + 15)?;
    ensure(settings() == before, format!("settings are {:?}, and were {before:?}", settings()))?;
    no_record()
}

/// 200 kills between the start and a guest that runs.
fn soak() -> Outcome {
    let service = Service::new()?;
    let before = settings();
    let tuned = machine(TUNED)?;
    let config = tuned.file("vm.toml");
    fs::write(&config, toml::of(&tuned))?;
    // More than any host has: refused after what is left of others was put back.
    let large = tuned.file("large.toml");
    fs::write(
        &large,
        toml::of(&tuned).replace("\"256M\"", "\"4096G\"").replace(TUNED, "").replace("\"2M\"", "false"),
    )?;
    let start = |config: &Path| {
        let mut command = Command::new(binary::path()?);
        command.args(["run", "--headless"]).arg(config);
        Outcome::Ok(command)
    };
    // From changes that are not yet begun to a guest that runs, by a generator of its own: the same moments each time.
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut changed = 0;
    for round in 0..200 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = start(&config)?.spawn()?;
        let deadline = Instant::now() + Duration::from_micros(random % 600_000);
        sleep(deadline.saturating_duration_since(Instant::now()));
        child.kill()?;
        child.wait()?;
        changed += u32::from(settings() != before);
        let refused = start(&large)?.output()?;
        ensure(refused.status.code() == Some(3), format!("{:?}", String::from_utf8_lossy(&refused.stderr)))?;
        ensure(settings() == before, format!("round {round}: {:?}, and not {before:?}", settings()))?;
        no_record()?;
    }
    crate::say(&format!("200 kills, of which {changed} left settings changed: all were put back"));
    ensure(changed > 20, format!("only {changed} of 200 kills came while settings were changed"))?;
    ensure(service.cpus()? == "0-3", format!("the service has {}", service.cpus()?))?;
    Ok(())
}

/// What `ctl status` says of the machine.
fn state() -> Outcome<String> {
    let output = Command::new(binary::path()?).args(["ctl", "machine", "--json", "status"]).output()?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(status["status"].as_str().unwrap_or_default().to_owned())
}

/// The guest is paused before the host sleeps and goes on afterwards, or is told to power off.
fn sleeps() -> Outcome {
    let logind = Logind::start()?;
    let small = |value: &str| {
        let mut machine = Machine::small("test=sizes after=halt")?.directly();
        machine.sections.push_str(&format!("[host]\non_sleep = \"{value}\"\n"));
        Outcome::Ok(machine)
    };
    let next = |expected: Done| {
        let done = logind.next()?;
        ensure(done == expected, format!("{done:?} at logind, and not {expected:?}"))
    };

    let machine = small("pause")?;
    let mut running = machine.start(&Options::default())?;
    running.expect("L2-TEST-PASSED sizes")?;
    next(Done::Locked("delay"))?;
    for _ in 0..3 {
        ensure(state()? == "running", format!("the machine is {}", state()?))?;
        logind.announce(true)?;
        next(Done::Closed)?;
        ensure(state()? == "paused", format!("the host may sleep, and the machine is {}", state()?))?;
        logind.announce(false)?;
        next(Done::Locked("delay"))?;
    }
    running.kill()?.status(128 + 9)?;
    next(Done::Closed)?;

    let machine = small("shutdown")?;
    let mut running = machine.start(&Options::default())?;
    running.expect("L2-TEST-PASSED sizes")?;
    next(Done::Locked("delay"))?;
    logind.announce(true)?;
    // The small guest does not listen to it.
    running.expect_event("power_button")?;
    running.kill()?.status(128 + 9)?;
    next(Done::Closed)?;

    let machine = small("refuse")?;
    let mut running = machine.start(&Options::default())?;
    running.expect("L2-TEST-PASSED sizes")?;
    next(Done::Locked("block"))?;
    running.kill()?.status(128 + 9)?;
    next(Done::Closed)?;

    drop(logind);
    let refused = machine.run(&Options::default())?;
    refused.status(3)?;
    refused.said("nobody can be asked about the host's sleep")?;
    refused.said("on_sleep = \"refuse\"")
}
