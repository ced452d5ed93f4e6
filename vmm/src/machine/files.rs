//! The user's files and the host's ends of a machine, opened before anything of the host is changed.

pub(super) mod additions;
pub(super) mod ends;
pub(super) mod flash;
pub(super) mod inputs;
pub(super) mod shot;
pub(super) mod user_tables;
