//! Hyper-V's interface, as Linux finds and uses it where KVM does not show its own.

use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::{Outcome, binary, ensure, lab};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("hyperv_gives_linux_its_clock_and_timers", 60, alone),
    scenario("linux_prefers_kvm_to_hyperv", 50, beside_kvm),
];

/// A shell in a guest with two processors.
fn start(keys: &[&str]) -> Outcome<(Machine, Running)> {
    let mut machine = Machine::small("test=shell")?.directly().with_topology(1, 2, 1);
    machine.cpu_keys = keys.iter().map(ToString::to_string).collect();
    let running = machine.start(&Options { interactive: true, ..Options::default() })?;
    Ok((machine, running))
}

/// What a command prints in the guest, which must succeed.
fn shell(running: &mut Running, command: &str) -> Outcome<String> {
    running.expect("# ")?;
    running.send(&format!("{command}; echo \"STATUS\"=$?\n"))?;
    let found = running.expect("(?s)\\n(.*?)STATUS=(\\d+)\\r")?;
    let [_, output, status] = found.as_slice() else { return Err("no output".into()) };
    ensure(status == "0", format!("in the guest, '{command}' ended with status {status}: {output}"))?;
    Ok(output.replace('\r', ""))
}

fn power_off(mut running: Running) -> Outcome {
    running.expect("# ")?;
    running.send("exit\n")?;
    running.wait()?.status(0)
}

/// The clock that Linux uses, and all that it could use.
fn clocks(running: &mut Running) -> Outcome<(String, String)> {
    // Longer lines, behind the shell's prompt, would be broken where they are typed.
    let both = shell(running, "(cd /sys/devices/system/cl*ce/*0; cat cur* ava*)")?;
    let mut lines = both.lines().filter(|line| !line.is_empty()).map(|line| line.trim().to_owned());
    Ok((lines.next().unwrap_or_default(), lines.next().unwrap_or_default()))
}

/// The registers of a leaf, as `plan --cpuid` has them.
fn planned(machine: &Machine, leaf: u32) -> Outcome<[u64; 4]> {
    let program = binary::path()?.display().to_string();
    let text =
        lab::call(&program, &["plan", "--cpuid", "--json", &machine.file("vm.toml").display().to_string()])?;
    let plan: serde_json::Value = serde_json::from_str(&text)?;
    let leaves = plan["cpus"][0]["leaves"].as_array().ok_or("no leaves")?;
    let found = leaves.iter().find(|found| found["leaf"] == leaf).ok_or("no such leaf")?;
    Ok(["eax", "ebx", "ecx", "edx"].map(|register| found[register].as_u64().unwrap_or_default()))
}

/// How many interrupts of synthetic timers each processor has had.
fn stimers(running: &mut Running) -> Outcome<Vec<u64>> {
    let line = shell(running, "grep HVS: /proc/interrupts")?;
    Ok(line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect())
}

fn alone() -> Outcome {
    let keys = ["os = \"windows\"", "hide_hypervisor = true", "vendor_id = \"Microsoft Hv\""];
    let (machine, mut running) = start(&keys)?;
    let log = shell(&mut running, "dmesg | grep -i hyper")?;
    let [features, advice] = [planned(&machine, 0x4000_0003)?, planned(&machine, 0x4000_0004)?];
    for told in [
        "Hypervisor detected: Microsoft Hyper-V".to_owned(),
        format!("Hyper-V: privilege flags low {:#x}, high {:#x},", features[0], features[1]),
        // Newer kernels show ECX before.
        format!(" hints {:#x}, misc {:#x}\n", advice[0], features[3]),
    ] {
        ensure(log.contains(&told), format!("the kernel does not say '{told}', but\n{log}"))?;
    }
    let (current, available) = clocks(&mut running)?;
    let page = "hyperv_clocksource_tsc_page";
    ensure(current == page, format!("the clock is {current} out of {available}"))?;
    ensure(!available.contains("kvm-clock"), format!("KVM's clock is there: {available}"))?;
    let before = stimers(&mut running)?;
    shell(&mut running, "sleep 2")?;
    let after = stimers(&mut running)?;
    let each = before.len() == 2 && before.iter().zip(&after).all(|(before, after)| before < after);
    ensure(each, format!("the timers of both processors should tick: {before:?}, then {after:?}"))?;
    power_off(running)
}

fn beside_kvm() -> Outcome {
    let (_machine, mut running) = start(&["os = \"windows\""])?;
    let log = shell(&mut running, "dmesg | grep 'Hypervisor detected'")?;
    ensure(log.contains("Hypervisor detected: KVM"), format!("the kernel says\n{log}"))?;
    let (_, available) = clocks(&mut running)?;
    ensure(available.contains("kvm-clock"), format!("KVM's clock is not there: {available}"))?;
    power_off(running)
}
