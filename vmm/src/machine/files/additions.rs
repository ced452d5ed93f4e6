//! The user's files behind the ACPI tables, read and checked before anything of the host is touched.

use std::sync::Arc;

use firmware::direct::tables::TableRoom;

use super::user_tables;
use crate::config::Boot;
use crate::device::{Opening, Purpose, Tables, Vbios};
use crate::finding::{Finding, Findings, Section};
use crate::machine::assembly::acpi::{CpuFacts, Firmware, platform};
use crate::plan::MachinePlan;

/// What the user adds to the machine's own tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Additions {
    /// Complete tables.
    pub tables: Vec<Vec<u8>>,
    /// What comes from files of devices.
    pub devices: Tables,
    /// The OpRegion of the display GPU. It comes from the device and not from a file.
    pub opregion: Option<Arc<[u8]>>,
}

impl Additions {
    /// Reads all files, those of devices too, for tables without a machine.
    ///
    /// # Errors
    /// All that cannot be used, each with its line of the configuration.
    pub fn load(plan: &MachinePlan) -> Result<Self, Findings> {
        let (name, origin) = (plan.name.as_str(), &plan.origin);
        let mut opening = Opening { name, purpose: Purpose::Look, origin, problems: Vec::new() };
        let vbios = plan.devices.one::<Vbios>().and_then(|vbios| vbios.read(&mut opening));
        let mut problems = opening.problems;
        let read = Self::read(plan, &mut problems);
        Findings::check(problems)?;
        Ok(Self { devices: Tables { vbios }, ..read })
    }

    /// Reads the user's tables; what cannot be used is added to `problems`.
    pub(in crate::machine) fn read(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Self {
        Self { tables: user_tables::load(plan, problems), ..Self::default() }
    }

    /// What is wrong if a kernel that starts without firmware cannot have all of it in memory.
    pub(in crate::machine) fn without_room(&self, plan: &MachinePlan) -> Option<Finding> {
        let direct = plan.kernel.as_ref().is_some_and(|kernel| kernel.boot == Boot::Direct);
        if !direct || self.tables.is_empty() && self.devices.vbios.is_none() {
            return None;
        }
        let platform = platform(plan, CpuFacts::of_host(plan), &Firmware::default(), self).ok()?;
        let sizes = acpi::build(&platform).ok()?.sizes();
        let size = sizes.tables as u64 + sizes.vrom as u64;
        (size > TableRoom::FOR_ACPI).then(|| {
            let message = format!(
                "the ACPI tables have {} KiB with those of [[acpi.table]] and the video BIOS; a kernel that starts \
                 without firmware has room for {} KiB",
                size >> 10,
                TableRoom::FOR_ACPI >> 10
            );
            plan.problem(Section::Kernel.key("boot"), message)
                .with_help("leave some out, or have the firmware start the kernel")
        })
    }
}
