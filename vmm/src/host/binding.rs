//! Taking devices from their drivers and giving them back, and settings of the host for the time of a run, with a journal
//! for the case that nobody is left to undo it.

pub(super) mod bind;
pub(super) mod claim;
pub(super) mod journal;
pub(super) mod kernel;
pub(super) mod lasting;
pub(super) mod recover;
pub(super) mod setting;
pub(super) mod step;
pub(super) mod tune;
