//! Devices of the host in the guest, by real VFIO: what the guest finds and what the host finds afterwards.
//!
//! The labs of these scenarios have the devices of `scripts/lab exec --gpu`.

mod devices;
mod doctor;
mod gpu;
mod life;
mod refusal;
mod unfit;

use tests::Outcome;
use tests::machine::Machine;
use tests::run::{Finished, Options};
use tests::vfio::Lent;

use crate::Scenario;

/// All of them.
pub(crate) fn scenarios() -> Vec<Scenario> {
    [
        devices::SCENARIOS,
        doctor::SCENARIOS,
        gpu::SCENARIOS,
        life::SCENARIOS,
        refusal::SCENARIOS,
        unfit::SCENARIOS,
    ]
    .concat()
}

/// Runs the small guest with these devices, without firmware, and requires that its test passes and the host is as before.
fn pass(devices: &[(u16, u16)], test: &str, words: &str, cores: u32) -> Outcome<Finished> {
    let machine = Machine::small(&format!("test={test} {words}"))?.directly().with_topology(1, cores, 1);
    pass_to(machine, devices, test)
}

/// The same with this machine.
fn pass_to(machine: Machine, devices: &[(u16, u16)], test: &str) -> Outcome<Finished> {
    let lent = Lent::take(devices)?;
    let machine = machine.with_functions(&lent.addresses());
    let finished = machine.run(&Options::default().within(900))?;
    finished.passed(test)?;
    lent.unchanged()?;
    Ok(finished)
}
