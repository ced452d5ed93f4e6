//! The report as JSON, with the name and version of its format, and the reading of files that others may have written.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Report;

/// The name of the format.
const FORMAT: &str = "optimus-vmm bench";
/// Its version: raised when a reader of the one before would misunderstand it. More fields are no reason.
const VERSION: u32 = 1;
/// The greatest file that is worth reading, in bytes: a report has some hundred thousand at most.
pub const MOST_BYTES: u64 = 16 << 20;
/// Most measures, missing ones, counters or lines of advice, each.
const MOST_ENTRIES: usize = 1000;
/// Most rounds of a measure: comparing goes over all pairs of them.
const MOST_ROUNDS: usize = 1000;
/// Most bytes of a text.
const MOST_TEXT: usize = 2000;

/// Why a file is no report that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is larger than any report.
    #[error("it has more than {} MiB; a report of `optimus-vmm bench --json` is far smaller", MOST_BYTES >> 20)]
    TooLarge,
    /// It is no JSON, or none of the format's.
    #[error("it is not a report of `optimus-vmm bench --json`: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is JSON of something else.
    #[error("it is not a report of `optimus-vmm bench --json`, which begins with \"format\": \"{FORMAT}\"")]
    OtherFormat,
    /// A later version has written it.
    #[error(
        "it has version {0} of the format, and this optimus-vmm reads version {VERSION}: compare with the program that wrote it, or measure \
         again with this one"
    )]
    Newer(u32),
    /// A value is none that a report can have.
    #[error("it is damaged, or was changed by hand: {0}")]
    Invalid(String),
}

/// The first things in a file.
#[derive(Serialize, Deserialize)]
struct Header {
    format: Option<String>,
    version: Option<u32>,
}

/// A file. The header's fields come first.
#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    header: Header,
    #[serde(flatten)]
    report: &'a Report,
}

impl Report {
    /// The report as a file: JSON in one line for each measure, ending with a newline.
    pub fn to_json(&self) -> String {
        let header = Header { format: Some(FORMAT.into()), version: Some(VERSION) };
        // Nothing in it can fail: all keys are texts.
        let text = serde_json::to_string(&File { header, report: self }).unwrap_or_default();
        // Lines that a person, and a program that compares lines, can find their way in.
        let text = text.replace("{\"id\":", "\n  {\"id\":").replace(",\"counters\":", ",\n\"counters\":");
        let text = text.replace(",\"missing\":", ",\n\"missing\":").replace(",\"advice\":", ",\n\"advice\":");
        text + "\n"
    }

    /// Reads what [`Report::to_json`] wrote, in this version or one before.
    ///
    /// # Errors
    /// If it is something else, of a later version, or has values that no report has: texts that would steer a terminal, times that are no
    /// times, names that come twice.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        if text.len() as u64 > MOST_BYTES {
            return Err(ReadError::TooLarge);
        }
        let header: Header = serde_json::from_str(text)?;
        match (header.format.as_deref(), header.version) {
            (Some(FORMAT), Some(version)) if version > VERSION => return Err(ReadError::Newer(version)),
            (Some(FORMAT), Some(1..)) => {}
            _ => return Err(ReadError::OtherFormat),
        }
        let report: Self = serde_json::from_str(text)?;
        report.check().map_err(ReadError::Invalid)?;
        Ok(report)
    }

    fn check(&self) -> Result<(), String> {
        let counts = [self.measures.len(), self.missing.len(), self.counters.len(), self.advice.len()];
        if counts.into_iter().any(|count| count > MOST_ENTRIES) {
            return Err(format!("it has more than {MOST_ENTRIES} entries of a kind"));
        }
        if let Some(long) = self.measures.iter().find(|measure| measure.rounds.len() > MOST_ROUNDS) {
            return Err(format!("'{}' has more than {MOST_ROUNDS} rounds", shortened(&long.id)));
        }
        if !self.duration.is_finite() || self.duration < 0.0 {
            return Err("its duration is no time".into());
        }
        let measures = self.measures.iter().map(|measure| (&measure.id, &measure.title));
        let missing = self.missing.iter().map(|missing| (&missing.id, &missing.title));
        let counters = self.counters.iter().map(|counter| (&counter.id, &counter.title));
        unique(measures.clone().chain(missing.clone()).map(|(id, _)| id))?;
        unique(counters.clone().map(|(id, _)| id))?;
        let host = self.host.texts().into_iter().filter_map(|(_, text)| text.as_ref());
        let texts = measures
            .chain(missing)
            .chain(counters)
            .flat_map(|(id, title)| [id, title])
            .chain(self.measures.iter().filter_map(|measure| measure.note.as_ref()))
            .chain(self.missing.iter().map(|missing| &missing.why))
            .chain(self.counters.iter().map(|counter| &counter.unit))
            .chain(self.advice.iter().map(|advice| &advice.text))
            .chain(self.machine.device.as_ref())
            .chain([&self.program])
            .chain(host);
        texts.into_iter().try_for_each(|text| check_text(text))
    }
}

