//! The user's files behind the ACPI tables, read and checked before anything of the host is touched.

use std::sync::Arc;

use super::{user_tables, vbios};
use crate::finding::{Finding, Findings};
use crate::plan::MachinePlan;

/// What the user adds to the machine's own tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Additions {
    /// Complete tables.
    pub tables: Vec<Vec<u8>>,
    /// The image that `_ROM` returns.
    pub vbios: Option<Arc<[u8]>>,
    /// The OpRegion of the display GPU. It comes from the device and not from a file.
    pub opregion: Option<Arc<[u8]>>,
}

impl Additions {
    /// Reads all files.
    ///
    /// # Errors
    /// All that cannot be used, each with its line of the configuration.
    pub fn load(plan: &MachinePlan) -> Result<Self, Findings> {
        let mut problems = Vec::new();
        let read = Self::read(plan, &mut problems);
        Findings::check(problems)?;
        Ok(read)
    }

    /// As [`Self::load`]; what cannot be used is added to `problems`.
    pub(super) fn read(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Self {
        let vbios = vbios::load(plan, problems);
        let tables = user_tables::load(plan, problems);
        Self { tables, vbios, opregion: None }
    }
}
