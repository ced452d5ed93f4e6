//! An earlier report beside this one: what has become slower.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

use firmware::input::{self, InputError};
use statistics::{MOST_BYTES, ReadError, Report, Row, Verdict, compare, time};

use crate::wrapping::wrap;

/// Why a report cannot be compared with.
#[derive(Debug, thiserror::Error)]
#[error("cannot compare with {}: {why}", path.display())]
pub struct BaselineError {
    path: PathBuf,
    #[source]
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    File(#[from] InputError),
    #[error("it is no text: {0}")]
    Text(#[from] Utf8Error),
    #[error(transparent)]
    Report(#[from] ReadError),
}

/// Reads a report that `--json` wrote.
///
/// # Errors
/// The file cannot be read, or is no report.
pub(super) fn read(path: &Path) -> Result<Report, BaselineError> {
    let report = || {
        let bytes = input::read(path, MOST_BYTES)?;
        Ok(Report::from_json(str::from_utf8(&bytes)?)?)
    };
    report().map_err(|why| BaselineError { path: path.into(), why })
}

/// The comparison for a terminal. `name` is the file's.
pub(super) fn text(now: &Report, before: &Report, name: &Path) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, now, before, name);
    out
}

fn write(out: &mut String, now: &Report, before: &Report, name: &Path) -> std::fmt::Result {
    writeln!(out, "\nBeside {}, of {}, {}:", name.display(), before.program, age(now, before))?;
    for difference in differences(now, before) {
        out.push_str("  ");
        wrap(out, 4, &format!("not the same: {difference}"));
    }
    let rows = compare(now, before);
    if rows.is_empty() {
        return writeln!(out, "  nothing was measured in both");
    }
    let width = rows.iter().map(|row| row.title.chars().count()).max().unwrap_or_default();
    writeln!(out, "{:<width$} {:>9} {:>9} {:>7}  but for chance", "", "before", "now", "ratio")?;
    for row in &rows {
        let change = &row.change;
        let ratio = change.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
        let interval = change.interval;
        let interval =
            interval.map_or_else(|| "-".into(), |both| format!("{:.3} to {:.3}", both.low, both.high));
        writeln!(
            out,
            "{:<width$} {:>9} {:>9} {ratio:>7}  {interval:<18} {}",
            row.title,
            time(row.before.median),
            time(row.now.median),
            change.word()
        )?;
    }
    for (only, other, when) in [(now, before, "now"), (before, now, "before")] {
        let titles = only.measures.iter().filter(|measure| other.measure(&measure.id).is_none());
        let titles: Vec<_> = titles.map(|measure| measure.title.as_str()).collect();
        if !titles.is_empty() {
            wrap(out, 2, &format!("Measured only {when}: {}", titles.join(", ")));
        }
    }
    wrap(out, 2, &conclusion(&rows));
    Ok(())
}

/// What all rows come to.
fn conclusion(rows: &[Row]) -> String {
    let titles = |word: &str| {
        let titles: Vec<_> =
            rows.iter().filter(|row| row.change.word() == word).map(|row| row.title.as_str()).collect();
        (!titles.is_empty()).then(|| titles.join(", "))
    };
    let mut text = match titles("slower") {
        Some(slower) => format!("Slower: {slower}."),
        None => "Nothing is slower for certain.".to_owned(),
    };
    if let Some(faster) = titles("faster") {
        let _ = write!(text, " Faster: {faster}.");
    }
    let undecided: Vec<_> = rows.iter().filter(|row| row.change.verdict == Verdict::Undecided).collect();
    let mut reasons: Vec<&str> = undecided.iter().filter_map(|row| row.change.reason()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    if !reasons.is_empty() {
        let _ = write!(text, " Undecided are {} of {}: {}.", undecided.len(), rows.len(), reasons.join("; "));
    }
    text
}

/// What differs of hosts and machines, as far as both are known.
fn differences(now: &Report, before: &Report) -> Vec<String> {
    let mut all = now.host.differences(&before.host);
    let (machine, old) = (&now.machine, &before.machine);
    if machine.memory_mib != old.memory_mib {
        all.push(format!("memory: {} MiB, before {} MiB", machine.memory_mib, old.memory_mib));
    }
    if machine.vcpus != old.vcpus {
        all.push(format!("vCPUs: {}, before {}", machine.vcpus, old.vcpus));
    }
    if machine.device != old.device {
        let name = |device: &Option<String>| device.clone().unwrap_or_else(|| "none".into());
        all.push(format!("device: {}, before {}", name(&machine.device), name(&old.device)));
    }
    all
}

/// How much earlier the other report was made.
fn age(now: &Report, before: &Report) -> String {
    let Some(seconds) = now.unix_seconds.checked_sub(before.unix_seconds) else {
        return "made later than now, by this clock".into();
    };
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::testing::report;

    fn beside(now: &Report, before: &Report) -> String {
        text(now, before, Path::new("before.json"))
    }

    #[test]
    fn a_run_beside_itself() {
        let report = report(2000.0, 1000.0, 10);
        let expected = "
Beside before.json, of optimus-vmm 0.1.0, 0 seconds ago:
              before       now   ratio  but for chance
port read    2.01 µs   2.01 µs   1.000  0.996 to 1.004     no slower
empty exit   1.01 µs   1.01 µs   1.000  0.996 to 1.004     no slower
Nothing is slower for certain.
";
        assert_eq!(beside(&report, &report), expected);
    }

    #[test]
    fn a_delay_of_50_microseconds_is_seen() {
        let (before, mut now) = (report(2000.0, 1000.0, 10), report(52_000.0, 1000.0, 10));
        now.unix_seconds += 86_400 * 3;
        now.host.governor = Some("powersave".into());
        now.machine.vcpus = 2;
        let text = beside(&now, &before);
        assert!(text.contains("of optimus-vmm 0.1.0, 3 days ago:"), "{text}");
        assert!(text.contains("not the same: governor: powersave, before performance\n"), "{text}");
        assert!(text.contains("not the same: vCPUs: 2, before 1\n"), "{text}");
        assert!(
            text.contains("   52.3 µs  26.000  25.897 to 26.103   slower\n")
                && text.ends_with("Slower: port read.\n"),
            "{text}"
        );
        assert!(beside(&before, &now).contains("made later than now"));
        assert!(beside(&before, &now).contains(" Faster: port read."));
    }

    #[test]
    fn what_cannot_be_said_is_told() {
        let text = beside(&report(5000.0, 1000.0, 2), &report(2000.0, 1000.0, 2));
        assert!(text.contains("Undecided are 2 of 2: too few rounds, as of what a run does once."), "{text}");
        let mut other = report(2000.0, 1000.0, 10);
        other.measures.retain(|measure| measure.id != "exit.port");
        let text = beside(&report(2000.0, 1000.0, 10), &other);
        assert!(text.contains("Measured only now: port read\n"), "{text}");
        other.measures.clear();
        assert!(beside(&report(2000.0, 1000.0, 10), &other).contains("nothing was measured in both"));
    }

    #[test]
    fn files_that_are_no_reports() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("before.json");
        let error = |contents: &[u8]| {
            std::fs::write(&file, contents).unwrap();
            read(&file).unwrap_err().to_string()
        };
        for (contents, said) in [
            (b"{}".as_slice(), "it is not a report"),
            (b"{\"format\":\"optimus-vmm bench\",\"version\":7}", "version 7"),
            (b"\xff\xfe", "it is no text"),
        ] {
            let error = error(contents);
            assert!(error.starts_with("cannot compare with /") && error.contains(said), "{error}");
        }
        assert!(read(folder.path()).unwrap_err().to_string().contains("a directory"));
        assert!(read(&folder.path().join("none")).is_err());
        std::fs::write(&file, report(2000.0, 1000.0, 10).to_json()).unwrap();
        assert_eq!(read(&file).unwrap(), report(2000.0, 1000.0, 10));
    }
}