fn unique<'a>(ids: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for id in ids {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if id.is_empty() || !id.bytes().all(plain) {
            return Err(format!("'{}' is no name of a measure or counter", shortened(id)));
        }
        if !seen.insert(id) {
            return Err(format!("'{}' is in it twice", shortened(id)));
        }
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), String> {
    // Control characters, and those that turn the direction of a line.
    let steers = |one: char| {
        one.is_control()
            || matches!(one, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.len() > MOST_TEXT || text.contains(steers) {
        return Err(format!(
            "'{}' is longer than a text in it is, or has control characters",
            shortened(text)
        ));
    }
    Ok(())
}

/// Enough of a text to know it by, without what would steer a terminal.
fn shortened(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::report;

    const TIMES: [f64; 3] = [1000.0, 1010.5, 990.0];

    fn changed(change: impl Fn(&mut serde_json::Value)) -> Result<Report, ReadError> {
        let mut value: serde_json::Value = serde_json::from_str(&report(&TIMES).to_json()).unwrap();
        change(&mut value);
        Report::from_json(&value.to_string())
    }

    #[test]
    fn written_and_read() {
        let text = report(&TIMES).to_json();
        assert!(text.starts_with("{\"format\":\"optimus-vmm bench\",\"version\":1,"), "{text}");
        assert!(text.ends_with("\n") && text.lines().count() > 5, "{text}");
        assert_eq!(Report::from_json(&text).unwrap(), report(&TIMES));
        // For readers of the file, and not read.
        assert!(text.contains("\"summary\":{\"min\":990.0,"), "{text}");
        assert!(changed(|value| value["measures"][0]["summary"] = serde_json::json!(5)).is_ok());
    }

    #[test]
    fn what_later_programs_may_add() {
        let read = changed(|value| {
            value["new"] = serde_json::json!({ "a": 1 });
            value["host"]["new"] = serde_json::json!(1);
            value["measures"][0]["new"] = serde_json::json!([]);
        });
        assert_eq!(read.unwrap(), report(&TIMES));
    }

    #[test]
    fn what_is_no_report() {
        for text in ["", "{", "[]", "null", "7", "\u{1b}[2J"] {
            assert!(matches!(Report::from_json(text), Err(ReadError::Syntax(_))), "{text}");
        }
        let other = |text: &str| matches!(Report::from_json(text), Err(ReadError::OtherFormat));
        assert!(other("{}") && other("{\"format\":\"fio\",\"version\":1}"));
        assert!(other("{\"format\":\"optimus-vmm bench\"}"));
        assert!(other("{\"format\":\"optimus-vmm bench\",\"version\":0}"));
        let newer = changed(|value| value["version"] = 2.into());
        assert!(matches!(newer, Err(ReadError::Newer(2))), "{newer:?}");
        let large = " ".repeat(usize::try_from(MOST_BYTES).unwrap() + 1);
        assert!(matches!(Report::from_json(&large), Err(ReadError::TooLarge)));
    }

    #[test]
    fn values_that_no_report_has() {
        use serde_json::{Value, json};
        let changes: [(&str, Value); 19] = [
            ("/program", json!("a\u{1b}[2J")),
            ("/program", json!("a\u{202e}b")),
            ("/program", json!("a".repeat(2001))),
            ("/duration", json!(-1.0)),
            ("/unix_seconds", json!(-1)),
            ("/host/kernel", json!("\n")),
            ("/machine/vcpus", json!(1.5)),
            ("/measures/0/id", json!("Exit")),
            ("/measures/0/id", json!("")),
            ("/measures/0/title", json!("\u{7}")),
            ("/measures/0/owner", json!("nobody")),
            ("/measures/0/rounds", json!([-1.0])),
            ("/measures/0/rounds", json!([null])),
            ("/measures/0/range", json!(null)),
            ("/measures/0/range", json!([2.0, 1.0])),
            ("/measures/0/histogram", json!([[5.0, u64::MAX], [6.0, 1]])),
            ("/measures/0/histogram", json!([])),
            ("/missing/0/id", json!("exit.cpuid")),
            ("/advice/0/kind", json!("order")),
        ];
        for (place, wrong) in changes {
            let read = changed(|value| *value.pointer_mut(place).unwrap() = wrong.clone());
            let error = read.expect_err(place).to_string();
            assert!(!error.contains(['\u{1b}', '\u{7}', '\n', '\u{202e}']), "{place}: {error:?}");
        }
        let many =
            changed(|value| value["advice"] = vec![value["advice"][0].clone(); MOST_ENTRIES + 1].into());
        assert!(matches!(many, Err(ReadError::Invalid(_))));
        let rounds = |count| changed(move |value| value["measures"][0]["rounds"] = vec![5.0; count].into());
        assert!(rounds(MOST_ROUNDS).is_ok());
        assert!(matches!(rounds(MOST_ROUNDS + 1), Err(ReadError::Invalid(why)) if why.contains("rounds")));
    }
}
