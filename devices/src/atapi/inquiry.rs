//! Who the drive is: INQUIRY (SPC-4, 6.6).

use super::sense::Sense;
use super::u8_at;

/// Who a drive says it is. All is printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Vendor and model: a word of at most 8 characters, a space, and at most 16 more.
    pub model: String,
    /// Its firmware's revision, at most 4 characters.
    pub revision: String,
    /// Serial number, at most 20 characters.
    pub serial: String,
}

impl Identity {
    /// The vendor's name and what is left of the model's.
    fn names(&self) -> (&str, &str) {
        self.model.split_once(' ').unwrap_or(("", &self.model))
    }
}

/// A CD or DVD device.
const DEVICE_TYPE: u8 = 0x05;
const REMOVABLE: u8 = 0x80;
/// SPC-3.
const VERSION: u8 = 0x05;
/// Response data format.
const FORMAT: u8 = 0x02;

/// Vital product data pages (SPC-4, 7.8).
const PAGES: u8 = 0x00;
const SERIAL: u8 = 0x80;
const IDENTIFICATION: u8 = 0x83;

/// A field of text, filled with spaces.
fn text(value: &str, len: usize) -> impl Iterator<Item = u8> {
    value.bytes().chain(std::iter::repeat(b' ')).take(len)
}

/// The answer to INQUIRY.
pub(super) fn answer(identity: &Identity, packet: &[u8]) -> Result<Vec<u8>, Sense> {
    let (vital, page) = (u8_at(packet, 1) & 1 != 0, u8_at(packet, 2));
    match (vital, page) {
        (true, page) => vital_data(identity, page),
        (false, 0) => Ok(standard(identity)),
        (false, _) => Err(Sense::INVALID_FIELD),
    }
}

fn standard(identity: &Identity) -> Vec<u8> {
    let (vendor, product) = identity.names();
    // 31 bytes follow the fifth.
    let mut data = vec![DEVICE_TYPE, REMOVABLE, VERSION, FORMAT, 31, 0, 0, 0];
    data.extend(text(vendor, 8).chain(text(product, 16)).chain(text(&identity.revision, 4)));
    data
}

fn vital_data(identity: &Identity, page: u8) -> Result<Vec<u8>, Sense> {
    let body: Vec<u8> = match page {
        PAGES => vec![PAGES, SERIAL, IDENTIFICATION],
        SERIAL => text(&identity.serial, 20).collect(),
        IDENTIFICATION => {
            // Vendor ID based (7.8.6.5), in ASCII, of the logical unit.
            let (vendor, product) = identity.names();
            let name: Vec<u8> =
                text(vendor, 8).chain(text(product, 16)).chain(text(&identity.serial, 20)).collect();
            [0x02, 0x01, 0x00, name.len() as u8].into_iter().chain(name).collect()
        }
        _ => return Err(Sense::INVALID_FIELD),
    };
    Ok([DEVICE_TYPE, page, 0, body.len() as u8].into_iter().chain(body).collect())
}
