//! What OVMF does with the three files, from the behaviour of edk2's `QemuFwCfgAcpi.c`: first execute the script,
//! then look where its pointers lead and install what has a table's header. Any error means no ACPI at all.

use std::collections::{BTreeMap, BTreeSet};

const PAGE: u64 = 4096;

/// fw_cfg files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The state of the guest after the tables are installed.
#[derive(Debug, Default)]
pub(crate) struct Installed {
    /// The blobs by name, in guest memory.
    pub(crate) blobs: BTreeMap<String, Allocated>,
    /// Tables as they were handed to the ACPI table protocol, with the address they had.
    pub(crate) tables: Vec<(u64, Vec<u8>)>,
    /// Blobs that stay in memory.
    pub(crate) kept: BTreeSet<String>,
    /// The files, after the script has written to them.
    pub(crate) written: Files,
}

#[derive(Debug)]
pub(crate) struct Allocated {
    pub(crate) base: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Installed {
    /// The installed tables with this signature.
    pub(crate) fn of(&self, signature: &[u8; 4]) -> Vec<&[u8]> {
        let tables = self.tables.iter().map(|(_, table)| table.as_slice());
        tables.filter(|table| table.starts_with(signature)).collect()
    }
}

struct Entry<'a>(&'a [u8]);

impl Entry<'_> {
    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.0[offset..offset + 4].try_into().unwrap())
    }

    fn name(&self, offset: usize) -> Result<String, String> {
        let field = &self.0[offset..offset + 56];
        let end = field.iter().position(|byte| *byte == 0).ok_or("a name without a NUL")?;
        String::from_utf8(field[..end].to_vec()).map_err(|error| error.to_string())
    }
}

/// Runs the script.
pub(crate) fn install(script: &[u8], files: &Files) -> Result<Installed, String> {
    if !script.len().is_multiple_of(128) {
        return Err("the script is not a multiple of an entry long".into());
    }
    let entries: Vec<Entry<'_>> = script.chunks(128).map(Entry).collect();
    let mut state = Installed { written: files.clone(), ..Installed::default() };
    let narrow = entries.iter().filter(|entry| entry.u32(0) == 2 && entry.0[120] < 8);
    let below_4_gib: BTreeSet<String> = narrow.map(|entry| entry.name(60)).collect::<Result<_, _>>()?;

    // Above 4 GiB unless restricted, so that a truncated pointer shows.
    let (mut low, mut high) = (0x7E00_0000, 0x1_7E00_0000);
    for entry in &entries {
        match entry.u32(0) {
            1 => {
                let name = entry.name(4)?;
                let next = if below_4_gib.contains(&name) { &mut low } else { &mut high };
                allocate(&mut state, entry, name, files, next)?;
            }
            2 => add_pointer(&mut state, entry)?,
            3 => add_checksum(&mut state, entry)?,
            4 => write_pointer(&mut state, entry)?,
            _ => {}
        }
    }
    discover(&mut state, &entries)?;
    Ok(state)
}

fn allocate(
    state: &mut Installed,
    entry: &Entry<'_>,
    name: String,
    files: &Files,
    next: &mut u64,
) -> Result<(), String> {
    if entry.u32(60) > 4096 {
        return Err(format!("{name}: alignment {}", entry.u32(60)));
    }
    let bytes = files.get(&name).ok_or(format!("{name}: no such file"))?.clone();
    let base = *next;
    *next += (bytes.len() as u64).next_multiple_of(PAGE);
    match state.blobs.insert(name.clone(), Allocated { base, bytes }) {
        None => Ok(()),
        Some(_) => Err(format!("{name}: allocated twice")),
    }
}

