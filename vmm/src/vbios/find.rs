//! `vbios find`: every video ROM in a BIOS update, an archive or a flash dump, or in all files of a folder.

mod folder;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firmware::option_rom::{Problem, Severity, check};
use firmware::unpack::{Found, Limits, Opened, Surroundings, Survey, Tool, survey};
use vocabulary::printable::printable;

use super::output;
use super::report::label_line;
use super::{Answer, CommandError, read, tool};
use crate::cli::FindArgs;
use crate::outcome::status;
use crate::programs;

/// Larger files are no BIOS.
const MAX_FILE: u64 = 1 << 30;
/// Nothing is said about a search that takes less, and no more than once in this time about one that takes longer.
const QUIET: Duration = Duration::from_secs(1);
/// Findings of a ROM that are told.
const MAX_PROBLEMS: usize = 20;

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
    /// Which of how many files is searched, if there are several.
    file: Option<(usize, usize)>,
}

impl World {
    pub(super) fn new(search: OsString, progress: bool) -> Self {
        Self { search, progress, start: Instant::now(), last: None, file: None }
    }
}

impl World {
    /// The next things are in this one of so many files.
    fn enter(&mut self, file: usize, files: usize) {
        self.file = Some((file, files));
    }

    /// The line about this thing, if one is due.
    pub(super) fn progress(&mut self, now: Instant, place: &str, size: usize) -> Option<String> {
        if !self.progress || now.duration_since(self.last.unwrap_or(self.start)) < QUIET {
            return None;
        }
        self.last = Some(now);
        let seconds = now.duration_since(self.start).as_secs();
        let file = self.file.map_or_else(String::new, |(file, files)| format!("file {file} of {files}: "));
        Some(format!("{seconds:>4} s: {file}looking at {place} ({} KiB)", size / 1024))
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

pub(super) fn run(args: &FindArgs, verbose: bool) -> Result<Answer, CommandError> {
    let progress = verbose || std::io::stderr().is_terminal();
    let mut world = World::new(programs::user_path(), progress);
    find(args, &Limits::default(), &mut world)
}

/// Searches the file that `args` name, or those in the folder, and writes what is found.
pub(super) fn find(args: &FindArgs, limits: &Limits, world: &mut World) -> Result<Answer, CommandError> {
    let mut writer = Writer::new(args);
    if args.file.is_dir() {
        return folder::find(args, limits, world, &mut writer);
    }
    let survey = search(&args.file, limits, world)?;
    let mut text = String::new();
    let Written { failed, .. } = writer.write(&mut text, &survey)?;
    conclude(&mut text, &survey, true);
    let complete = survey.complete() && !survey.roms.is_empty();
    let status = if complete { status::SUCCESS } else { status::CONFIG };
    Ok(Answer { text, status: failed.unwrap_or(status) })
}

/// Searches one file.
fn search(file: &Path, limits: &Limits, world: &mut World) -> Result<Survey, CommandError> {
    let too_large = "a BIOS update or a flash dump is smaller";
    let bytes = read(file, "the file", MAX_FILE, too_large)?;
    let name = file.file_name().map_or_else(|| file.display().to_string(), |n| n.to_string_lossy().into());
    Ok(survey(&bytes, &name, limits, world))
}

/// What became of the ROMs of a file.
struct Written {
    /// The status to end with, if one could not be written.
    failed: Option<u8>,
    /// The IDs of the ROMs, in the order in which they were come upon.
    ids: Vec<String>,
}

/// A file, and by what its contents are known again. A folder may hold more ROMs than fit in memory.
struct Named {
    path: PathBuf,
    size: usize,
    hash: u64,
}

/// Writes ROMs, each that differs from the others to a file of its own.
struct Writer<'a> {
    args: &'a FindArgs,
    /// The files of this run, by vendor and device.
    named: BTreeMap<(u16, u16), Vec<Named>>,
    /// With keys that nobody can know who makes ROMs.
    hasher: RandomState,
}

impl<'a> Writer<'a> {
    fn new(args: &'a FindArgs) -> Self {
        Self { args, named: BTreeMap::new(), hasher: RandomState::new() }
    }

