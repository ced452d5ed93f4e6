//! Builds option ROMs for tests, field by field, from the specifications and not from the parser.

/// One image to build.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    signature: [u8; 2],
    data_signature: [u8; 4],
    ids: (u16, u16),
    class: u32,
    code_type: u8,
    units: u16,
    pcir_units: Option<u16>,
    last: bool,
    private_last: Option<bool>,
    npde_flags: u8,
    device_list: Vec<u16>,
    revision: u8,
    list_pointer: u16,
    machine: u16,
    fill: u8,
}

impl ImageBuilder {
    /// An x86 BIOS image of a VGA controller, of `units` times 512 bytes.
    pub fn legacy(vendor: u16, device: u16, units: u16) -> Self {
        Self {
            signature: [0x55, 0xaa],
            data_signature: *b"PCIR",
            ids: (vendor, device),
            class: 0x03_0000,
            code_type: 0,
            units,
            pcir_units: None,
            last: false,
            private_last: None,
            npde_flags: 0,
            device_list: Vec::new(),
            revision: 0,
            list_pointer: 0,
            machine: 0x8664,
            fill: 0x5a,
        }
    }

    /// An EFI image for x86-64.
    pub fn efi(vendor: u16, device: u16, units: u16) -> Self {
        Self { code_type: 3, ..Self::legacy(vendor, device, units) }
    }

    /// An NVIDIA private image (`56 4E`, NPDS) of code type 0xE0.
    pub fn private(vendor: u16, device: u16, units: u16) -> Self {
        Self {
            signature: [0x56, 0x4e],
            data_signature: *b"NPDS",
            code_type: 0xe0,
            ..Self::legacy(vendor, device, units)
        }
    }

    /// An NVIDIA private image (`77 BB`, RGIS) of code type 0x70.
    pub fn nbsi(vendor: u16, device: u16, units: u16) -> Self {
        Self {
            signature: [0x77, 0xbb],
            data_signature: *b"RGIS",
            code_type: 0x70,
            ..Self::legacy(vendor, device, units)
        }
    }

    /// Another class code.
    #[must_use]
    pub fn class(self, class: u32) -> Self {
        Self { class, ..self }
    }

    /// Another PE machine, for EFI images.
    #[must_use]
    pub fn machine(self, machine: u16) -> Self {
        Self { machine, ..self }
    }

    /// Sets the PCIR's bit for the last image.
    #[must_use]
    pub fn last(self) -> Self {
        Self { last: true, ..self }
    }

    /// Adds an NPDE; the PCIR then covers `blob` units.
    #[must_use]
    pub fn npde(self, last: bool, flags: u8, blob: u16) -> Self {
        Self { private_last: Some(last), npde_flags: flags, pcir_units: Some(blob), ..self }
    }

    /// Adds a device list (PCIR revision 3).
    #[must_use]
    pub fn device_list(self, device_list: &[u16]) -> Self {
        Self { device_list: device_list.to_vec(), ..self }.revision_3(0x50)
    }

    /// Another PCIR revision, 3, with a pointer to a device list, relative to the PCIR.
    #[must_use]
    pub fn revision_3(self, list_pointer: u16) -> Self {
        Self { revision: 3, list_pointer, ..self }
    }

    /// Fills the body with another byte, so that two images differ.
    #[must_use]
    pub fn fill(self, fill: u8) -> Self {
        Self { fill, ..self }
    }

    /// The bytes, with a right checksum where the format has one.
    pub fn build(&self) -> Vec<u8> {
        const PCIR: usize = 0x40;
        let mut bytes = vec![self.fill; usize::from(self.units) * 512];
        let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
        let length = if self.revision == 0 { 0x18u16 } else { 0x1c };
        put(0, &[0; 0xc0]);
        put(0, &self.signature);
        put(0x18, &(PCIR as u16).to_le_bytes());
        if self.code_type == 3 {
            put(2, &self.units.to_le_bytes());
            put(4, &0x0ef1u32.to_le_bytes());
            put(8, &0x0bu16.to_le_bytes());
            put(0x0a, &self.machine.to_le_bytes());
            put(0x0c, &1u16.to_le_bytes());
            put(0x16, &0xc0u16.to_le_bytes());
        } else {
            put(2, &[self.units.to_le_bytes()[0]]);
        }
        put(PCIR, &self.data_signature);
        put(PCIR + 4, &self.ids.0.to_le_bytes());
        put(PCIR + 6, &self.ids.1.to_le_bytes());
        put(PCIR + 0x0a, &length.to_le_bytes());
        put(PCIR + 0x0d, &self.class.to_le_bytes()[..3]);
        put(PCIR + 0x10, &self.pcir_units.unwrap_or(self.units).to_le_bytes());
        put(PCIR + 0x14, &[self.code_type, if self.last { 0x80 } else { 0 }]);
        put(PCIR + 8, &self.list_pointer.to_le_bytes());
        put(PCIR + 0x0c, &[self.revision]);
        if !self.device_list.is_empty() {
            for (index, id) in self.device_list.iter().enumerate() {
                put(PCIR + 0x50 + 2 * index, &id.to_le_bytes());
            }
        }
        if let Some(last) = self.private_last {
            const NPDE: usize = PCIR + 0x20;
            put(NPDE, b"NPDE");
            put(NPDE + 4, &0x101u16.to_le_bytes());
            put(NPDE + 6, &0x14u16.to_le_bytes());
            put(NPDE + 8, &self.units.to_le_bytes());
            put(NPDE + 0x0a, &[if last { 0x80 } else { 0 }, self.npde_flags]);
        }
        if self.code_type == 0 {
            checksum(&mut bytes);
        }
        bytes
    }
}

