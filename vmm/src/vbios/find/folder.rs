//! `vbios find` over all files of a folder, with a table at the end.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use firmware::unpack::{Limits, Survey};

use super::{ELSEWHERE, NONE, World, Writer, conclude, search};
use crate::cli::FindArgs;
use crate::outcome::status;
use crate::vbios::{Answer, CommandError};

/// Folders in folders to look into.
const MAX_DEPTH: usize = 32;
/// Files to search, at most.
const MAX_FILES: usize = 10_000;
/// Characters of a file's name in the table, at most.
const MAX_NAME: usize = 60;

/// Searches file after file. Status 0 means that a ROM was found and that all of each file was looked at.
pub(super) fn find(
    args: &FindArgs,
    limits: &Limits,
    world: &mut World,
    writer: &mut Writer<'_>,
) -> Result<Answer, CommandError> {
    let mut files = Vec::new();
    list(&args.file, MAX_DEPTH, &mut files)?;
    // A place for the ROMs within the folder holds no input.
    let within = args.output.strip_prefix(&args.file).is_ok_and(|rest| !rest.as_os_str().is_empty());
    files.retain(|file| !within || !file.starts_with(&args.output));
    if files.is_empty() {
        return Err(CommandError::NoFile(args.file.clone()));
    }
    let mut text = String::new();
    let mut table = Vec::new();
    let mut status = status::SUCCESS;
    let mut any = false;
    for (index, file) in files.iter().enumerate() {
        world.enter(index + 1, files.len());
        let name = file.strip_prefix(&args.file).unwrap_or(file).display().to_string();
        let _ = writeln!(text, "{name}:");
        let row = match search(file, limits, world) {
            Ok(survey) => {
                let written = writer.write(&mut text, &survey)?;
                conclude(&mut text, &survey, false);
                any |= !survey.roms.is_empty();
                if let Some(failed) = written.failed {
                    status = status.max(failed);
                }
                if !survey.complete() {
                    status = status.max(status::CONFIG);
                }
                (roms(&written.ids), remark(&survey, written.failed.is_some()))
            }
            // One file that cannot be read does not keep the others from being searched.
            Err(failure) => {
                let _ = writeln!(text, "{failure}");
                status = status.max(status::CONFIG);
                ("-".to_owned(), "it cannot be read")
            }
        };
        text.push('\n');
        table.push((name, row));
    }
    write_table(&mut text, &table);
    if !any {
        status = status.max(status::CONFIG);
        let _ = write!(text, "{} Where else to look:\n{ELSEWHERE}", NONE.replace("in it", "in them"));
    }
    Ok(Answer { text, status })
}

/// The regular files below a folder, in the order of their names. Links lead elsewhere and are left alone.
fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CommandError> {
    let cannot = |source| CommandError::Folder { path: folder.into(), source };
    let depth = depth.checked_sub(1).ok_or_else(|| CommandError::TooDeep(folder.into()))?;
    let mut entries = fs::read_dir(folder).map_err(cannot)?.collect::<Result<Vec<_>, _>>().map_err(cannot)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(cannot)?;
        if kind.is_dir() {
            list(&entry.path(), depth, files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
        if files.len() > MAX_FILES {
            return Err(CommandError::TooManyFiles { path: folder.into(), limit: MAX_FILES });
        }
    }
    Ok(())
}

fn roms(ids: &[String]) -> String {
    match ids {
        [] => "none".into(),
        ids => ids.join(" "),
    }
}

/// What the table says beside the ROMs.
fn remark(survey: &Survey, not_written: bool) -> &'static str {
    match (not_written, survey.complete(), survey.damaged.is_empty()) {
        (true, ..) => "not all could be written",
        (_, false, _) => "not all of it was looked at",
        (_, _, false) => "damaged ones too",
        _ => "",
    }
}

fn write_table(text: &mut String, rows: &[(String, (String, &str))]) {
    let short = |name: &str| match name.chars().count() {
        0..=MAX_NAME => name.to_owned(),
        // The end tells files apart.
        count => format!("…{}", name.chars().skip(count - MAX_NAME + 1).collect::<String>()),
    };
    let rows: Vec<_> = rows.iter().map(|(name, (roms, remark))| (short(name), roms, remark)).collect();
    let width = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or(0);
    let names = width(&mut rows.iter().map(|(name, ..)| name.chars().count())).max("FILE".len());
    let ids = width(&mut rows.iter().map(|(_, roms, _)| roms.len())).clamp("ROMS".len(), 40);
    let _ = writeln!(text, "{:names$}  {:ids$}", "FILE", "ROMS");
    for (name, roms, remark) in rows {
        let line = format!("{name:names$}  {roms:ids$}  {remark}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
