//! Our configuration of the machine.

use std::path::Path;

use super::machine::{Data, Flash, MTU, Machine, Way};

/// Characters that TOML and JSON strings share.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}

pub(super) fn vm_toml(machine: &Machine) -> String {
    let Machine { memory, cpus, flash, disk, serial, cpu_keys, kernel, device, vnc, net, data, .. } = machine;
    let firmware = match flash {
        Flash::Payload(image) => format!("[firmware]\nkind = \"raw\"\ncode = {}\n", quoted(image)),
        Flash::Ovmf(code, vars) => {
            format!("[firmware]\ncode = {}\nvars = {}\n", quoted(code), quoted(vars))
        }
        Flash::Absent => String::new(),
    };
    let boot = if matches!(flash, Flash::Absent) { "boot = \"direct\"\n" } else { "" };
    let kernel = kernel.as_ref().map_or_else(String::new, |(image, initrd, cmdline)| {
        let (image, initrd) = (quoted(image), quoted(initrd));
        format!("[kernel]\nimage = {image}\ninitrd = {initrd}\ncmdline = \"{cmdline}\"\n{boot}")
    });
    let device = device.as_ref().map_or_else(String::new, |host| {
        format!("[[vfio]]\nhost = \"{host}\"\nguest = \"01:00.0\"\nroot_port = true\nmanage = false\n")
    });
    let display = vnc.as_ref().map_or_else(String::new, |socket| {
        let address = serde_json::Value::from(format!("unix:{}", socket.display()));
        format!("[display]\nvnc = {address}\n")
    });
    let cpu_keys: String = cpu_keys.iter().map(|line| format!("{line}\n")).collect();
    let serial =
        serial.map_or_else(String::new, |serial| format!("serial = \"{serial}\"\nreadonly = true\n"));
    let net = net.as_ref().map_or_else(String::new, |(way, tools)| {
        let way = match way {
            Way::Passt => "backend = \"user\"",
            // As QEMU is told to.
            Way::Tap => "backend = \"tap\"\ninterface = \"tap0\"\nvhost = false",
            Way::Vhost => "backend = \"tap\"\ninterface = \"tap0\"\nvhost = true",
        };
        format!(
            "[[disk]]\npath = {}\nformat = \"raw\"\nserial = \"tools\"\nreadonly = true\n[[net]]\nmtu = {MTU}\n{way}\n",
            quoted(tools)
        )
    });
    let data = data.as_ref().map_or_else(String::new, |Data { bus, path, raw, tools }| {
        let (bus, path, format, tools) = (bus.name(), quoted(path), format(*raw), quoted(tools));
        format!(
            "[[disk]]\npath = {path}\nbus = \"{bus}\"\nformat = \"{format}\"\nserial = \"data\"\n\
             [[disk]]\npath = {tools}\nreadonly = true\nserial = \"tools\"\n"
        )
    });
    format!(
        "[machine]\nmemory = \"{memory}M\"\npvpanic = false\n[cpu]\ncount = {cpus}\n{cpu_keys}{firmware}\
         [[disk]]\npath = {}\nformat = \"raw\"\n{serial}{net}{data}{device}{kernel}{display}",
        quoted(disk)
    )
}

/// What both call a format.
pub(super) fn format(raw: bool) -> &'static str {
    if raw { "raw" } else { "qcow2" }
}
