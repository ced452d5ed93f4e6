//! `[[usb_device]]`: USB devices of the host that the guest has, whenever they are plugged in.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{UsbId, UsbPort};

use super::{Assembly, DeviceError, Opened, Opening, Spec};
use crate::finding::{Finding, Key, Origin, Resolver, Section};
use crate::host::HostFiles;
use crate::topology::Placed;
use crate::usb::{Choice, Meant, Server, Start, ThisHost, Wanted, assign};

/// Where the kernel has the nodes of USB devices.
const NODES: &str = "/dev/bus/usb";

/// A USB device of the host that the guest has for itself, from the start or from when it is plugged in. `id`, `serial` and `port` say which one;
/// each that is given narrows it. See docs/usb.md.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UsbDeviceSection {
    /// Vendor and product as `lsusb` prints them, such as `"046d:c52b"`.
    #[schemars(extend("x-default" = "any"))]
    pub id: Option<UsbId>,
    /// The serial number, as `lsusb -v` prints it for `iSerial`.
    #[schemars(extend("x-default" = "any"))]
    pub serial: Option<String>,
    /// The port that it is plugged into, such as `"1-4.2"`: as `lsusb -t` counts buses and ports, and /sys/bus/usb/devices names them.
    #[schemars(extend("x-default" = "any"))]
    pub port: Option<UsbPort>,
    /// The machine also starts while it is missing, and the guest has it when it comes.
    pub optional: bool,
}

/// The USB devices of the host that the guest has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbHost {
    /// One for each section.
    pub(crate) wanted: Vec<Wanted>,
}

impl UsbDeviceSection {
    fn resolve(self, index: usize, resolver: &mut Resolver) -> Wanted {
        let Self { id, serial, port, optional } = self;
        let section = Section::UsbDevice(index);
        if id.is_none() && serial.is_none() && port.is_none() {
            resolver.problem_with_help(
                section,
                "this section names no device",
                "add `id = \"VENDOR:PRODUCT\"` as `lsusb` prints it, or `serial` or `port`",
            );
        }
        if serial.as_deref() == Some("") {
            resolver.problem_with_help(
                section.key("serial"),
                "no device has an empty serial number",
                "write it as `lsusb -v` prints it for iSerial, or leave it out and write `port`",
            );
        }
        let choice = Choice { id, serial, port };
        Wanted { name: section.to_string(), section: Some(index), choice, optional }
    }
}

/// The devices of all sections, for a machine that has a USB controller, since more may be attached while it runs.
pub(crate) fn resolve(
    sections: Vec<UsbDeviceSection>,
    controller: bool,
    resolver: &mut Resolver,
) -> Option<UsbHost> {
    if !controller {
        if !sections.is_empty() {
            resolver.problem_with_help(
                Section::Usb.key("enabled"),
                "the machine has USB devices of the host, which need a USB controller",
                "remove `enabled = false`, or the [[usb_device]] sections",
            );
        }
        return None;
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let each = section.resolve(index, resolver);
        if let Some(other) = wanted.iter().position(|other| other.choice == each.choice) {
            let line = resolver.line_of(Section::UsbDevice(other));
            resolver.problem_with_help(
                key_of(index, &each.choice),
                format!("another section{line} names the same device"),
                "leave one of them out, or tell two devices apart by `port` or `serial`",
            );
        }
        wanted.push(each);
    }
    Some(UsbHost { wanted })
}

/// The key that names a section's device: the narrowest.
pub(crate) fn key_of(index: usize, choice: &Choice) -> Key {
    let section = Section::UsbDevice(index);
    match choice {
        Choice { port: Some(_), .. } => section.key("port"),
        Choice { serial: Some(_), .. } => section.key("serial"),
        Choice { id: Some(_), .. } => section.key("id"),
        _ => section.into(),
    }
}

impl UsbHost {
    /// What is wanted, as it is assigned to devices.
    pub(crate) fn choices(&self) -> Vec<&Choice> {
        self.wanted.iter().map(|wanted| &wanted.choice).collect()
    }

    /// What a start would find in the way on a host.
    fn problems(&self, files: &HostFiles, origin: &Origin) -> Vec<Finding> {
        let devices = if self.wanted.is_empty() { Vec::new() } else { files.usb_devices() };
        let meant = assign(&self.choices(), &devices);
        let problem = |(index, (wanted, meant)): (usize, (&Wanted, Meant<'_>))| {
            let Wanted { choice, optional, .. } = wanted;
            let finding = |message: String| origin.problem(key_of(index, choice), message).about_host();
            match meant {
                Meant::None if *optional => None,
                Meant::None => Some(finding(format!("no USB device of the host is {choice} now")).with_help(
                    "plug it in (`lsusb` lists what is there, `lsusb -t` the ports), or write `optional = true`: then it may come while the guest runs",
                )),
                Meant::Several(found) => {
                    let example = found.first().map(|device| device.port.to_string()).unwrap_or_default();
                    let listed: Vec<_> = found.iter().map(ToString::to_string).collect();
                    Some(finding(format!("several USB devices of the host are {choice}: {}", listed.join("; "))).with_help(
                        format!("say which one: `port = \"{example}\"`, or `serial` where they have different ones"),
                    ))
                }
                Meant::One(device) => {
                    let refusal = files.usb_refusal(device)?;
                    Some(finding(format!("the guest cannot have {device}: {refusal}")))
                }
            }
        };
        self.wanted.iter().zip(meant).enumerate().filter_map(problem).collect()
    }
}

impl Spec for UsbHost {
    fn section(&self) -> Section {
        Section::UsbDevice(0)
    }

    fn describe(&self) -> String {
        let each: Vec<_> = self.choices().into_iter().map(ToString::to_string).collect();
        format!("USB devices of the host: {}", each.join(", "))
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let problems = self.problems(&HostFiles::default(), opening.origin);
        if !problems.is_empty() {
            opening.problems.extend(problems);
            return None;
        }
        Some(Box::new(OpenUsbHost { machine: opening.name.to_owned(), wanted: self.wanted.clone() }))
    }
}

/// Devices that can be had.
struct OpenUsbHost {
    machine: String,
    wanted: Vec<Wanted>,
}

impl Opened for OpenUsbHost {
    /// Comes after the controller, as it does in the list of devices.
    fn build(self: Box<Self>, _: Option<Placed<'_>>, machine: &mut Assembly<'_>) -> Result<(), DeviceError> {
        let Self { machine: name, wanted } = *self;
        let Some(ports) = machine.made.usb_ports.clone() else { return Ok(()) };
        let host = Box::new(ThisHost::new(&name));
        machine.made.usb =
            Some(Server::start(Start { ports, host, wanted, nodes: Path::new(NODES).into() })?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
