//! What a machine that ran out of time was doing, told apart: kept waiting by its host, wedged, idle or busy.

use std::time::Duration;

use vocabulary::ports;

use crate::cpu::msr::Ledger;
use crate::cpu::report::CpuReport;
use crate::cpu::tally::{Access, Moment};

/// Between two looks.
pub(super) const BETWEEN: Duration = Duration::from_millis(200);

/// An access to a register that was refused longer ago than this has not crashed a guest that crashes now.
const CAUSE: Duration = Duration::from_secs(60);

/// A line, with the break before it, on the last access to a model-specific register that was refused, beside a guest's crash: a
/// driver that does not expect the exception is a common reason. Empty if there was none of late. Whether the user can help it is
/// said only where so: registers that KVM knows, and this guest has not, are refused whatever `[cpu] msrs` says.
pub(super) fn refused_msr(msrs: &Ledger) -> String {
    match msrs.last_refused() {
        Some((refusal, ago)) if ago <= CAUSE => {
            let help = if refusal.refused.unknown {
                "; if that is the reason, `msrs = \"ignore\"` in [cpu] may help"
            } else {
                ""
            };
            let ago = ago.as_secs_f64();
            format!(
                "\nthe last access to a model-specific register that was refused, {ago:.1} s before: {refusal}{help}"
            )
        }
        _ => String::new(),
    }
}

/// One sentence on vCPUs whose accesses were not answered from one moment to another, [`BETWEEN`] later: they wait for us,
/// whatever their registers look like. `None` without such vCPUs. `pinning`: guest memory is being opened to devices.
pub(super) fn waiting(before: &[Moment], after: &[Moment], pinning: bool) -> Option<String> {
    let waiting: Vec<String> = before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (before, after))| before == after)
        .filter_map(|(index, (_, moment))| Some((index, moment.access?)))
        .map(|(index, access)| format!("vCPU {index} for {}", awaited(access, pinning)))
        .collect();
    (!waiting.is_empty()).then(|| format!("the guest waits for its host: {}", waiting.join(", ")))
}

fn awaited(access: Access, pinning: bool) -> String {
    let place = match access {
        Access::Port(port) => {
            if let Some(device) = console(u64::from(port)) {
                return format!("somebody to take the output of its {device}");
            }
            format!("port {port:#x}")
        }
        Access::Memory(address) => format!("address {address:#x}"),
    };
    if pinning {
        format!("its memory to be opened to passed-through devices, since it accessed {place}")
    } else {
        format!("the device at {place} to answer")
    }
}

/// The device at a port that waits for nothing but room for its output.
fn console(port: u64) -> Option<&'static str> {
    [(ports::COM1, "serial port"), (ports::DEBUGCON, "debug port")]
        .into_iter()
        .find_map(|(ports, name)| (u64::from(ports.first()) == port).then_some(name))
}

/// Two looks at the vCPUs, [`BETWEEN`] apart.
pub(super) struct Looks {
    /// The first.
    pub before: Vec<CpuReport>,
    /// The second.
    pub after: Vec<CpuReport>,
}

/// How far an instruction pointer moves within a tight loop, in bytes.
const TIGHT_LOOP: u64 = 64;

