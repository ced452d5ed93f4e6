//! USB: a host controller, and devices at it.
//!
//! | module | what it is |
//! |---|---|
//! | [`device`] | what a controller and a device know of each other |
//! | [`xhci`] | the controller |
//! | [`hid`] | keyboard, mouse and tablet |
//! | [`input`] | which of them, or of the PS/2 devices, gets what the user does |

pub mod device;
pub mod hid;
pub mod input;
pub mod xhci;
