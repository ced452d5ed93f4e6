//! Programs of others that open what we do not: `innoextract`, `upx` and `cabextract`.
//!
//! What they are given is untrusted, so they run in a directory of their own with limits on memory, processor time and
//! the size of a file, set by `prlimit` before they start, and are ended when all they write grows too large.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use firmware::unpack::{Opened, Tool};

use crate::programs::{self, find};

/// Memory that a tool may take, in bytes.
const MEMORY: u64 = 4 << 30;
/// Processor time that a tool may take, in seconds.
const PROCESSOR: u64 = 300;
/// Time after which a tool is killed, whatever it waits for.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often what a tool writes is measured.
const MEASURE: Duration = Duration::from_millis(200);
/// Directories within directories to look into.
const MAX_DEPTH: usize = 32;

/// The program of a tool, and what it opens.
fn program(tool: Tool) -> (&'static str, &'static str) {
    match tool {
        Tool::Innoextract => ("innoextract", "an Inno Setup installer"),
        Tool::Upx => ("upx", "a program packed with UPX"),
        Tool::Cabextract => ("cabextract", "a cabinet file of LZX or Quantum"),
    }
}

/// Opens `bytes` with a tool found in `search`; gives its files, of at most `limit` bytes together.
///
/// # Errors
/// A sentence for the user.
pub(super) fn open(
    tool: Tool,
    bytes: &[u8],
    limit: usize,
    search: &std::ffi::OsStr,
) -> Result<Opened, String> {
    let (name, what) = program(tool);
    let missing = |missing: &str| {
        format!("it is {what}, which takes the program `{missing}` to open; install it and search again")
    };
    let path = find(name, search).ok_or_else(|| missing(name))?;
    let prlimit = find("prlimit", search).ok_or_else(|| missing("prlimit"))?;
    let failed = |error: std::io::Error| format!("it is {what}, but `{name}` cannot be run on it: {error}");
    let folder = tempfile::tempdir().map_err(failed)?;
    let input = folder.path().join("input.exe");
    let output = folder.path().join("output");
    fs::write(&input, bytes).map_err(failed)?;
    fs::create_dir(&output).map_err(failed)?;
    let mut command = programs::command(&prlimit);
    command.args([
        format!("--as={MEMORY}"),
        format!("--cpu={PROCESSOR}"),
        format!("--fsize={limit}"),
        "--core=0".into(),
    ]);
    command.arg("--").arg(path);
    match tool {
        Tool::Innoextract => command.arg("--silent").arg("--output-dir").arg(&output).arg("--").arg(&input),
        Tool::Cabextract => command.arg("-q").arg("-d").arg(&output).arg("--").arg(&input),
        Tool::Upx => command.arg("-q").arg("-d").arg("-o").arg(output.join("unpacked")).arg("--").arg(&input),
    };
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let trouble = run(command, &output, limit).map_err(failed)?;
    let mut files = Vec::new();
    collect(&output, &output, limit, MAX_DEPTH, &mut files)?;
    match (files.is_empty(), trouble) {
        (true, trouble) => {
            let how = trouble.unwrap_or_else(|| "it wrote no file".into());
            Err(format!("it is {what}, but `{name}` could not open it ({how})"))
        }
        (false, trouble) => {
            let note = trouble.map(|how| format!("`{name}` may not have unpacked all of it ({how})"));
            Ok(Opened { files, note })
        }
    }
}

/// Runs a command to its end, but lets it write no more than `limit` bytes below `output`; how it ended, in words,
/// unless with success.
fn run(mut command: Command, output: &Path, limit: usize) -> std::io::Result<Option<String>> {
    let mut child = command.spawn()?;
    let start = Instant::now();
    let mut measured = start;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| status.to_string()));
        }
        let mut reason = None;
        if start.elapsed() > PATIENCE {
            reason = Some(format!("ended after {} seconds", PATIENCE.as_secs()));
        } else if measured.elapsed() > MEASURE {
            measured = Instant::now();
            if size_below(output, MAX_DEPTH) > limit as u64 {
                reason = Some(format!("ended because it wrote more than {limit} bytes"));
            }
        }
        if reason.is_some() {
            child.kill()?;
            child.wait()?;
            return Ok(reason);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many bytes the files below a directory have; those that cannot be asked count nothing.
fn size_below(folder: &Path, depth: usize) -> u64 {
    let (Some(depth), Ok(entries)) = (depth.checked_sub(1), fs::read_dir(folder)) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_below(&entry.path(), depth),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

/// Reads the regular files below a directory. Links lead elsewhere and are left alone.
fn collect(
    root: &Path,
    folder: &Path,
    limit: usize,
    depth: usize,
    files: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("what came out of it cannot be read: {error}");
    let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            collect(root, &entry.path(), limit, depth, files)?;
        } else if kind.is_file() {
            use std::io::Read;
            let taken: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
            let left = u64::try_from(limit.saturating_sub(taken)).unwrap_or(u64::MAX);
            let file = fs::File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(entry.path());
            let mut bytes = Vec::new();
            file.and_then(|file| file.take(left.saturating_add(1)).read_to_end(&mut bytes))
                .map_err(failed)?;
            if u64::try_from(bytes.len()).is_ok_and(|size| size > left) {
                return Err(format!("more than {limit} bytes come out of it"));
            }
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            files.push((name, bytes));
        }
    }
    Ok(())
}
