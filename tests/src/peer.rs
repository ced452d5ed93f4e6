//! The peer, QEMU with KVM, with the hardware of a [`Machine`].

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Outcome;
use crate::machine::Machine;

/// QEMU's command line for the machine; its variable store is made if it is missing.
///
/// `serial` is what `-serial` takes.
pub fn arguments(machine: &Machine, serial: &str) -> Outcome<Vec<OsString>> {
    let vars = machine.vars();
    if !vars.exists() {
        std::fs::copy(&machine.firmware.1, &vars)?;
    }
    let topology = machine.topology;
    let count = topology.sockets * topology.cores * topology.threads;
    let hidden = machine.cpu_keys.iter().any(|line| line == "hypervisor = false");
    let mut out: Vec<OsString> = [
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        // As our machine is: no HPET, and interrupts by the kernel's chips.
        "q35,accel=kvm,hpet=off,smm=off",
        "-cpu",
        if hidden { "host,-hypervisor,kvm=off" } else { "host" },
        "-global",
        "ICH9-LPC.disable_s3=1",
        "-global",
        "ICH9-LPC.disable_s4=1",
    ]
    .map(OsString::from)
    .into();
    let mut option = |name: &str, value: String| out.extend([name.into(), OsString::from(value)]);
    option(
        "-smp",
        format!("{count},sockets={},cores={},threads={}", topology.sockets, topology.cores, topology.threads),
    );
    option("-m", machine.memory.clone());
    option("-serial", serial.into());
    option("-drive", format!("if=pflash,format=raw,readonly=on,file={}", machine.firmware.0.display()));
    option("-drive", format!("if=pflash,format=raw,file={}", vars.display()));
    option("-qmp", format!("unix:{},server=on,wait=off", machine.file("qmp.sock").display()));
    for (index, address) in machine.root_ports.iter().enumerate() {
        let address = address.trim_start_matches("0000:").trim_start_matches("00:");
        option(
            "-device",
            format!("pcie-root-port,id=port{index},chassis={index},addr={address},multifunction=on"),
        );
    }
    if let Some(lines) = &machine.screen {
        option("-device", display(lines)?);
        option("-monitor", format!("unix:{},server=on,wait=off", monitor(machine).display()));
    }
    for device in machine.passthrough.peer_devices() {
        option("-device", device);
    }
    for (index, disk) in machine.disks.iter().enumerate() {
        let readonly = if disk.readonly { "on" } else { "off" };
        let format = disk.format.name();
        let path = disk.path.display();
        option("-drive", format!("if=none,id=disk{index},format={format},readonly={readonly},file={path}"));
        let boot = disk.boot_index.map(|index| format!(",bootindex={index}")).unwrap_or_default();
        let device = format!("{},drive=disk{index},serial={}{boot}", disk.bus.peer_device(), disk.serial);
        option("-device", device);
    }
    if let Some(sound) = &machine.peer_sound {
        option("-audiodev", format!("{sound},id=sound"));
        option("-device", "ich9-intel-hda,id=hda,addr=1b.0".into());
        option("-device", "hda-output,bus=hda.0,audiodev=sound".into());
    }
    // Devices of the host, as `[[usb_device]]` names them.
    let ids = machine
        .sections
        .lines()
        .filter_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"')?.split_once(':'));
    let ids: Vec<_> = ids.collect();
    let emulated = machine.sections.lines().any(|line| line == "[usb]");
    if emulated || !ids.is_empty() {
        option("-device", "qemu-xhci,id=xhci".into());
    }
    if emulated {
        option("-device", "usb-kbd,bus=xhci.0".into());
        option("-device", "usb-tablet,bus=xhci.0".into());
    }
    for (vendor, product) in ids {
        option("-device", format!("usb-host,bus=xhci.0,vendorid=0x{vendor},productid=0x{product}"));
    }
    // After those that want an address of their own.
    option("-device", "virtio-rng-pci,disable-legacy=on".into());
    if let Some(kernel) = &machine.kernel {
        option("-kernel", text(&kernel.image));
        if let Some(initrd) = &kernel.initrd {
            option("-initrd", text(initrd));
        }
        option("-append", kernel.cmdline.clone());
    }
    Ok(out)
}

/// The peer's display for these lines of `[display]`.
fn display(lines: &str) -> Outcome<String> {
    let word = |key: &str| {
        let value = lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        value.map(|value| value.trim_matches('"'))
    };
    if word("adapter") != Some("bochs") {
        return Ok("ramfb".into());
    }
    let (width, height) =
        word("resolution").unwrap_or("1920x1080").split_once('x').ok_or("a resolution is WIDTHxHEIGHT")?;
    Ok(format!("bochs-display,edid=on,xres={width},yres={height}"))
}

/// The socket of its monitor, if the machine has a screen.
fn monitor(machine: &Machine) -> PathBuf {
    machine.file("monitor.sock")
}

/// Writes the picture on its screen into a file, as PPM.
pub fn screendump(machine: &Machine, file: &Path) -> Outcome {
    let mut monitor = UnixStream::connect(monitor(machine))?;
    monitor.set_read_timeout(Some(Duration::from_secs(30)))?;
    prompt(&mut monitor)?;
    monitor.write_all(format!("screendump {}\n", file.display()).as_bytes())?;
    // The next prompt comes when it is done.
    prompt(&mut monitor)
}

fn prompt(monitor: &mut UnixStream) -> Outcome {
    let mut said = Vec::new();
    while !said.ends_with(b"(qemu) ") {
        let mut byte = [0];
        monitor.read_exact(&mut byte)?;
        said.extend(byte);
    }
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
