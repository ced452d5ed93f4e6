//! The `optimus-vmm` command.
fn main() {}