/// The pointer that an ADD_POINTER entry is about: blob, offset, bytes, value.
fn read_pointer(state: &Installed, entry: &Entry<'_>) -> Result<(String, usize, usize, u64), String> {
    let holder = entry.name(4)?;
    let (offset, size) = (entry.u32(116) as usize, usize::from(entry.0[120]));
    let blob = state.blobs.get(&holder).ok_or(format!("{holder}: not allocated"))?;
    if ![1, 2, 4, 8].contains(&size) || offset + size > blob.bytes.len() {
        return Err(format!("{holder}: pointer of {size} bytes at {offset:#x}"));
    }
    let mut value = [0; 8];
    value[..size].copy_from_slice(&blob.bytes[offset..offset + size]);
    Ok((holder, offset, size, u64::from_le_bytes(value)))
}

fn add_pointer(state: &mut Installed, entry: &Entry<'_>) -> Result<(), String> {
    let (holder, offset, size, value) = read_pointer(state, entry)?;
    let target = entry.name(60)?;
    let blob = state.blobs.get(&target).ok_or(format!("{target}: not allocated"))?;
    if value >= blob.bytes.len() as u64 {
        return Err(format!("{holder}: pointer to {value:#x} in {target}"));
    }
    let address = (value + blob.base).to_le_bytes();
    if address[size..].iter().any(|byte| *byte != 0) {
        return Err(format!("{holder}: address of {target} does not fit"));
    }
    let holder = state.blobs.get_mut(&holder).unwrap();
    holder.bytes[offset..offset + size].copy_from_slice(&address[..size]);
    Ok(())
}

fn add_checksum(state: &mut Installed, entry: &Entry<'_>) -> Result<(), String> {
    let name = entry.name(4)?;
    let [result, start, length] = [60, 64, 68].map(|offset| entry.u32(offset) as usize);
    let blob = state.blobs.get_mut(&name).ok_or(format!("{name}: not allocated"))?;
    if result >= blob.bytes.len() || start + length > blob.bytes.len() {
        return Err(format!("{name}: checksum of {start:#x}+{length:#x} at {result:#x}"));
    }
    blob.bytes[result] = 0u8.wrapping_sub(sum(&blob.bytes[start..start + length]));
    Ok(())
}

fn write_pointer(state: &mut Installed, entry: &Entry<'_>) -> Result<(), String> {
    let (file, source) = (entry.name(4)?, entry.name(60)?);
    let (offset, target) = (entry.u32(116) as usize, u64::from(entry.u32(120)));
    let size = usize::from(entry.0[124]);
    let blob = state.blobs.get(&source).ok_or(format!("{source}: not allocated"))?;
    let content = state.written.get_mut(&file).ok_or(format!("{file}: no such file"))?;
    if target >= blob.bytes.len() as u64 || offset + size > content.len() {
        return Err(format!("{file}: pointer of {size} bytes at {offset:#x} to {target:#x}"));
    }
    content[offset..offset + size].copy_from_slice(&(blob.base + target).to_le_bytes()[..size]);
    state.kept.insert(source);
    Ok(())
}

fn discover(state: &mut Installed, entries: &[Entry<'_>]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.u32(0) == 2) {
        let (_, _, _, address) = read_pointer(state, entry)?;
        if !seen.insert(address) {
            continue;
        }
        let target = entry.name(60)?;
        let blob = &state.blobs[&target];
        let rest = &blob.bytes[usize::try_from(address - blob.base).unwrap()..];
        match table_length(rest) {
            Some(length) if !rest.starts_with(b"RSDT") && !rest.starts_with(b"XSDT") => {
                state.tables.push((address, rest[..length].to_vec()));
            }
            Some(_) => {}
            None => drop(state.kept.insert(target)),
        }
    }
    if state.tables.len() > 128 {
        return Err(format!("{} tables", state.tables.len()));
    }
    Ok(())
}

/// How long the table at the beginning of `bytes` is, if there is one.
fn table_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().unwrap()) as usize;
    let table = bytes.get(..length)?;
    if bytes.starts_with(b"FACS") {
        return (length >= 64).then_some(length);
    }
    (length >= 36 && sum(table) == 0).then_some(length)
}

pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
