//! Devices of the host that a [`Machine`](crate::machine::Machine) gets, for `optimus-vmm` and for the peer.

use std::fmt::Write;
use std::path::PathBuf;

use crate::toml::string;

/// Where the guest finds an expansion ROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rom {
    /// Nowhere.
    Off,
    /// As the device has it.
    Host,
    /// This file.
    File(PathBuf),
}

/// The GPU: `[dgpu]`.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// The host's address of the graphics function.
    pub host: String,
    /// The further functions of its slot, which the peer must be told.
    pub others: Vec<String>,
    /// Vendor, device, subsystem vendor and subsystem IDs that replace the device's own.
    pub ids: Option<[u16; 4]>,
    /// The ROM.
    pub rom: Rom,
    /// Whether the program binds the functions itself and gives them back.
    pub manage: bool,
}

/// Any other device: `[[vfio]]`.
#[derive(Debug, Clone)]
pub struct Function {
    /// The host's address.
    pub host: String,
    /// The guest's address, behind a root port of its own.
    pub guest: String,
    /// Whether the program binds it itself and gives it back.
    pub manage: bool,
}

/// Everything that is passed through.
#[derive(Debug, Clone, Default)]
pub struct Passthrough {
    /// The GPU, which the guest finds at 01:00.0 behind the root port 00:01.0.
    pub gpu: Option<Gpu>,
    /// The rest.
    pub functions: Vec<Function>,
}

impl Passthrough {
    /// Further functions of `host`, all at the guest's next buses.
    pub fn functions(hosts: &[&str]) -> Self {
        let functions = hosts.iter().zip(1..).map(|(host, bus)| Function {
            host: (*host).into(),
            guest: format!("{bus:02x}:00.0"),
            manage: false,
        });
        Self { gpu: None, functions: functions.collect() }
    }

    /// The sections of vm.toml.
    pub fn toml(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if let Some(gpu) = &self.gpu {
            writeln!(out, "[dgpu]\nhost = {}\nmanage = {}", string(&gpu.host), gpu.manage)?;
            if let Some([vendor, device, subvendor, subsystem]) = gpu.ids {
                writeln!(out, "vendor = \"{vendor:04x}\"\ndevice = \"{device:04x}\"")?;
                writeln!(out, "subsystem = \"{subvendor:04x}:{subsystem:04x}\"")?;
            }
            let rom = match &gpu.rom {
                Rom::Off => "off".into(),
                Rom::Host => "host".into(),
                Rom::File(path) => path.display().to_string(),
            };
            let functions = if gpu.others.is_empty() { "gpu" } else { "all" };
            writeln!(out, "rom = {}\nfunctions = \"{functions}\"", string(rom))?;
        }
        for function in &self.functions {
            let Function { host, guest, manage } = function;
            writeln!(out, "[[vfio]]\nhost = {}\nguest = {}", string(host), string(guest))?;
            writeln!(out, "root_port = true\nmanage = {manage}")?;
        }
        Ok(())
    }

    /// The peer's devices, each as `-device` takes it.
    pub fn peer_devices(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(gpu) = &self.gpu {
            out.push("pcie-root-port,id=dgpu,chassis=101,addr=01.0,multifunction=on".into());
            let multifunction = if gpu.others.is_empty() { "off" } else { "on" };
            let mut device = format!(
                "vfio-pci,host={},bus=dgpu,addr=0.0,multifunction={multifunction}{}",
                gpu.host,
                match &gpu.rom {
                    Rom::Off => ",rombar=0".into(),
                    Rom::Host => String::new(),
                    Rom::File(path) => format!(",romfile={}", path.display()),
                }
            );
            if let Some(ids) = gpu.ids {
                let names = ["vendor-id", "device-id", "sub-vendor-id", "sub-device-id"];
                device.extend(names.iter().zip(ids).map(|(name, id)| format!(",x-pci-{name}={id:#06x}")));
            }
            out.push(device);
            for host in &gpu.others {
                let function = host.rsplit('.').next().unwrap_or_default();
                out.push(format!("vfio-pci,host={host},bus=dgpu,addr=0.{function},rombar=0"));
            }
        }
        // OVMF numbers the buses in the order of the ports' addresses.
        for (index, function) in self.functions.iter().enumerate() {
            let slot = index + 1 + usize::from(self.gpu.is_some());
            out.push(format!("pcie-root-port,id=vfio{index},chassis={},addr={slot:02x}.0", 102 + index));
            out.push(format!("vfio-pci,host={},bus=vfio{index},addr=0.0", function.host));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_monitors_are_told_the_same() {
        let mut all = Passthrough::functions(&["0000:04:00.0"]);
        all.gpu = Some(Gpu {
            host: "0000:03:00.0".into(),
            others: vec!["0000:03:00.1".into()],
            ids: Some([0x10de, 0x1c8d, 0x17aa, 0x39d1]),
            rom: Rom::Off,
            manage: true,
        });
        assert_eq!(
            all.toml(),
            "[dgpu]\nhost = \"0000:03:00.0\"\nmanage = true\nvendor = \"10de\"\ndevice = \"1c8d\"\n\
             subsystem = \"17aa:39d1\"\nrom = \"off\"\nfunctions = \"all\"\n[[vfio]]\nhost = \"0000:04:00.0\"\n\
             guest = \"01:00.0\"\nroot_port = true\nmanage = false\n"
        );
        assert_eq!(
            all.peer_devices(),
            [
                "pcie-root-port,id=dgpu,chassis=101,addr=01.0,multifunction=on",
                "vfio-pci,host=0000:03:00.0,bus=dgpu,addr=0.0,multifunction=on,rombar=0,x-pci-vendor-id=0x10de,\
                 x-pci-device-id=0x1c8d,x-pci-sub-vendor-id=0x17aa,x-pci-sub-device-id=0x39d1",
                "vfio-pci,host=0000:03:00.1,bus=dgpu,addr=0.1,rombar=0",
                "pcie-root-port,id=vfio0,chassis=102,addr=02.0",
                "vfio-pci,host=0000:04:00.0,bus=vfio0,addr=0.0",
            ]
        );
    }
}
