//! Builds containers for tests, from their formats' documents and not from the readers.

use std::io::Write;

/// A cabinet with one folder of MSZIP.
pub fn cabinet(files: &[(&str, &[u8])]) -> Vec<u8> {
    let all: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let mut blocks = Vec::new();
    let mut count = 0u16;
    for chunk in all.chunks(32 << 10) {
        let mut deflated = flate2::write::DeflateEncoder::new(b"CK".to_vec(), flate2::Compression::best());
        let packed = deflated.write_all(chunk).and_then(|()| deflated.finish()).unwrap_or_default();
        let sizes = [packed.len(), chunk.len()].map(|size| u16::try_from(size).unwrap_or(0).to_le_bytes());
        let sum = cabinet_sum(&sizes.concat(), cabinet_sum(&packed, 0));
        blocks.extend(sum.to_le_bytes());
        blocks.extend(sizes.concat());
        blocks.extend(packed);
        count += 1;
    }
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut entries = Vec::new();
    let mut start = 0;
    for (name, bytes) in files {
        entries.extend(number(bytes.len()));
        entries.extend(number(start));
        // The folder, the date, the time, and the attribute for an archived file.
        entries.extend([0, 0, 0x21, 0x4d, 0, 0, 0x20, 0]);
        entries.extend(name.as_bytes());
        entries.push(0);
        start += bytes.len();
    }
    let data = 36 + 8 + entries.len();
    [
        &b"MSCF\0\0\0\0"[..],
        &number(data + blocks.len()),
        &[0; 4],
        &number(36 + 8),
        &[0; 4],
        &[3, 1],
        &1u16.to_le_bytes(),
        &u16::try_from(files.len()).unwrap_or(0).to_le_bytes(),
        &[0; 6],
        &number(data),
        &count.to_le_bytes(),
        &1u16.to_le_bytes(),
        &entries,
        &blocks,
    ]
    .concat()
}

/// CSUMCompute of [MS-CAB]: words, and what is left of the last one with its first byte on top.
fn cabinet_sum(bytes: &[u8], seed: u32) -> u32 {
    let mut sum = seed;
    for word in bytes.chunks(4) {
        sum ^= match word {
            [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
            rest => rest.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)),
        };
    }
    sum
}

/// A block of BIOS Guard whose script, of so many bytes, writes `data` to `address`.
pub fn bios_guard_block(script: usize, address: u32, signed: bool, data: &[u8]) -> Vec<u8> {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut block = [
        &[2, 0, 0, 0][..],
        b"PLATFORM\0\0\0\0\0\0\0\0",
        &u32::from(signed).to_le_bytes(),
        &[1, 0, 0, 0],
        &number(script),
        &number(data.len()),
        &[0; 12],
    ]
    .concat();
    let mut code = vec![0x33; script];
    // "Begin", then an instruction with the address for its operand.
    for (to, from) in code.iter_mut().zip([1u8, 0, 0, 0, 0, 0, 0, 0, 0x51, 0, 0, 0]) {
        *to = from;
    }
    for (to, from) in code.iter_mut().skip(12).zip(address.to_le_bytes()) {
        *to = from;
    }
    block.extend(code);
    block.extend(data);
    if signed {
        block.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        block.extend([0xcc; 0x204]);
    }
    block
}

/// AMI's list of files, each with its blocks' data, and the blocks behind it.
pub fn ami_bios_guard(places: &[u16], files: &[(&str, Vec<&[u8]>)]) -> Vec<u8> {
    let mut text = String::from("AMI_BIOS_GUARD_FLASH_CONFIGURATIONS");
    if !places.is_empty() {
        text.push_str("II");
        text.extend(places.iter().map(|place| format!("{place:04X}")));
    }
    text.push_str("\r\n");
    let mut blocks = Vec::new();
    for (name, parts) in files {
        text.push_str(&format!("1 /B {} ;{name}\r\n", parts.len()));
        for data in parts {
            blocks.extend(bios_guard_block(0x28, 0, true, data));
        }
    }
    let size = u32::try_from(17 + text.len()).unwrap_or(0).to_le_bytes();
    [&size[..], &[0; 4], b"_AMIPFAT", &[0], text.as_bytes(), &blocks].concat()
}

/// A PFS of Dell's with these entries, each with a signature of 5 bytes.
pub fn pfs(entries: &[Vec<u8>]) -> Vec<u8> {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let mut payload = Vec::new();
    for entry in entries {
        let mut header = vec![0; 72];
        header.splice(16..17, [1]);
        header.splice(40..44, number(entry.len()));
        header.splice(44..48, number(5));
        payload.extend([&header, entry.as_slice(), &[9; 5]].concat());
    }
    let size = number(payload.len());
    [&b"PFS.HDR."[..], &1u32.to_le_bytes(), &size, &payload, &size, &[0; 4], b"PFS.FTR."].concat()
}

