//! Laptops, with what their owners have published of them: descriptions in `laptops/NAME.host` and the reports on them in
//! `laptops/NAME.txt`. `UPDATE_GOLDEN=1 cargo test -p vmm --lib doctor` writes the reports anew, to be read before they are committed.

use std::fs;
use std::path::{Path, PathBuf};

use super::fixture::Fixture;
use crate::doctor::check::Severity;
use crate::doctor::report::Report;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor/tests/laptops")
}

/// Names and descriptions.
pub(crate) fn all() -> Vec<(String, String)> {
    let mut all: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "host"))
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn reports_are_as_they_were_read() {
    let laptops = all();
    assert!(laptops.len() >= 10, "{}", laptops.len());
    for (name, description) in laptops {
        let text = Fixture::new(&description).report().text();
        let path = folder().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            text, golden,
            "{name}: run UPDATE_GOLDEN=1 cargo test -p vmm --lib doctor, and read the difference"
        );
    }
}

fn report(name: &str) -> Report {
    let (_, description) = all().into_iter().find(|(other, _)| other == name).unwrap();
    Fixture::new(&description).report()
}

/// What each laptop teaches, so that nobody takes it out of a report unseen.
#[test]
fn each_laptop_is_told_what_matters() {
    for (name, id, severity, words) in [
        (
            "legion-r720",
            "scheme",
            Severity::Ok,
            &["MUXless Optimus: 0000:01:00.0 (10de:1c8c, class 0302)"][..],
        ),
        ("legion-r720", "iommu", Severity::Blocks, &["there are no IOMMU groups"]),
        ("nitro-an515", "scheme", Severity::Note, &["with outputs, or MUXed"]),
        ("gf72-8re", "gpu-group", Severity::Ok, &["group 1: 0000:01:00.0, and the port 0000:00:01.0"]),
        ("gf72-8re", "gpu-functions", Severity::Ok, &["no audio function: laptops often"]),
        ("mx150-ultrabook", "gpu-group", Severity::Blocks, &["Wi-Fi", "0000:3c:00.0 (10ec:525a"]),
        ("strix-g814jz", "igpu", Severity::Note, &["offers no SR-IOV", "i915-sriov-dkms"]),
        ("strix-g814jz-mux", "igpu", Severity::Note, &["SR-IOV, up to 7", "no driver", "modprobe xe"]),
        ("strix-g814jz-mux", "screens", Severity::Warning, &["primary display"]),
        ("legion5-17ach6h", "igpu", Severity::Note, &["AMD's"]),
        ("legion5-17ach6h", "gpu-group", Severity::Ok, &["group 10: 0000:01:00.0 and 0000:01:00.1"]),
        ("legion-pro7-16arx8h", "gpu-memory", Severity::Note, &["BAR1 16G"]),
        ("legion-pro7-16arx8h", "subsystem", Severity::Ok, &["0000:01:00.1 reads zero, as is usual"]),
        ("legion5-1660ti", "gpu-functions", Severity::Ok, &[".2 10de:1aec (USB), .3 10de:1aed (USB-C)"]),
        ("blade15-2021", "igpu", Severity::Note, &["no GVT-g", "no SR-IOV"]),
        ("ideapad3-15itl6", "gpu-driver", Severity::Ok, &["vfio-pci has the GPU"]),
        ("satellite-a50", "igpu", Severity::Ok, &["i915-GVTg_V5_4"]),
        ("satellite-a50", "scheme", Severity::Blocks, &["no NVIDIA GPU"]),
    ] {
        let report = report(name);
        let hit = report.findings.iter().any(|finding| {
            let text =
                format!("{} {} {}", finding.found, finding.means, finding.fix.as_deref().unwrap_or_default());
            finding.id == id && finding.severity == severity && words.iter().all(|word| text.contains(word))
        });
        let of_id: Vec<_> = report.findings.iter().filter(|finding| finding.id == id).collect();
        assert!(hit, "{name} {id}: {of_id:#?}");
    }
}

/// The port above a GPU is never called a culprit.
#[test]
fn no_report_tells_to_unbind_a_port() {
    for (name, description) in all() {
        for finding in Fixture::new(&description).report().findings {
            let fix = finding.fix.unwrap_or_default();
            for port in
                ["0000:00:01.0/driver/unbind", "0000:00:1c.0/driver/unbind", "0000:00:01.1/driver/unbind"]
            {
                assert!(!fix.contains(port), "{name}: {fix}");
            }
        }
    }
}
