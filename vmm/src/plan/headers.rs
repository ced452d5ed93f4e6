//! What the headers must say for every function to be found: firmware and systems look for function 0 first, and for the
//! others only if the header of function 0 has its multi-function bit set (PCI Express base specification 6.0 §7.5.1.1.9).

use std::collections::BTreeSet;

use super::passthrough::Unplaced;
use super::place::{HOST_BRIDGE, Planner};
use crate::topology::Role;

impl Planner<'_> {
    /// Tells which functions would never be found.
    pub(super) fn check_function_zero(&mut self) {
        let missing: Vec<_> = self
            .taken
            .iter()
            .filter(|((_, _, function), _)| *function != 0)
            .filter_map(|(&(bus, device, function), (_, key))| {
                let why = if (bus, device) == (0, HOST_BRIDGE.0) {
                    "because the host bridge has one function only".to_owned()
                } else if !self.taken.contains_key(&(bus, device, 0)) {
                    format!("because nothing is at {bus:02x}:{device:02x}.0")
                } else {
                    return None;
                };
                let message = format!("{bus:02x}:{device:02x}.{function} would never be found, {why}");
                Some(((*key)?, message))
            })
            .collect();
        for (key, message) in missing {
            self.problem(key, message);
        }
    }

    /// The passed-through functions that are to say that their device has several, whether or not it has.
    pub(super) fn several_functions(&mut self, unplaced: &[Unplaced]) -> BTreeSet<usize> {
        let mut several = BTreeSet::new();
        for unplaced in unplaced {
            match unplaced.multifunction {
                Some(true) => {
                    several.insert(unplaced.index);
                }
                Some(false) => self.check_lone(unplaced),
                None => {}
            }
        }
        several
    }

    fn check_lone(&mut self, unplaced: &Unplaced) {
        let role = Role::Passthrough(unplaced.index);
        let Some((&(bus, device, own), _)) = self.taken.iter().find(|(_, (other, _))| *other == role) else {
            return;
        };
        let hidden: Vec<String> = (0..8)
            .filter(|&function| function != own && self.taken.contains_key(&(bus, device, function)))
            .map(|function| format!("{bus:02x}:{device:02x}.{function}"))
            .collect();
        if hidden.is_empty() {
            return;
        }
        let message =
            format!("with `multifunction = false` the guest would never find {}", hidden.join(", "));
        let help = if unplaced.dgpu {
            "leave it out, or pass through the GPU alone: `functions = \"gpu\"`"
        } else {
            "leave it out"
        };
        self.problem_with_help(unplaced.key.section().key("multifunction"), message, help);
    }
}
