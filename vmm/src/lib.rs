//! The virtual machine monitor: configuration, machine plan, assembly and run loop.
