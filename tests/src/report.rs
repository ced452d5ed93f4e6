//! What programs in the guest say of the machine, judged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{Outcome, lab};

/// Words by which the Linux kernel complains about firmware or devices.
const COMPLAINTS: [&str; 18] = [
    "[Firmware Bug]",
    "[Firmware Warn]",
    "[Hardware Error]",
    "ACPI Error",
    "ACPI BIOS Error",
    "ACPI Warning",
    "ACPI BIOS Warning",
    "ACPI Exception",
    "can't assign",
    "failed to assign",
    "can't claim",
    "no compatible bridge window",
    "nobody cared",
    "can't derive routing",
    "probably buggy",
    "DMAR: [",
    "MP-BIOS bug",
    "Marking TSC unstable",
];

/// The lines of a kernel log that complain, without their time stamps.
pub fn complaints(dmesg: &str) -> Vec<String> {
    dmesg
        .lines()
        .filter(|line| COMPLAINTS.iter().any(|word| line.contains(word)))
        .map(|line| line.split_once("] ").map_or(line, |(_, rest)| rest).to_owned())
        .collect()
}

/// Unpacks what the small guest's test `report` left on its disk of that name.
pub fn unpack(disk: &Path, directory: &Path) -> Outcome {
    std::fs::create_dir_all(directory)?;
    let [disk, directory] = [disk, directory].map(|path| path.display().to_string());
    lab::call("tar", &["-C", &directory, "-xf", &disk])?;
    Ok(())
}

/// The guest's ACPI tables, disassembled: the sources, by the name of the table.
///
/// `dump` is the output of acpidump; `directory` is for the files.
pub fn disassemble(dump: &Path, directory: &Path) -> Outcome<Vec<(String, String)>> {
    std::fs::create_dir_all(directory)?;
    lab::call_in(directory, "acpixtract", &["-a", &dump.display().to_string()])?;
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "dat") {
            lab::call_in(directory, "iasl", &["-d", &path.display().to_string()])?;
            let source = path.with_extension("dsl");
            let name = path.file_stem().unwrap_or_default().to_string_lossy().to_uppercase();
            tables.push((name, std::fs::read_to_string(source)?));
        }
    }
    tables.sort();
    Ok(tables)
}

/// Compiles a disassembled table. Gives iasl's lines of warnings and errors.
pub fn recompile(source: &str, directory: &Path) -> Outcome<Vec<String>> {
    let file = directory.join("again.dsl");
    std::fs::write(&file, source)?;
    // iasl fails on errors; its output tells them.
    let output = lab::call_in(directory, "sh", &["-c", "iasl -ve -vw 3115 again.dsl 2>&1 || true"])?;
    Ok(output
        .lines()
        .filter(|line| line.starts_with("Error") || line.starts_with("Warning"))
        .map(str::to_owned)
        .collect())
}

/// Words by which guests recognise QEMU and machines made from its sources.
const EMULATORS: [&str; 3] = ["bochs", "bxpc", "qemu"];

/// Where those words stand in a file of the guest's, each with the printable characters around it; capitals make no difference.
pub fn emulators(content: &[u8]) -> Vec<String> {
    let small = content.to_ascii_lowercase();
    let mut found = Vec::new();
    for word in EMULATORS {
        for at in small.windows(word.len()).enumerate().filter(|(_, bytes)| *bytes == word.as_bytes()) {
            let (before, after) = content.split_at(at.0);
            let printable = |byte: &&u8| (b' '..=b'~').contains(*byte);
            let start = before.iter().rev().take_while(printable).count();
            let end = after.iter().take_while(printable).count();
            let text = before.iter().skip(before.len() - start).chain(after.iter().take(end));
            found.push(text.map(|byte| char::from(*byte)).collect());
        }
    }
    found
}

/// A value of a structure that dmidecode shows: of each structure with this title, in their order.
pub fn dmi_values<'a>(dmidecode: &'a str, title: &str, key: &str) -> Vec<&'a str> {
    let structures = dmidecode.split("\n\n").filter(|text| text.lines().nth(1) == Some(title));
    let value =
        |text: &'a str| text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
    structures.filter_map(value).collect()
}

/// KiB of the caches of all processors by level, from Linux's view of them: `FILE:VALUE` for the files of
/// `/sys/devices/system/cpu/cpu*/cache/index*`.
pub fn caches(listing: &str) -> BTreeMap<u8, u64> {
    let mut files: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for line in listing.lines() {
        if let Some(((folder, name), value)) =
            line.split_once(':').and_then(|(path, value)| Some((path.rsplit_once('/')?, value)))
        {
            files.entry(folder).or_default().insert(name, value);
        }
    }
    // One that several processors share is in the folders of all of them.
    let caches: BTreeSet<[&str; 4]> = files
        .values()
        .filter_map(|of| {
            let get = |name: &str| of.get(name).copied();
            Some([get("level")?, get("type")?, get("shared_cpu_list")?, get("size")?])
        })
        .collect();
    let mut sums = BTreeMap::new();
    for [level, _, _, size] in caches {
        let size = size.strip_suffix('K').and_then(|size| size.parse::<u64>().ok());
        if let (Ok(level), Some(size)) = (level.parse(), size) {
            *sums.entry(level).or_default() += size;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    #[test]
    fn emulators_are_found_in_any_case() {
        assert_eq!(super::emulators(b"\x08_HID\0QEMU0002\0\x08bochs"), ["bochs", "QEMU0002"]);
        assert!(super::emulators(b"OPTVMM boch sqem u").is_empty());
    }

    #[test]
    fn values_of_structures_are_found() {
        let text = "Handle 0x1, DMI type 7, 19 bytes\nCache Information\n\tInstalled Size: 1 MB\n\n\
                    Handle 0x2, DMI type 8, 9 bytes\nOther\n\tInstalled Size: 2 MB\n\n\
                    Handle 0x3, DMI type 7, 19 bytes\nCache Information\n\tInstalled Size: 3 MB\n";
        assert_eq!(super::dmi_values(text, "Cache Information", "Installed Size"), ["1 MB", "3 MB"]);
    }

    #[test]
    fn shared_caches_count_once() {
        let mut listing = String::new();
        for (cpu, shared) in [(0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3")] {
            for (index, level, kind, shared) in
                [(0, 1, "Data", shared), (1, 1, "Instruction", shared), (2, 3, "Unified", "0-3")]
            {
                let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
                listing += &format!("{folder}/level:{level}\n{folder}/type:{kind}\n");
                listing += &format!("{folder}/shared_cpu_list:{shared}\n{folder}/size:{}K\n", 32 * level);
            }
        }
        assert_eq!(super::caches(&listing), [(1, 128), (3, 96)].into());
    }

    #[test]
    fn complaints_are_found_and_stripped() {
        let log = "[    0.1] Linux version\n[    0.2] [Firmware Bug]: TSC\n[    0.3] ACPI: BIOS okay\n";
        assert_eq!(super::complaints(log), ["[Firmware Bug]: TSC"]);
    }
}
