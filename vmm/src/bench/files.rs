//! What a measurement writes: the report as JSON, and its plot.

use std::io::{self, Write};
use std::path::Path;

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
        Self::at(args.json.as_deref(), args.plot.as_deref())
    }

    fn at(json: Option<&Path>, plot: Option<&Path>) -> Result<Self, Failure> {
        let open = |path: &Path| Output::open(path).map_err(cannot_write(path));
        let json = json.map(open).transpose()?;
        // Before it is opened: that it is locked would say less.
        if let Some(path) = plot
            && let Some(report) = json.as_ref().and_then(Output::identity)
            && Identity::at(path) == Some(report)
        {
            let what = format!("--plot {}", path.display());
            return Err(OverwriteError { what, other: "the report of --json".into() }.into());
        }
        Ok(Self { json, plot: plot.map(open).transpose()? })
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

    /// Writes them, each whatever becomes of the other. What the kernel refuses.
    pub(super) fn write(self, report: &Report, baseline: Option<&Report>) -> Vec<Failure> {
        let json = self.json.map_or(Ok(()), |output| put(output, report.to_json().as_bytes()));
        let plot = self.plot.map_or(Ok(()), |output| {
            let path = output.path().to_owned();
            let drawn = draw(report, baseline, &path).map_err(cannot_write(&path))?;
            put(output, &drawn)
        });
        [json, plot].into_iter().filter_map(Result::err).collect()
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
            assert!(files.write(&report, Some(&report)).is_empty());
            let written = std::fs::read(&path).unwrap();
            assert!(written.starts_with(begins) && !written.ends_with(b"anew"), "{name}");
        }
        let json = folder.path().join("report.json");
        let unwritten = Files { json: Some(Output::open(&json).unwrap()), plot: None }.write(&report, None);
        assert!(unwritten.is_empty(), "{unwritten:?}");
        assert_eq!(Report::from_json(&std::fs::read_to_string(json).unwrap()).unwrap(), report);
    }

    #[test]
    fn a_report_that_cannot_be_written_leaves_the_plot() {
        let folder = tempfile::tempdir().unwrap();
        let plot = folder.path().join("a.svg");
        let files = Files::at(Some(Path::new("/dev/full")), Some(&plot)).unwrap();
        let unwritten = files.write(&report(2000.0, 1000.0, 10), None);
        let [Failure::Write { path, .. }] = unwritten.as_slice() else { panic!("{unwritten:?}") };
        assert_eq!(path, Path::new("/dev/full"));
        assert!(std::fs::read_to_string(plot).unwrap().starts_with("<svg "));
    }

    #[test]
    fn one_file_of_two_names_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (json, plot) = (folder.path().join("a.svg"), folder.path().join("./b/../a.svg"));
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for plot in [&json, &plot] {
            let refused = Files::at(Some(&json), Some(plot)).err();
            assert!(matches!(refused, Some(Failure::Overwrite(_))), "{refused:?}");
        }
        assert!(Files::at(Some(&json), Some(&folder.path().join("b.svg"))).is_ok());
        // Both may go nowhere.
        assert!(Files::at(Some(Path::new("/dev/null")), Some(Path::new("/dev/null"))).is_ok());
    }
}