/// One sentence on the guest, and the registers of its vCPUs.
pub(super) fn describe(looks: &Looks) -> String {
    let started: Vec<&CpuReport> = looks.after.iter().filter(|report| !report.waits_for_startup()).collect();
    let stuck = |report: &CpuReport| {
        report.halted_for_good()
            || (report.spins_without_interrupts()
                && looks.before.iter().any(|before| {
                    before.index == report.index
                        && before.spins_without_interrupts()
                        && before.rip().abs_diff(report.rip()) <= TIGHT_LOOP
                }))
    };
    let verdict = if started.is_empty() {
        "the guest never started".to_owned()
    } else if started.iter().all(|report| report.halted_for_good()) {
        "the guest is wedged: every vCPU halts with interrupts off, so nothing can wake it".to_owned()
    } else if let Some(report) = started.iter().find(|report| stuck(report)) {
        let how = if report.halted_for_good() { "halts" } else { "spins" };
        format!("the guest is wedged: vCPU {} {how} at {:#x} with interrupts off", report.index, report.rip())
    } else if started.iter().all(|report| report.idle()) {
        "the guest is idle and waits for something".to_owned()
    } else {
        "the guest is busy".to_owned()
    };
    looks.after.iter().fold(verdict, |text, report| format!("{text}\n{report}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vocabulary::{CpuVendor, Topology};

    use super::*;
    use crate::cpu::msr::{self, Accessed, MsrExits, Processor, Refused, Unknown};

    #[test]
    fn help_is_named_where_it_helps() {
        let topology = Topology { sockets: 1, cores: 1, threads: 1 };
        let processor = Processor { vendor: CpuVendor::Intel, topology };
        let ledger = Arc::<Ledger>::default();
        let exits = MsrExits { vcpu: 0, processor, unknown: Unknown::Fault, ledger: Arc::clone(&ledger) };
        assert_eq!(refused_msr(&ledger), "");
        let accessed = Accessed { index: 0x345, name: None, access: msr::Access::Read };
        for (unknown, helps) in [(true, true), (false, false)] {
            exits.refused_at(Refused { accessed, unknown }, Some(0x1000));
            let said = refused_msr(&ledger);
            assert!(said.contains("read of MSR 0x345 by vCPU 0 at RIP 0000000000001000"), "{said}");
            assert_eq!(said.contains("`msrs = \"ignore\"` in [cpu]"), helps, "{said}");
        }
    }

    fn at(exits: u64, access: Option<Access>) -> Moment {
        Moment { exits, access }
    }

    #[test]
    fn who_waits_for_the_host_is_told_from_who_runs() {
        let (com1, debug) = (Some(Access::Port(0x3f8)), Some(Access::Port(0x402)));
        let (plan, bar) = (Some(Access::Port(0xcfc)), Some(Access::Memory(0x8000_0000)));
        for (before, after, pinning, expected) in [
            // In the guest at both looks, be it a loop without interrupts.
            (vec![at(7, None)], vec![at(7, None)], false, None),
            // In the guest at one of them.
            (vec![at(7, bar)], vec![at(8, None)], false, None),
            (vec![at(7, None)], vec![at(7, bar)], false, None),
            // It polls a device, which answers each time.
            (vec![at(7, plan)], vec![at(900, plan)], false, None),
            (vec![at(7, plan)], vec![at(900, plan)], true, None),
            (
                vec![at(7, com1)],
                vec![at(7, com1)],
                false,
                Some("vCPU 0 for somebody to take the output of its serial port"),
            ),
            (
                vec![at(0, debug)],
                vec![at(0, debug)],
                true,
                Some("vCPU 0 for somebody to take the output of its debug port"),
            ),
            // The serial port's other registers answer at once.
            (
                vec![at(7, Some(Access::Port(0x3fd)))],
                vec![at(7, Some(Access::Port(0x3fd)))],
                false,
                Some("vCPU 0 for the device at port 0x3fd to answer"),
            ),
            (
                vec![at(7, bar)],
                vec![at(7, bar)],
                false,
                Some("vCPU 0 for the device at address 0x80000000 to answer"),
            ),
            (
                vec![at(7, plan)],
                vec![at(7, plan)],
                true,
                Some(
                    "vCPU 0 for its memory to be opened to passed-through devices, since it accessed port 0xcfc",
                ),
            ),
            // Each by itself.
            (
                vec![at(1, bar), at(2, None), at(3, bar), at(4, plan)],
                vec![at(1, bar), at(2, None), at(4, bar), at(4, plan)],
                false,
                Some(
                    "vCPU 0 for the device at address 0x80000000 to answer, vCPU 3 for the device at port 0xcfc to answer",
                ),
            ),
        ] {
            let expected = expected.map(|what| format!("the guest waits for its host: {what}"));
            assert_eq!(waiting(&before, &after, pinning), expected, "{before:?} {after:?}");
        }
    }
}
