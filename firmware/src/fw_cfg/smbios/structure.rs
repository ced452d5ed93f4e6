//! The common shape of all structures (DSP0134 sections 6.1.2 and 6.1.3): a header, fields, and a set of strings.

/// Writes structures one behind the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

/// One structure under construction: its fields so far, and its strings.
#[derive(Debug)]
pub(super) struct Structure {
    kind: u8,
    handle: u16,
    fields: Vec<u8>,
    strings: Vec<u8>,
    count: u8,
}

impl Structure {
    pub(super) fn new(kind: u8, handle: u16) -> Self {
        Self { kind, handle, fields: Vec::new(), strings: Vec::new(), count: 0 }
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.fields.push(value);
        self
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn raw(mut self, value: &[u8]) -> Self {
        self.fields.extend(value);
        self
    }

    /// A field that refers to a string by its number, from 1; 0 refers to none.
    pub(super) fn string(mut self, value: Option<&str>) -> Self {
        // No structure here has 255 strings; an empty one would end the set.
        let number = match value.map(str::trim).filter(|value| !value.is_empty()) {
            Some(value) => {
                // A NUL would end the string and shift all that follow.
                self.strings.extend(value.bytes().map(|byte| if byte == 0 { b'?' } else { byte }));
                self.strings.push(0);
                self.count = self.count.saturating_add(1);
                self.count
            }
            None => 0,
        };
        self.u8(number)
    }
}

impl Writer {
    /// Appends a structure: header, fields, strings, and the double NUL at its end.
    pub(super) fn push(&mut self, structure: Structure) {
        let Structure { kind, handle, fields, strings, count: _ } = structure;
        // Every structure here is a few dozen bytes; its length fits.
        let length = u8::try_from(fields.len().saturating_add(4)).unwrap_or(u8::MAX);
        self.bytes.extend([kind, length]);
        self.bytes.extend(handle.to_le_bytes());
        self.bytes.extend(fields);
        self.bytes.extend(&strings);
        self.bytes.extend(if strings.is_empty() { &[0u8, 0][..] } else { &[0][..] });
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
