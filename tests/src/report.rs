//! What programs in the guest say of the machine, judged.

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

#[cfg(test)]
mod tests {
    #[test]
    fn complaints_are_found_and_stripped() {
        let log = "[    0.1] Linux version\n[    0.2] [Firmware Bug]: TSC\n[    0.3] ACPI: BIOS okay\n";
        assert_eq!(super::complaints(log), ["[Firmware Bug]: TSC"]);
    }
}
