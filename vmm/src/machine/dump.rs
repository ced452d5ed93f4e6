//! `optimus-vmm acpi dump`: the tables that a machine would get, without a machine.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use firmware::new_file;
use vocabulary::AddressRange;

use super::refused;
use crate::machine::assembly::acpi::{self, CpuFacts, Firmware};
use crate::machine::files::additions::Additions;
use crate::outcome::{DecompileError, Failure};
use crate::plan::MachinePlan;
use crate::programs;

/// Where OVMF builds since 2023 put the ECAM (edk2 OvmfPkg/OvmfPkgX64.dsc, PcdPciExpressBaseAddress).
const ECAM_BASE: u64 = 0xe000_0000;
const ECAM_LEN: u64 = 256 << 20;

/// Writes the tables into `folder`, which is made if need be, and returns the files: `dsdt.dat`, `ssdt1.dat` and so on,
/// as `acpidump -b` calls them. With `dsl` also their sources, as `iasl` decompiles them.
///
/// # Errors
/// The tables cannot be built from the configuration, a file cannot be written, or `iasl` is missing or fails.
pub fn dump(plan: &MachinePlan, folder: &Path, dsl: bool) -> Result<Vec<PathBuf>, Failure> {
    let additions = Additions::load(plan)?;
    let firmware = Firmware { ecam: AddressRange::new(ECAM_BASE, ECAM_LEN), ..Firmware::default() };
    let tables = acpi::platform(plan, CpuFacts::of_host(plan), &firmware, &additions)
        .and_then(|platform| ::acpi::build(&platform))?;

    let written = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Failure::Write { path, source }
    };
    std::fs::create_dir_all(folder).map_err(written(folder))?;
    let mut files = Vec::new();
    let mut counts: BTreeMap<[u8; 4], u32> = BTreeMap::new();
    // The firmware makes the RSDT that the guest sees.
    for table in tables.individual().into_iter().filter(|table| table.signature != *b"RSDT") {
        let name: String =
            table.signature.iter().map(|byte| char::from(*byte).to_ascii_lowercase()).collect();
        let count = counts.entry(table.signature).or_default();
        *count = count.saturating_add(1);
        // There is one of each of the machine's own but SSDTs.
        let number = if *count > 1 || name == "ssdt" { count.to_string() } else { String::new() };
        let path = folder.join(format!("{name}{number}.dat"));
        new_file::replace(&path, &table.bytes, 0o666).map_err(written(&path))?;
        files.push(path);
    }
    if dsl {
        let mut sources = files.iter().map(|file| decompile(file)).collect::<Result<_, _>>()?;
        files.append(&mut sources);
    }
    Ok(files)
}

/// Makes `x.dsl` from `x.dat`.
fn decompile(file: &Path) -> Result<PathBuf, Failure> {
    let source = file.with_extension("dsl");
    let absolute = |path: &Path| std::path::absolute(path).map_err(refused("find out the current folder"));
    let iasl = programs::find("iasl", &programs::user_path())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    let arguments = (absolute(&source)?, absolute(file)?);
    let output = iasl.and_then(|iasl| {
        programs::command(&iasl).arg("-p").arg(arguments.0).arg("-d").arg(arguments.1).output()
    });
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DecompileError::NotInstalled,
        _ => DecompileError::Start(error),
    })?;
    if !output.status.success() || !source.exists() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default().to_owned();
        return Err(DecompileError::Failed { file: file.into(), status: output.status, said }.into());
    }
    Ok(source)
}