/// Makes the sum of a BIOS image right.
fn checksum(image: &mut [u8]) {
    let sum = image.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    image[6] = image[6].wrapping_sub(sum);
}

/// The ROM of a muxless laptop GPU: a BIOS image, two private images with the chip's own ID, NBSI, and no GOP.
pub fn muxless(vendor: u16, device: u16) -> Vec<u8> {
    let chip = device & !0xf;
    [
        ImageBuilder::legacy(vendor, device, 24).last().npde(false, 1, 64),
        ImageBuilder::private(vendor, chip, 16).npde(false, 1, 40),
        ImageBuilder::private(vendor, chip, 20).npde(false, 1, 24),
        ImageBuilder::nbsi(vendor, chip, 4).last(),
    ]
    .iter()
    .flat_map(ImageBuilder::build)
    .collect()
}

/// The ROM of a GPU with outputs: a BIOS image and a GOP.
pub fn with_gop(vendor: u16, device: u16) -> Vec<u8> {
    [ImageBuilder::legacy(vendor, device, 16), ImageBuilder::efi(vendor, device, 12).last()]
        .iter()
        .flat_map(ImageBuilder::build)
        .collect()
}

/// The ROM of a laptop's GPU since Ampere: an EFI image without IDs and class behind the BIOS image, both with PCIR and NPDE
/// of their own, the PCIR's chain ending with it, and private images behind.
pub fn ampere(vendor: u16, device: u16) -> Vec<u8> {
    [
        ImageBuilder::legacy(vendor, device, 24).npde(false, 1, 24),
        ImageBuilder::efi(0, 0, 12).class(0).revision_3(0).last().npde(false, 1, 12),
        ImageBuilder::private(vendor, device, 16).npde(false, 1, 16),
        ImageBuilder::nbsi(vendor, device, 4).last(),
    ]
    .iter()
    .flat_map(ImageBuilder::build)
    .collect()
}

/// Bytes of the standard images of [`ampere`], as far as Linux reads them.
pub const AMPERE_STANDARD: usize = 36 * 512;

/// Puts NVIDIA's BIOS Information Table into the BIOS image of so many bytes at the start of `rom`: version, OEM version,
/// and the product's name.
pub fn put_bit(rom: &mut [u8], image: usize, version: [u8; 4], oem: u8, product: &str) {
    const TABLE: usize = 0x200;
    const DATA: usize = 0x240;
    const STRINGS: usize = 0x250;
    const TEXT: usize = 0x270;
    let mut put = |at: usize, data: &[u8]| rom[at..at + data.len()].copy_from_slice(data);
    put(TABLE, b"\xff\xb8BIT\0\0\x01\x0c\x06\x03\0");
    let token = |id: u8, version: u8, size: u16, at: usize| {
        [&[id, version], size.to_le_bytes().as_slice(), &(at as u16).to_le_bytes()].concat()
    };
    put(TABLE + 12, &token(b'N', 0, 0, 0));
    put(TABLE + 18, &token(b'i', 2, 5, DATA));
    put(TABLE + 24, &token(b'S', 2, 21, STRINGS));
    let [major, chip, minor, micro] = version;
    put(DATA, &[micro, minor, chip, major, oem]);
    put(STRINGS, &[0; 21]);
    put(STRINGS + 15, &(TEXT as u16).to_le_bytes());
    put(STRINGS + 17, &[64]);
    put(TEXT, product.as_bytes());
    put(TEXT + product.len(), &[0]);
    checksum(&mut rom[..image]);
}
