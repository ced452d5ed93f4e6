//! What a machine that ran out of time was doing, told apart: wedged, idle or busy.

use crate::cpu::report::CpuReport;

/// Two looks at the vCPUs, a moment apart.
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
