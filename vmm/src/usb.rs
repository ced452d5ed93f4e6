//! USB devices of the host in the guest.
#![allow(dead_code, reason = "what chooses the devices comes next")]

pub(crate) mod transport;
