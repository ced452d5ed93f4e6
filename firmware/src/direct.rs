//! Starting a kernel without firmware: everything that firmware would have done before, as values and as writes to guest
//! memory and configuration space.
//!
//! | module | what it does |
//! |---|---|
//! | [`chipset`] | the chipset's registers |
//! | [`pci`] | bus numbers, bridge windows, base address registers |

pub mod chipset;
pub mod pci;
