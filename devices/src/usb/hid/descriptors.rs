//! What a HID device says of itself (USB 2.0, 9.6; HID 1.11, 6.2).

use super::REPORTS;

/// Vendor and product that QEMU's devices of this kind have.
const VENDOR: u16 = 0x0627;
const PRODUCT: u16 = 0x0001;
const VENDOR_NAME: &str = "optimus-vmm";
/// The control endpoint's packets.
const CONTROL_PACKET: u8 = 64;
/// English (United States).
const LANGUAGE: u16 = 0x0409;

/// Types of descriptors.
mod kind {
    pub(super) const DEVICE: u8 = 1;
    pub(super) const CONFIGURATION: u8 = 2;
    pub(super) const STRING: u8 = 3;
    pub(super) const INTERFACE: u8 = 4;
    pub(super) const ENDPOINT: u8 = 5;
    pub(super) const HID: u8 = 0x21;
    pub(super) const REPORT: u8 = 0x22;
}

/// Numbers of strings.
const BY_VENDOR: u8 = 1;
const BY_PRODUCT: u8 = 2;

/// A device's description.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// bcdDevice, which tells devices of one product apart.
    pub(super) revision: u16,
    pub(super) name: &'static str,
    /// bInterfaceProtocol: 1 for keyboards, 2 for mice with a boot protocol; 0 without.
    pub(super) protocol: u8,
    /// Bytes of a report at most.
    pub(super) packet: u8,
    /// The report descriptor.
    pub(super) reports: &'static [u8],
}

impl Identity {
    /// Whether it has a boot protocol.
    pub(super) fn boots(&self) -> bool {
        self.protocol != 0
    }

    /// The descriptor that GET_DESCRIPTOR asks for by wValue and wIndex, whole.
    pub(super) fn descriptor(&self, value: u16, index: u16) -> Option<Vec<u8>> {
        let [number, kind] = value.to_le_bytes();
        match (kind, number) {
            (kind::DEVICE, 0) => Some(self.device()),
            (kind::CONFIGURATION, 0) => Some(self.configuration()),
            (kind::STRING, number) => self.string(number),
            (kind::HID, 0) if index == 0 => Some(self.hid().to_vec()),
            (kind::REPORT, 0) if index == 0 => Some(self.reports.to_vec()),
            // A device of one speed has no device qualifier (USB 2.0, 9.6.2).
            _ => None,
        }
    }

    fn device(&self) -> Vec<u8> {
        let [version, vendor, product, revision] =
            [0x0200, VENDOR, PRODUCT, self.revision].map(u16::to_le_bytes);
        let mut bytes = vec![18, kind::DEVICE];
        bytes.extend(version);
        // The class is the interface's.
        bytes.extend([0, 0, 0, CONTROL_PACKET]);
        bytes.extend([vendor, product, revision].concat());
        bytes.extend([BY_VENDOR, BY_PRODUCT, 0, 1]);
        bytes
    }

    fn configuration(&self) -> Vec<u8> {
        let mut bytes = vec![
            9,
            kind::CONFIGURATION,
            // wTotalLength, filled in below; one interface; configuration 1.
            0,
            0,
            1,
            1,
            0,
            // Powered by the bus, wakes the host; 100 mA.
            0xa0,
            50,
            9,
            kind::INTERFACE,
            0,
            0,
            1,
            3,
            u8::from(self.boots()),
            self.protocol,
            0,
        ];
        bytes.extend(self.hid());
        // An interrupt endpoint that a controller of hardware would ask every millisecond.
        bytes.extend([7, kind::ENDPOINT, REPORTS, 3, self.packet, 0, 1]);
        let total = bytes.len() as u8;
        if let Some(place) = bytes.get_mut(2) {
            *place = total;
        }
        bytes
    }

    fn hid(&self) -> [u8; 9] {
        let [low, high] = (self.reports.len() as u16).to_le_bytes();
        // HID 1.11, no country, one report descriptor.
        [9, kind::HID, 0x11, 0x01, 0, 1, kind::REPORT, low, high]
    }

    fn string(&self, number: u8) -> Option<Vec<u8>> {
        let units: Vec<u16> = match number {
            0 => vec![LANGUAGE],
            BY_VENDOR => VENDOR_NAME.encode_utf16().collect(),
            BY_PRODUCT => self.name.encode_utf16().collect(),
            _ => return None,
        };
        let mut bytes = vec![2 + 2 * units.len() as u8, kind::STRING];
        bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
        Some(bytes)
    }
}
