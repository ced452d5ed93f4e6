//! The vm.toml of a [`Machine`].

use std::fmt::Write;

use crate::machine::Machine;

/// A TOML string.
pub(crate) fn string(text: impl std::fmt::Display) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}

/// The whole file.
pub fn of(machine: &Machine) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, machine);
    out
}

fn write(out: &mut String, machine: &Machine) -> std::fmt::Result {
    let topology = machine.topology;
    writeln!(out, "name = \"machine\"")?;
    writeln!(out, "[machine]\nmemory = {}", string(&machine.memory))?;
    for line in &machine.machine_keys {
        writeln!(out, "{line}")?;
    }
    writeln!(
        out,
        "[cpu]\ntopology = {{ sockets = {}, cores = {}, threads = {} }}",
        topology.sockets, topology.cores, topology.threads
    )?;
    for line in &machine.cpu_keys {
        writeln!(out, "{line}")?;
    }
    if !machine.is_direct() {
        writeln!(
            out,
            "[firmware]\ncode = {}\nvars = {}\nvars_template = {}",
            string(machine.firmware.0.display()),
            string(machine.vars().display()),
            string(machine.firmware.1.display())
        )?;
    }
    for disk in &machine.disks {
        writeln!(
            out,
            "[[disk]]\npath = {}\nbus = {}\nformat = {}\nserial = {}\nreadonly = {}",
            string(disk.path.display()),
            string(disk.bus.name()),
            string(disk.format.name()),
            string(&disk.serial),
            disk.readonly
        )?;
        if let Some(index) = disk.boot_index {
            writeln!(out, "boot_index = {index}")?;
        }
        for line in &disk.keys {
            writeln!(out, "{line}")?;
        }
    }
    for address in &machine.root_ports {
        writeln!(out, "[[root_port]]\naddress = {}", string(address))?;
    }
    if let Some(kernel) = &machine.kernel {
        writeln!(out, "[kernel]\nimage = {}", string(kernel.image.display()))?;
        if let Some(initrd) = &kernel.initrd {
            writeln!(out, "initrd = {}", string(initrd.display()))?;
        }
        writeln!(out, "cmdline = {}", string(&kernel.cmdline))?;
        if machine.is_direct() {
            writeln!(out, "boot = \"direct\"")?;
        }
    }
    if let Some(lines) = &machine.screen {
        writeln!(out, "[display]\n{lines}")?;
    }
    out.write_str(&machine.passthrough.toml())?;
    out.write_str(&machine.sections)
}
