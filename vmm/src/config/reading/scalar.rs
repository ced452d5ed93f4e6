//! The string formats of `vm.toml`, by their names: the `format` keyword of JSON Schema (draft 2020-12, validation §7), by
//! which both the schema and the shape check find them.

use vocabulary::path::check_path;
use vocabulary::scalar::{Complaint, wrong_kind};
use vocabulary::{
    ByteSize, ConsoleSpec, CpuFeature, CpuList, HostPciAddress, Hugepages, HypervisorVendor, MacAddress,
    MdevParent, MdevType, PciAddress, PortForward, Resolution, Scalar, UsbId, UsbPort, VncAddress,
};

use super::super::sections::control::ControlSpec;
use super::super::sections::cpu::check_feature;
use super::super::sections::hyperv::SpinlockRetries;
use super::super::sections::machine::{Action, RtcTickPolicy};
use super::super::sections::passthrough::RomSource;
use super::super::sections::pci_ids::{PciId, SubsystemId};
use super::super::sections::scheduling::PinSection;
use super::super::sections::smbios::ChassisType;
use super::text;
use crate::device::audio::AudioBackend;
use crate::device::display::KeyboardLayout;
use crate::device::evdev::Chord;

/// Checks a value against a named format.
///
/// `None` means that the name is not one of ours (JSON Schema and schemars have formats of their own, such
/// as `uint32`), and that the plain type and range checks apply.
pub fn check_format(format: &str, value: &Scalar) -> Option<Result<(), Complaint>> {
    fn typed<T: TryFrom<Scalar, Error = Complaint>>(value: &Scalar) -> Result<(), Complaint> {
        T::try_from(value.clone()).map(drop)
    }
    let string = |check: fn(&str) -> Result<(), Complaint>| match value {
        Scalar::Text(text) => check(text),
        other => Err(wrong_kind(expected(format).unwrap_or("a string in quotes"), other)),
    };
    Some(match format {
        ByteSize::FORMAT => typed::<ByteSize>(value),
        PciAddress::FORMAT => typed::<PciAddress>(value),
        HostPciAddress::FORMAT => typed::<HostPciAddress>(value),
        PciId::FORMAT => typed::<PciId>(value),
        SubsystemId::FORMAT => typed::<SubsystemId>(value),
        MdevParent::FORMAT => typed::<MdevParent>(value),
        MdevType::FORMAT => typed::<MdevType>(value),
        UsbId::FORMAT => typed::<UsbId>(value),
        UsbPort::FORMAT => typed::<UsbPort>(value),
        Resolution::FORMAT => typed::<Resolution>(value),
        RomSource::FORMAT => typed::<RomSource>(value),
        ConsoleSpec::FORMAT => typed::<ConsoleSpec>(value),
        ControlSpec::FORMAT => typed::<ControlSpec>(value),
        VncAddress::FORMAT => typed::<VncAddress>(value),
        KeyboardLayout::FORMAT => typed::<KeyboardLayout>(value),
        Chord::FORMAT => typed::<Chord>(value),
        AudioBackend::FORMAT => typed::<AudioBackend>(value),
        Hugepages::FORMAT => typed::<Hugepages>(value),
        Action::FORMAT => typed::<Action>(value),
        RtcTickPolicy::FORMAT => typed::<RtcTickPolicy>(value),
        ChassisType::FORMAT => typed::<ChassisType>(value),
        HypervisorVendor::FORMAT => typed::<HypervisorVendor>(value),
        MacAddress::FORMAT => typed::<MacAddress>(value),
        PortForward::FORMAT => typed::<PortForward>(value),
        SpinlockRetries::FORMAT => typed::<SpinlockRetries>(value),
        CpuFeature::FORMAT => string(check_feature),
        CpuList::FORMAT => typed::<CpuList>(value),
        PinSection::FORMAT => PinSection::check(value),
        "ip" => string(text::check_ip_address),
        "vm-name" => string(text::check_name),
        "path" => string(check_path),
        "uuid" => string(text::check_uuid),
        "mdev-uuid" => string(text::check_mdev_uuid),
        "smbios-string" => string(text::check_smbios),
        "disk-serial" => string(text::check_disk_serial),
        "disk-model" => string(text::check_disk_model),
        "disk-firmware-revision" => string(text::check_disk_firmware_revision),
        "fw-cfg-name" => string(text::check_fw_cfg_name),
        "kernel-command-line" => string(text::check_command_line),
        _ => return None,
    })
}

/// What a value of a named format is, in words.
pub fn expected(format: &str) -> Option<&'static str> {
    Some(match format {
        ByteSize::FORMAT => ByteSize::EXPECTED,
        PciAddress::FORMAT => PciAddress::EXPECTED,
        HostPciAddress::FORMAT => HostPciAddress::EXPECTED,
        PciId::FORMAT => PciId::EXPECTED,
        SubsystemId::FORMAT => SubsystemId::EXPECTED,
        MdevParent::FORMAT => MdevParent::EXPECTED,
        MdevType::FORMAT => MdevType::EXPECTED,
        UsbId::FORMAT => UsbId::EXPECTED,
        UsbPort::FORMAT => UsbPort::EXPECTED,
        Resolution::FORMAT => Resolution::EXPECTED,
        RomSource::FORMAT => RomSource::EXPECTED,
        ConsoleSpec::FORMAT => ConsoleSpec::EXPECTED,
        ControlSpec::FORMAT => ControlSpec::EXPECTED,
        VncAddress::FORMAT => VncAddress::EXPECTED,
        KeyboardLayout::FORMAT => KeyboardLayout::EXPECTED,
        Chord::FORMAT => Chord::EXPECTED,
        AudioBackend::FORMAT => AudioBackend::EXPECTED,
        Hugepages::FORMAT => Hugepages::EXPECTED,
        Action::FORMAT => Action::EXPECTED,
        RtcTickPolicy::FORMAT => RtcTickPolicy::EXPECTED,
        ChassisType::FORMAT => ChassisType::EXPECTED,
        HypervisorVendor::FORMAT => HypervisorVendor::EXPECTED,
        SpinlockRetries::FORMAT => SpinlockRetries::EXPECTED,
        MacAddress::FORMAT => MacAddress::EXPECTED,
        PortForward::FORMAT => PortForward::EXPECTED,
        CpuFeature::FORMAT => CpuFeature::EXPECTED,
        CpuList::FORMAT => CpuList::EXPECTED,
        PinSection::FORMAT => PinSection::EXPECTED,
        "vm-name" | "fw-cfg-name" => "a name in quotes",
        "ip" => "an IP address in quotes",
        "path" => "a path in quotes",
        "uuid" | "mdev-uuid" => "a UUID in quotes",
        "disk-serial" => "a serial number in quotes",
        "disk-model" => "a model in quotes",
        "disk-firmware-revision" => "a firmware revision in quotes",
        "kernel-command-line" => "a command line in quotes",
        _ => return None,
    })
}