    /// Writes the ROMs of a search, and adds what became of each to `text`.
    fn write(&mut self, text: &mut String, survey: &Survey) -> Result<Written, CommandError> {
        let mut written = Written { failed: None, ids: Vec::new() };
        if !survey.roms.is_empty() {
            let output = &self.args.output;
            fs::create_dir_all(output)
                .map_err(|source| CommandError::Write { path: output.clone(), source })?;
        }
        for found in &survey.roms {
            let Some(main) = found.rom.main() else { continue };
            let (vendor, device) = (main.vendor, main.device);
            written.ids.push(format!("{vendor:04x}:{device:04x}"));
            let (size, hash) = (found.image.len(), self.hasher.hash_one(&found.image));
            let known = self.named.entry((vendor, device)).or_default();
            let path = match known.iter().find(|named| (named.size, named.hash) == (size, hash)) {
                Some(named) => named.path.clone(),
                None => {
                    let name = file_name(vendor, device, known.len() + 1);
                    let path = self.args.output.join(name);
                    known.push(Named { path: path.clone(), size, hash });
                    path
                }
            };
            match output::write(&path, &found.image, self.args.force) {
                Ok(how) => describe(text, &path, found, how),
                // One file in the way does not keep the others from being written.
                Err(failure) => {
                    let _ = writeln!(text, "not written: {failure}\n  from {}", found.place);
                    written.failed = Some(failure.status());
                }
            }
        }
        Ok(written)
    }
}

/// The IDs, with a number from the second ROM of the same IDs on.
fn file_name(vendor: u16, device: u16, number: usize) -> String {
    let number = if number == 1 { String::new() } else { format!("_{number}") };
    format!("vbios_{vendor:04x}_{device:04x}{number}.rom")
}

fn describe(text: &mut String, path: &Path, found: &Found, written: output::Written) {
    let gop = if found.rom.has_gop() { "with GOP" } else { "no GOP" };
    let there = if written == output::Written::Same { ", was there already" } else { "" };
    let copies = if found.copies > 1 { format!(", {} copies", found.copies) } else { String::new() };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}: {} bytes, {gop}{copies}{there}", path.display(), found.image.len());
    let label = found.rom.label(&found.image);
    if let Some(line) = label_line(label.version.as_deref(), label.board.as_deref()) {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "  from {}", found.place);
    let warnings = check(&found.image, None).map(|checked| checked.warnings).unwrap_or_default();
    list(text, "warning", warnings.iter());
}

/// Findings of a ROM, of which a hostile one may have as many as it has images.
fn list<'a>(text: &mut String, kind: &str, mut problems: impl Iterator<Item = &'a Problem>) {
    for problem in problems.by_ref().take(MAX_PROBLEMS) {
        let _ = writeln!(text, "  {kind}: {problem}");
    }
    let more = problems.count();
    if more > 0 {
        let _ = writeln!(text, "  and {more} more {kind}s");
    }
}

/// What else a search has to say. `alone`: no other file is searched.
fn conclude(text: &mut String, survey: &Survey, alone: bool) {
    for damaged in &survey.damaged {
        let (vendor, device) = damaged.rom.main().map_or((0, 0), |main| (main.vendor, main.device));
        let _ = writeln!(text, "damaged, not written: {vendor:04x}:{device:04x} from {}", damaged.place);
        let findings = damaged.rom.findings(None);
        list(text, "error", findings.iter().filter(|problem| problem.severity() == Severity::Error));
    }
    for note in &survey.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if survey.more_notes > 0 {
        let _ = writeln!(text, "note: {} more of this kind", survey.more_notes);
    }
    if let Some(stopped) = &survey.stopped {
        let _ = writeln!(text, "the search was ended early: {stopped}; there may be more");
    }
    let Survey { things, volumes, .. } = survey;
    let things = count(*things, "file or section", "files and sections");
    let volumes = count(*volumes, "firmware volume", "firmware volumes");
    let roms = count(survey.roms.len(), "intact video ROM", "intact video ROMs");
    let _ = writeln!(text, "{roms} in {things}, with {volumes}");
    if alone && survey.roms.is_empty() {
        let why = if survey.damaged.is_empty() { NONE } else { DAMAGED };
        let _ = write!(text, "{why} Where else to look:\n{ELSEWHERE}");
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
