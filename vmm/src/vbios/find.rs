//! `vbios find`: every video ROM in a BIOS update, an archive or a flash dump.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firmware::option_rom::{Severity, check};
use firmware::unpack::{Found, Limits, Opened, Surroundings, Survey, Tool, survey};

use super::output::{self, Written};
use super::report::label_line;
use super::{Answer, read, tool};
use crate::cli::FindArgs;
use crate::outcome::{Failure, status};
use crate::printable::printable;
use crate::programs;

/// Larger files are no BIOS.
const MAX_FILE: u64 = 1 << 30;
/// Nothing is said about a search that takes less, and no more than once in this time about one that takes longer.
const QUIET: Duration = Duration::from_secs(1);

/// Why a search found none.
const NONE: &str =
    "No video ROM is in it: the GPU may have a ROM of its own, or the update may be encrypted.";
const DAMAGED: &str = "No intact video ROM is in it.";
/// Where else a video BIOS can be.
const ELSEWHERE: &str = "\
- in the GPU of a running machine:  optimus-vmm vbios dump --host 0000:01:00.0
- in nouveau's copy, while it drives the GPU:  /sys/kernel/debug/dri/*/vbios.rom
- in a dump of the BIOS's flash chip (16 or 32 MiB):  flashrom -p internal -r flash.bin; then
  optimus-vmm vbios find flash.bin
- in Windows on the same laptop:  GPU-Z or nvflash --save; an .exe whose installer offers to copy or extract its
  files gives a .bin that can be searched here
- in another version of the BIOS update, older ones above all
";

/// Tells on standard error what the search looks at, and opens containers with programs of this machine.
pub(super) struct World {
    /// Where programs are looked for, in the form of PATH.
    pub(super) search: OsString,
    progress: bool,
    start: Instant,
    last: Option<Instant>,
}

impl World {
    pub(super) fn new(search: OsString, progress: bool) -> Self {
        Self { search, progress, start: Instant::now(), last: None }
    }
}

impl World {
    /// The line about this thing, if one is due.
    pub(super) fn progress(&mut self, now: Instant, place: &str, size: usize) -> Option<String> {
        if !self.progress || now.duration_since(self.last.unwrap_or(self.start)) < QUIET {
            return None;
        }
        self.last = Some(now);
        let seconds = now.duration_since(self.start).as_secs();
        Some(format!("{seconds:>4} s: looking at {place} ({} KiB)", size / 1024))
    }
}

impl Surroundings for World {
    fn looking_at(&mut self, place: &str, size: usize) {
        tracing::debug!("looking at {place}, {size} bytes");
        if let Some(line) = self.progress(Instant::now(), place, size) {
            // Nothing is lost if nobody listens.
            let _ = writeln!(std::io::stderr().lock(), "{}", printable(&line));
        }
    }

    fn open_with(&mut self, tool: Tool, bytes: &[u8], limit: usize) -> Result<Opened, String> {
        tool::open(tool, bytes, limit, &self.search)
    }
}

pub(super) fn run(args: &FindArgs, verbose: bool) -> Result<Answer, Failure> {
    let progress = verbose || std::io::stderr().is_terminal();
    let mut world = World::new(programs::user_path(), progress);
    find(args, &Limits::default(), &mut world)
}

/// Searches the file that `args` name, and writes what is found.
pub(super) fn find(args: &FindArgs, limits: &Limits, world: &mut World) -> Result<Answer, Failure> {
    let too_large = "a BIOS update or a flash dump is smaller";
    let bytes = read(&args.file, "the file", MAX_FILE, too_large)?;
    let name =
        args.file.file_name().map_or_else(|| args.file.display().to_string(), |n| n.to_string_lossy().into());
    let survey = survey(&bytes, &name, limits, world);
    drop(bytes);
    if !survey.roms.is_empty() {
        fs::create_dir_all(&args.output)
            .map_err(|source| Failure::Write { path: args.output.clone(), source })?;
    }
    let mut text = String::new();
    let complete = survey.stopped.is_none() && !survey.roms.is_empty();
    let mut status = if complete { status::SUCCESS } else { status::CONFIG };
    for (path, found) in name_all(&args.output, &survey.roms) {
        match output::write(&path, &found.image, args.force) {
            Ok(written) => describe(&mut text, &path, found, written),
            // One file in the way does not keep the others from being written.
            Err(failure) => {
                let _ = writeln!(text, "not written: {failure}\n  from {}", found.place);
                status = failure.status();
            }
        }
    }
    conclude(&mut text, &survey);
    Ok(Answer { text, status })
}

/// The names of files: the IDs, with a number from the second ROM of the same IDs on.
fn name_all<'a>(folder: &Path, roms: &'a [Found]) -> Vec<(PathBuf, &'a Found)> {
    let mut counts = BTreeMap::new();
    let mut named = Vec::new();
    for found in roms {
        let Some(main) = found.rom.main() else { continue };
        let count: &mut usize = counts.entry((main.vendor, main.device)).or_default();
        *count += 1;
        let number = if *count == 1 { String::new() } else { format!("_{count}") };
        let name = format!("vbios_{:04x}_{:04x}{number}.rom", main.vendor, main.device);
        named.push((folder.join(name), found));
    }
    named
}

fn describe(text: &mut String, path: &Path, found: &Found, written: Written) {
    let gop = if found.rom.has_gop() { "with GOP" } else { "no GOP" };
    let there = if written == Written::Same { ", was there already" } else { "" };
    let copies = if found.copies > 1 { format!(", {} copies", found.copies) } else { String::new() };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}: {} bytes, {gop}{copies}{there}", path.display(), found.image.len());
    let label = found.rom.label(&found.image);
    if let Some(line) = label_line(label.version.as_deref(), label.board.as_deref()) {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "  from {}", found.place);
    let warnings = check(&found.image, None).map(|checked| checked.warnings).unwrap_or_default();
    for warning in warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
}

fn conclude(text: &mut String, survey: &Survey) {
    for damaged in &survey.damaged {
        let (vendor, device) = damaged.rom.main().map_or((0, 0), |main| (main.vendor, main.device));
        let _ = writeln!(text, "damaged, not written: {vendor:04x}:{device:04x} from {}", damaged.place);
        let findings = damaged.rom.findings(None);
        for error in findings.iter().filter(|problem| problem.severity() == Severity::Error) {
            let _ = writeln!(text, "  error: {error}");
        }
    }
    for note in &survey.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if let Some(stopped) = &survey.stopped {
        let _ = writeln!(text, "the search was ended early: {stopped}; there may be more");
    }
    let Survey { things, volumes, .. } = survey;
    let things = count(*things, "file or section", "files and sections");
    let volumes = count(*volumes, "firmware volume", "firmware volumes");
    let roms = count(survey.roms.len(), "intact video ROM", "intact video ROMs");
    let _ = writeln!(text, "{roms} in {things}, with {volumes}");
    if survey.roms.is_empty() {
        let why = if survey.damaged.is_empty() { NONE } else { DAMAGED };
        let _ = write!(text, "{why} Where else to look:\n{ELSEWHERE}");
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