/// A registry hive with one key below the path `keys`, which holds the binary values.
pub fn hive(keys: &[&str], values: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bins = Bins { bytes: vec![0; 32] };
    // A security descriptor, which all keys have: its list has one member.
    let security = bins.next();
    bins.cell(
        &[b"sk\0\0", &security.to_le_bytes()[..], &security.to_le_bytes(), &[1, 0, 0, 0], &[0; 4]].concat(),
    );
    let mut refs = Vec::new();
    for (name, data) in values {
        let at = bins.data(data);
        let length = u16::try_from(name.len()).unwrap_or(0).to_le_bytes();
        let size = u32::try_from(data.len()).unwrap_or(0).to_le_bytes();
        let head =
            [b"vk", &length[..], &size, &at.to_le_bytes(), &3u32.to_le_bytes(), &[1, 0, 0, 0]].concat();
        refs.push(bins.cell(&[&head, name.as_bytes()].concat()));
    }
    let list = bins.cell(&refs.iter().flat_map(|at| at.to_le_bytes()).collect::<Vec<_>>());
    // From the innermost key out; parents are patched in afterwards.
    let mut child: Option<u32> = None;
    let path: Vec<&str> = std::iter::once("ROOT").chain(keys.iter().copied()).collect();
    for (level, name) in path.iter().enumerate().rev() {
        let subkeys = child
            .map_or(u32::MAX, |child| bins.cell(&[b"lh\x01\0", &child.to_le_bytes()[..], &[0; 4]].concat()));
        let own = if child.is_none() { values.len() } else { 0 };
        let flags: u16 = if level == 0 { 0x2c } else { 0x20 };
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        let key = [
            b"nk",
            &flags.to_le_bytes()[..],
            &[0; 12],
            &u32::MAX.to_le_bytes(),
            &u32::from(child.is_some()).to_le_bytes(),
            &[0; 4],
            &subkeys.to_le_bytes(),
            &u32::MAX.to_le_bytes(),
            &number(own),
            &if own > 0 { list } else { u32::MAX }.to_le_bytes(),
            &security.to_le_bytes(),
            &u32::MAX.to_le_bytes(),
            &[0; 20],
            &u16::try_from(name.len()).unwrap_or(0).to_le_bytes(),
            &[0, 0],
            name.as_bytes(),
        ]
        .concat();
        let at = bins.cell(&key);
        if let Some(child) = child {
            let parent = usize::try_from(child).unwrap_or(0) + 4 + 0x10;
            bins.bytes.splice(parent..parent + 4, at.to_le_bytes());
        }
        child = Some(at);
    }
    let mut bytes = bins.bytes;
    // The rest of the bin is a free cell.
    let used = bytes.len();
    bytes.resize((used + 8).next_multiple_of(4096), 0);
    let size = u32::try_from(bytes.len()).unwrap_or(0);
    let free = size - u32::try_from(used).unwrap_or(0);
    bytes.splice(used..used + 4, free.to_le_bytes());
    bytes.splice(0..12, [&b"hbin"[..], &[0; 4], &size.to_le_bytes()].concat());
    let mut base = [
        &b"regf"[..],
        &[1, 0, 0, 0, 1, 0, 0, 0],
        &[0; 8],
        // Version 1.5, a primary file, loaded directly.
        &[1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        &child.unwrap_or(0).to_le_bytes(),
        &size.to_le_bytes(),
        &[1, 0, 0, 0],
    ]
    .concat();
    base.resize(4096, 0);
    let sum = base.chunks_exact(4).take(127).fold([0u8; 4], |sum, word| {
        let mut next = sum;
        next.iter_mut().zip(word).for_each(|(sum, byte)| *sum ^= byte);
        next
    });
    base.splice(0x1fc..0x200, sum);
    [base, bytes].concat()
}

struct Bins {
    bytes: Vec<u8>,
}

impl Bins {
    /// Where the next cell will be.
    fn next(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn cell(&mut self, data: &[u8]) -> u32 {
        let at = self.next();
        let size = (data.len() + 4).next_multiple_of(8);
        let negative = u32::try_from(size).unwrap_or(0).wrapping_neg();
        self.bytes.extend(negative.to_le_bytes());
        self.bytes.extend(data);
        self.bytes.resize(usize::try_from(at).unwrap_or(0) + size, 0);
        at
    }

    /// A value's data, in pieces if it is large.
    fn data(&mut self, data: &[u8]) -> u32 {
        if data.len() <= 16344 {
            return self.cell(data);
        }
        let pieces: Vec<u32> = data.chunks(16344).map(|piece| self.cell(piece)).collect();
        let count = u16::try_from(pieces.len()).unwrap_or(0).to_le_bytes();
        let list = self.cell(&pieces.iter().flat_map(|at| at.to_le_bytes()).collect::<Vec<_>>());
        self.cell(&[b"db", &count[..], &list.to_le_bytes(), &[0; 4]].concat())
    }
}
