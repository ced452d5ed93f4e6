//! `pin` of `[cpu]` in a host of four CPUs: which CPUs each thread of a machine may run on, as `taskset` sees it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use tests::machine::Machine;
use tests::run::Options;
use tests::{Outcome, binary, ensure, lab, toml};

use crate::{Scenario, several_cpus};

pub(crate) const SCENARIOS: &[Scenario] = &[several_cpus("threads_run_where_they_are_pinned", 90, 4, pinned)];

/// Threads besides those of vCPUs: the main one, the console's, the VNC server's, a virtio worker.
const OTHERS_AT_LEAST: usize = 4;

/// The CPUs of each thread of a process, by its name; threads of the same name have the same.
fn threads(pid: u32) -> Outcome<BTreeMap<String, String>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let id = entry?.file_name().to_string_lossy().into_owned();
        let name = fs::read_to_string(format!("/proc/{pid}/task/{id}/comm"))?.trim().to_owned();
        // One of the kernel's, which the first vCPU starts.
        if name.starts_with("kvm-") {
            continue;
        }
        // "pid 7's current affinity list: 0-3"
        let shown = lab::call("taskset", &["-p", "-c", &id])?;
        let cpus = shown.rsplit(": ").next().unwrap_or_default().trim().to_owned();
        if let Some(other) = threads.insert(name.clone(), cpus.clone()) {
            ensure(other == cpus, format!("threads {name} run on {other} and on {cpus}"))?;
        }
    }
    Ok(threads)
}

/// What `plan` announces of a machine.
fn placement(machine: &Machine) -> Outcome<(Vec<String>, String)> {
    let config = machine.file("vm.toml");
    fs::write(&config, toml::of(machine))?;
    let shown = lab::call(
        &binary::path()?.display().to_string(),
        &["plan", "--json", &config.display().to_string()],
    )?;
    let plan: Value = serde_json::from_str(&shown)?;
    let placement = &plan["cpus"]["placement"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let vcpus = placement["vcpus"].as_array().ok_or(format!("no placement in {plan}"))?;
    Ok((vcpus.iter().map(text).collect(), text(&placement["others"])))
}

fn pinned() -> Outcome {
    // All four CPUs of this host are cores of one thread.
    for (pin, vcpus, others) in [("\"auto\"", ["1", "2"], "0,3"), ("[[3], \"1-2\"]", ["3", "1,2"], "0")] {
        let mut machine = Machine::small("test=sizes after=halt")?.with_topology(1, 2, 1).directly();
        machine.cpu_keys.push(format!("pin = {pin}"));
        machine.screen = Some("vnc = \"127.0.0.1:5900\"".into());
        let planned = placement(&machine)?;
        // The kernel writes `1-2`, taskset `1,2`.
        let written = |cpus: &str| cpus.replace("1,2", "1-2");
        let expected: Vec<String> = vcpus.iter().map(|cpus| written(cpus)).collect();
        ensure(
            planned == (expected.clone(), others.to_owned()),
            format!("pin = {pin} is planned as {planned:?}"),
        )?;
        let mut running = machine.start(&Options::default())?;
        running.expect("L2-TEST-PASSED sizes")?;
        let found = threads(running.pid())?;
        for (name, cpus) in &found {
            let wanted = match name.strip_prefix("vcpu").and_then(|index| index.parse::<usize>().ok()) {
                Some(index) => vcpus.get(index).copied().unwrap_or_default(),
                None => others,
            };
            ensure(
                cpus == wanted || written(cpus) == written(wanted),
                format!("pin = {pin}: the thread {name} runs on {cpus}, and not on {wanted}: {found:?}"),
            )?;
        }
        let vcpu_threads = found.keys().filter(|name| name.starts_with("vcpu")).count();
        ensure(
            vcpu_threads == 2 && found.len() >= 2 + OTHERS_AT_LEAST,
            format!("pin = {pin}: threads are missing: {found:?}"),
        )?;
        let status =
            lab::call(&binary::path()?.display().to_string(), &["ctl", "machine", "--json", "status"])?;
        let status: Value = serde_json::from_str(&status)?;
        for (index, cpus) in expected.iter().enumerate() {
            let schedule = &status["schedule"][index];
            ensure(
                schedule["cpus"] == cpus.as_str()
                    && schedule["ran_ns"].as_u64() > Some(0)
                    && schedule["waited_ns"].is_u64(),
                format!("pin = {pin}: the status of vCPU {index} is {schedule}"),
            )?;
        }
        running.kill()?;
    }
    Ok(())
}
