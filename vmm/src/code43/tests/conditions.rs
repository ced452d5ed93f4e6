//! Each condition, holding and not.

mod planned;
mod running;

use std::collections::BTreeSet;

use super::{GTX_1050, laptop, running};
use crate::code43::condition::{CONDITIONS, State, key};
use crate::code43::facts::{Facts, Ids, Live, Pair};
use crate::code43::{Driver, Report};
use planned::PLANNED;
use running::RUNNING;

/// A condition, what is different, which driver is asked about, and what is to be said.
type Case = (&'static str, fn(&mut Facts), Driver, State, &'static str);

const OLD: Driver = Driver::Branch(442);
const FIRST: Driver = Driver::Branch(465);
const NEW: Driver = Driver::Branch(551);

fn ids(vendor: u16, device: u16) -> Pair {
    Pair { vendor, device }
}

fn own(facts: &mut Facts) -> &mut Ids {
    facts.gpu.as_mut().unwrap().own.as_mut().unwrap()
}

fn live(facts: &mut Facts) -> &mut Live {
    facts.live.as_mut().unwrap()
}

fn check(cases: &[Case], base: fn() -> Facts) {
    for (id, change, driver, state, words) in cases {
        let mut facts = base();
        change(&mut facts);
        let report = Report::new(&facts, *driver);
        let finding = report.conditions.iter().find(|finding| finding.id == *id);
        let finding = finding.unwrap_or_else(|| panic!("{id} ({words}) is not told"));
        let said =
            format!("{} {}", finding.found, finding.change.as_ref().map_or("", |change| &change.advice));
        assert_eq!(finding.state, *state, "{id} {driver:?}: {said}");
        assert!(said.contains(words), "{id} {driver:?}: {words} is not in {said}");
    }
}

#[test]
fn conditions_hold_and_fail() {
    check(PLANNED, laptop);
    check(RUNNING, running);
}

#[test]
fn each_condition_is_seen_both_ways() {
    let seen = |wanted: fn(State) -> bool| -> BTreeSet<&str> {
        let cases = PLANNED.iter().chain(RUNNING);
        cases.filter(|(_, _, _, state, _)| wanted(*state)).map(|(id, ..)| *id).collect()
    };
    let all: BTreeSet<&str> = CONDITIONS.iter().map(|condition| condition.id).collect();
    assert_eq!(all.len(), CONDITIONS.len(), "names are unique");
    assert_eq!(seen(|state| state == State::Ok), all);
    assert_eq!(seen(|state| state != State::Ok), all);
}

/// Every advice of the table that names a key gives its line where vm.toml has it.
#[test]
fn keys_are_those_whose_lines_are_known() {
    let known: BTreeSet<String> = key::ALL.iter().map(ToString::to_string).collect();
    for (id, change, driver, ..) in PLANNED {
        let mut facts = laptop();
        change(&mut facts);
        for finding in Report::new(&facts, *driver).conditions {
            if let Some(key) = finding.change.and_then(|change| change.key) {
                assert!(known.contains(&key), "{id}: {key}");
            }
        }
    }
}

#[test]
fn what_no_gpu_needs_is_not_asked() {
    let without = Facts { gpu: None, ..laptop() };
    let ids = |facts: &Facts| -> Vec<&str> {
        Report::new(facts, Driver::Any).conditions.iter().map(|finding| finding.id).collect()
    };
    // A ROM can be tried without its GPU.
    assert_eq!(ids(&without), ["gpu", "rom-method", "vbios", "vbios-id"]);
    assert_eq!(ids(&Facts { rom_method: None, ..without }), ["gpu"]);
    // Only a running machine has registers.
    assert!(!ids(&laptop()).contains(&"decoding"));
    assert_eq!(ids(&running()).len(), CONDITIONS.len());
    assert_eq!(laptop().shown_ids(), Some(GTX_1050));
}
