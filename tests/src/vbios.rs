//! Video BIOSes as NVIDIA builds them for laptops: a BIOS image, private images for the driver alone, and no GOP.
//!
//! Built from the structures' descriptions (PCI Firmware Specification 3.3, section 5.1; NVIDIA's `pci_exp_table.h` and
//! "BIOS Information Table Specification"). The bytes that mean nothing are noise: a piece in the wrong place is another
//! piece.

/// The unit of all lengths, in bytes.
const UNIT: usize = 512;
/// Units of the BIOS image.
const BIOS: u16 = 120;
/// Units of the last private image.
const LAST: u16 = 8;

/// Where each image has its data structure, and NVIDIA's extension of that.
const DATA: usize = 0x40;
const EXTENSION: usize = 0x60;
/// Where the BIOS image has its BIOS information table, and what the table's only entry points at.
const TABLE: usize = 0x80;
const INFORMATION: u8 = 0x98;
/// Where the structures end.
const HEADERS: usize = 0xa0;

/// The version of every video BIOS made here, as drivers print it.
pub const VERSION: &str = "86.07.3e.00.1c";
/// The same as it is stored: four bytes as a little-endian number, and the last one.
const VERSION_BYTES: [u8; 5] = [0x00, 0x3e, 0x07, 0x86, 0x1c];

/// A video BIOS of `units` times 512 bytes for a device. There must be room for three images, and 32 MiB are too many.
pub fn laptop(vendor: u16, device: u16, units: u16) -> Vec<u8> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let middle = middle(units);
    let kinds = [
        Image { signature: *b"\x55\xaa", data: *b"PCIR", code: 0, units: BIOS, behind: middle + LAST },
        Image { signature: *b"\x56\x4e", data: *b"NPDS", code: 0xe0, units: middle, behind: LAST },
        Image { signature: *b"\x77\xbb", data: *b"RGIS", code: 0x70, units: LAST, behind: 0 },
    ];
    kinds.iter().flat_map(|image| image.build(vendor, device, &mut noise)).collect()
}

/// Units of the image between the first and the last.
fn middle(units: u16) -> u16 {
    units.saturating_sub(BIOS).saturating_sub(LAST)
}

/// The sizes in bytes of the images of [`laptop`], in order.
pub fn image_sizes(units: u16) -> [usize; 3] {
    [BIOS, middle(units), LAST].map(|units| usize::from(units) * UNIT)
}

struct Image {
    signature: [u8; 2],
    data: [u8; 4],
    code: u8,
    units: u16,
    /// Units of the images behind it.
    behind: u16,
}

impl Image {
    fn build(&self, vendor: u16, device: u16, noise: &mut Noise) -> Vec<u8> {
        let mut bytes = vec![0; HEADERS];
        let mut put = |at: usize, value: &[u8]| {
            if let Some(field) = bytes.get_mut(at..at + value.len()) {
                field.copy_from_slice(value);
            }
        };
        put(0, &self.signature);
        put(2, &[u8::try_from(self.units).unwrap_or_default()]);
        put(0x18, &0x40u16.to_le_bytes());
        put(DATA, &self.data);
        put(DATA + 4, &vendor.to_le_bytes());
        put(DATA + 6, &device.to_le_bytes());
        put(DATA + 0x0a, &0x18u16.to_le_bytes());
        // A VGA controller, and the whole blob from here on.
        put(DATA + 0x0f, &[3]);
        put(DATA + 0x10, &(self.units + self.behind).to_le_bytes());
        put(DATA + 0x14, &[self.code, if self.code == 0 || self.behind == 0 { 0x80 } else { 0 }]);
        if self.code == 0 {
            put(TABLE, &information_table());
            put(usize::from(INFORMATION), &VERSION_BYTES);
        }
        if self.behind > 0 {
            put(EXTENSION, b"NPDE");
            put(EXTENSION + 4, &0x101u16.to_le_bytes());
            put(EXTENSION + 6, &0x14u16.to_le_bytes());
            put(EXTENSION + 8, &self.units.to_le_bytes());
            // Not the last, and private images follow.
            put(EXTENSION + 0x0a, &[0, 1]);
        }
        bytes.resize_with(usize::from(self.units) * UNIT, || noise.next());
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if let Some(byte) = bytes.get_mut(6) {
            *byte = byte.wrapping_sub(sum);
        }
        bytes
    }
}

/// A BIOS information table with one entry: `i`, which tells the version.
fn information_table() -> [u8; 18] {
    let mut table = *b"\xff\xb8BIT\0\x00\x01\x0c\x06\x01\0i\x02\x05\0\0\0";
    let [.., low, _] = &mut table;
    *low = INFORMATION;
    let (header, _) = table.split_at(12);
    let sum = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let [_, _, _, _, _, _, _, _, _, _, _, checksum, ..] = &mut table;
    *checksum = sum.wrapping_neg();
    table
}

/// xorshift64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_le_bytes()[3]
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::binary;

    /// The program itself is the judge, which knows the structures by another hand.
    #[test]
    fn they_are_intact_and_of_the_size_asked_for() {
        for units in [328, 2_200] {
            let rom = super::laptop(0x10de, 0x1c8d, units);
            assert_eq!(rom.len(), usize::from(units) * 512);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &rom).unwrap();
            let mut command = Command::new(binary::path().unwrap());
            command.args(["vbios", "info", "--device", "10de:1c8d"]).arg(file.path());
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}");
            assert_eq!(text.matches("NVIDIA private").count(), 2, "{text}");
            assert!(text.contains(&format!("ROM: {} bytes", rom.len())), "{text}");
            // As nouveau prints it.
            assert!(text.contains(&format!("\nversion {}\n", super::VERSION)), "{text}");
        }
    }
}
