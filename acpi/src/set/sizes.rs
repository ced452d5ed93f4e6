//! How large the files of a set are, told before there is one.

use crate::error::Error;
use crate::fixed;
use crate::platform::{FunctionKind, PciFunction, Platform};

use super::{LOADER_STEP, Sizes, TABLES_RESERVE, TABLES_STEP, build};

/// More than the tables of a machine with one processor and no functions have, in bytes.
const FIXED: usize = 24 << 10;
/// More than one more of each adds: a processor's device and its entry in the MADT; a function's device, and a bridge's
/// interrupts; a window of the host bridge.
const CPU: usize = 80;
const FUNCTION: usize = 640;
const WINDOW: usize = 160;

/// The sizes of the files that [`build`] makes for `platform`, without making them if it can be told: this is on the way to
/// the guest's first instruction.
///
/// # Errors
/// As [`build`].
pub fn sizes(platform: &Platform) -> Result<Sizes, Error> {
    let Platform { vrom, opregion, user_tables, .. } = platform;
    let plain = vrom.is_none() && opregion.is_none() && user_tables.is_empty();
    if !plain || most(platform).saturating_add(TABLES_RESERVE) > TABLES_STEP {
        return build(platform).map(|set| set.sizes());
    }
    platform.check()?;
    // The script of so few tables fills a fraction of its first step.
    Ok(Sizes { tables: TABLES_STEP, rsdp: fixed::RSDP_SIZE, loader: LOADER_STEP, vrom: 0, opregion: 0 })
}

/// An upper bound of what the tables take in their file, of a machine that has nothing of the user's.
pub(super) fn most(platform: &Platform) -> usize {
    fn of_all(functions: &[PciFunction]) -> usize {
        let of = |function: &PciFunction| {
            let children = match &function.kind {
                FunctionKind::Bridge { children } => of_all(children),
                FunctionKind::Endpoint => 0,
            };
            FUNCTION.saturating_add(function.aml.len()).saturating_add(children)
        };
        functions.iter().map(of).fold(0, usize::saturating_add)
    }
    let windows = platform.pci.io.len() + platform.pci.mmio32.len() + platform.pci.mmio64.len();
    FIXED
        .saturating_add(platform.cpus.len().saturating_mul(CPU))
        .saturating_add(windows.saturating_mul(WINDOW))
        .saturating_add(of_all(&platform.pci.functions))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::properties::machine;
    use crate::tests::samples;

    /// What the tables take.
    fn used(platform: &Platform) -> usize {
        build(platform).unwrap().layout.last().map_or(0, |last| last.end)
    }

    proptest! {
        #[test]
        fn sizes_are_those_of_the_set(platform in machine()) {
            prop_assert_eq!(sizes(&platform), build(&platform).map(|set| set.sizes()));
            let plain = Platform { user_tables: Vec::new(), vrom: None, opregion: None, ..platform };
            prop_assert_eq!(sizes(&plain), build(&plain).map(|set| set.sizes()));
            let (used, most) = (used(&plain), most(&plain));
            prop_assert!((used..used.saturating_mul(4)).contains(&most), "{used} of {most}: {plain:?}");
        }
    }

    #[test]
    fn samples_have_these_sizes() {
        for platform in [samples::smallest(), samples::optimus()] {
            assert_eq!(sizes(&platform), build(&platform).map(|set| set.sizes()));
        }
    }

    #[test]
    fn what_cannot_be_described_has_no_sizes() {
        let platform = Platform { cpus: Vec::new(), ..samples::smallest() };
        assert_eq!(sizes(&platform).unwrap_err(), build(&platform).unwrap_err());
    }
}
