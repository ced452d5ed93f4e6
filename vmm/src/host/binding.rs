//! Taking devices from their drivers and giving them back, with a journal for the case that nobody is left to do so.

pub(super) mod bind;
pub(super) mod claim;
pub(super) mod journal;
pub(super) mod kernel;
pub(super) mod lasting;
pub(super) mod recover;
pub(super) mod step;
