//! What a measurement writes: the report as JSON, and its plot.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use statistics::{Plot, Report};

use crate::cli::BenchArgs;
use crate::outcome::{Failure, OverwriteError};
use crate::output::{Identity, Output};
use crate::plan::MachinePlan;

/// The files, open before anything is measured.
pub(super) struct Files {
    json: Option<Output>,
    plot: Option<Output>,
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |source| Failure::Write { path, source }
}

impl Files {
    /// Opens them. What they have is kept until there is something to be written.
    ///
    /// # Errors
    /// One cannot be opened, or they are the same.
    pub(super) fn open(args: &BenchArgs) -> Result<Self, Failure> {
        if let (Some(json), Some(plot)) = (&args.json, &args.plot)
            && json == plot
        {
            let what = format!("--plot {}", plot.display());
            return Err(OverwriteError { what, other: "the report of --json".into() }.into());
        }
        let open = |path: &Option<PathBuf>| {
            path.as_deref().map(|path| Output::open(path).map_err(cannot_write(path))).transpose()
        };
        Ok(Self { json: open(&args.json)?, plot: open(&args.plot)? })
    }

    /// That they overwrite neither a file that the machine is made from nor the report that is compared with.
    ///
    /// # Errors
    /// They do.
    pub(super) fn check(&self, plan: &MachinePlan, baseline: Option<&Path>) -> Result<(), Failure> {
        let mut others = plan.files();
        others.push(("the configuration".to_owned(), plan.origin.file()));
        others.extend(baseline.map(|path| ("the report of --baseline".to_owned(), path)));
        for (option, output) in [("--json", &self.json), ("--plot", &self.plot)] {
            let Some(output) = output else { continue };
            let same = |path: &Path| output.identity().is_some() && Identity::at(path) == output.identity();
            if let Some((other, _)) = others.iter().find(|(_, path)| same(path)) {
                let what = format!("{option} {}", output.path().display());
                return Err(OverwriteError { what, other: other.clone() }.into());
            }
        }
        Ok(())
    }

    /// Writes them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn write(self, report: &Report, baseline: Option<&Report>) -> Result<(), Failure> {
        if let Some(output) = self.json {
            put(output, report.to_json().as_bytes())?;
        }
        if let Some(output) = self.plot {
            let path = output.path().to_owned();
            let drawn = draw(report, baseline, &path).map_err(cannot_write(&path))?;
            put(output, &drawn)?;
        }
        Ok(())
    }
}

fn put(output: Output, bytes: &[u8]) -> Result<(), Failure> {
    let path = output.path().to_owned();
    let written = output.begin().and_then(|mut file| file.write_all(bytes));
    written.map_err(cannot_write(&path))
}

/// The plot in the format that the file's name asks for.
fn draw(report: &Report, baseline: Option<&Report>, path: &Path) -> io::Result<Vec<u8>> {
    let mut plot = Plot::new(report);
    if let Some(baseline) = baseline {
        plot = plot.beside(baseline);
    }
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
        Ok(plot.png()?)
    } else {
        Ok(plot.svg().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::testing::report;

    #[test]
    fn the_name_decides_what_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let report = report(2000.0, 1000.0, 10);
        for (name, begins) in
            [("a.svg", b"<svg xmlns".as_slice()), ("a.png", b"\x89PNG"), ("b.PNG", b"\x89PNG")]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, "something older, and longer than a file that is written anew").unwrap();
            let files = Files { json: None, plot: Some(Output::open(&path).unwrap()) };
            files.write(&report, Some(&report)).unwrap();
            let written = std::fs::read(&path).unwrap();
            assert!(written.starts_with(begins) && !written.ends_with(b"anew"), "{name}");
        }
        let json = folder.path().join("report.json");
        Files { json: Some(Output::open(&json).unwrap()), plot: None }.write(&report, None).unwrap();
        assert_eq!(Report::from_json(&std::fs::read_to_string(json).unwrap()).unwrap(), report);
    }
}
