//! What messages and documentation say of keys and sections exists: advice that the strict check of the file refuses is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::{Captures, Regex};

use super::reference::sections;
use super::repository;
use crate::config::schema;

/// What is looked for, and what there is.
struct Known {
    /// The sections with their keys, as they are written: `[[disk]]`.
    sections: BTreeMap<String, Vec<String>>,
    /// `key = value`, `key` in [section], `key = value` to [section].
    keys: Regex,
    /// `[section] key`, and sections alone, but no links and no ranges of characters.
    headings: Regex,
}

impl Known {
    fn new() -> Self {
        let sections = sections(&serde_json::from_str(&schema()).unwrap());
        let keys =
            |section: super::reference::Section| section.keys.into_iter().map(|key| key.name).collect();
        Self {
            sections: sections.into_iter().map(|section| (section.heading.clone(), keys(section))).collect(),
            keys: Regex::new(
                r"`(?P<key>[a-z][a-z0-9_]*)(?P<value> = [^`]*)?`(?: (?:in|to|of) `?(?P<section>\[\[?[a-z_.]+\]\]?))?",
            )
            .unwrap(),
            headings: Regex::new(
                r"(?:^|[\s(`])(?P<section>\[\[?[a-z][a-z_.]+\]\]?)(?:`| (?P<key>[a-z_]+)`|[\s.,:;)]|$)",
            )
            .unwrap(),
        }
    }

    /// Whether there is the key, in that section if one is named.
    fn has(&self, section: Option<&str>, key: &str) -> bool {
        let mut sections =
            self.sections.iter().filter(|(heading, _)| section.is_none_or(|section| section == *heading));
        sections.any(|(_, keys)| keys.iter().any(|known| known == key))
    }

    /// What is wrong in a text.
    fn slips(&self, text: &str) -> Vec<String> {
        let mut slips = Vec::new();
        let said = |found: &Captures<'_>| found.get(0).unwrap().as_str().to_owned();
        for found in self.keys.captures_iter(text) {
            let section = found.name("section").map(|section| section.as_str());
            let is_key = found.name("value").is_some() || section.is_some();
            if is_key && !self.has(section, &found["key"]) {
                slips.push(said(&found));
            }
        }
        for found in self.headings.captures_iter(text) {
            let (section, key) = (&found["section"], found.name("key"));
            let exists = self.sections.contains_key(section);
            if !exists || key.is_some_and(|key| !self.has(Some(section), key.as_str())) {
                slips.push(said(&found));
            }
        }
        slips
    }
}

/// The string literals of some code, without those of comments and of tests within the file.
fn literals(code: &str) -> Vec<String> {
    let tests = Regex::new(r"(?ms)^#\[cfg\(test\)\]\nmod [a-z_]+ \{\n.*?^\}").unwrap();
    // In the order in which they hide each other: comments, strings of two kinds, characters.
    let tokens = Regex::new(
        r##"(?s)//[^\n]*|/\*.*?\*/|\br#"(?P<hashed>.*?)"#|\br"(?P<raw>[^"]*)"|"(?P<text>(?:[^"\\]|\\.)*)"|'(?:\\.[^']*|[^\\'])'"##,
    )
    .unwrap();
    let continued = Regex::new(r"\\\n\s*").unwrap();
    let code = tests.replace_all(code, "");
    let found = tokens.captures_iter(&code).filter_map(|token| {
        let raw = token.name("hashed").or(token.name("raw")).map(|raw| raw.as_str().to_owned());
        let text = || Some(continued.replace_all(token.name("text")?.as_str(), "").replace(r#"\""#, "\""));
        raw.or_else(text)
    });
    found.collect()
}

/// All files below a folder whose name ends so, without those of tests.
fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !matches!(name, "tests" | "testing" | "target" | "fuzz") {
            files(&path, end, found);
        } else if name.ends_with(end) && !name.ends_with("tests.rs") && name != "testing.rs" {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["vmm/src", "devices", "firmware", "acpi"] {
        files(&repository().join(folder), ".rs", &mut found);
    }
    assert!(found.len() > 300, "{}", found.len());
    found
}

#[test]
fn messages_name_keys_and_sections_that_exist() {
    let known = Known::new();
    let mut slips = Vec::new();
    let mut mentions = 0;
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let texts = literals(&text);
        mentions += texts.iter().filter(|text| text.contains("` in [") || text.contains(" = \"")).count();
        let wrong = texts.iter().flat_map(|text| known.slips(text));
        slips.extend(wrong.map(|slip| format!("{}: {slip}", path.display())));
    }
    assert!(slips.is_empty(), "there is no such key or section:\n{}", slips.join("\n"));
    assert!(mentions > 20, "only {mentions} were looked at");
}

#[test]
fn the_documentation_names_keys_and_sections_that_exist() {
    let known = Known::new();
    let mut paths = vec![repository().join("README.md"), repository().join("CHANGELOG.md")];
    files(&repository().join("docs"), ".md", &mut paths);
    files(&repository().join("examples"), ".toml", &mut paths);
    let mut slips = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        slips.extend(known.slips(&text).iter().map(|slip| format!("{}: {slip}", path.display())));
    }
    assert!(slips.is_empty(), "there is no such key or section:\n{}", slips.join("\n"));
}

/// `Section::Cpu.key("count")` and the like: a slip there would point at no line.
#[test]
fn findings_are_about_keys_that_exist() {
    let known = Known::new();
    let uses = Regex::new(
        r#"(?:Section::(?P<section>[A-Za-z]+)(?:\([^()]*(?:\([^()]*\))?[^()]*\))?)?\s*\.key\(\s*"(?P<key>[^"]*)"\s*\)"#,
    )
    .unwrap();
    let (mut all, mut of_section) = (0, 0);
    for path in sources().into_iter().filter(|path| path.starts_with(repository().join("vmm"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        for found in uses.captures_iter(&text) {
            let section = found.name("section").map(|section| heading(section.as_str()));
            all += 1;
            of_section += usize::from(section.is_some());
            // A key of a table within the section: `features.add`.
            let (section, key) = match (section, found["key"].rsplit_once('.')) {
                (Some(section), Some((table, key))) => {
                    (Some(format!("{}.{table}]", section.trim_end_matches(']'))), key)
                }
                (section, _) => (section, &found["key"]),
            };
            assert!(known.has(section.as_deref(), key), "{}: {}", path.display(), &found[0]);
        }
    }
    assert!(all > 40 && of_section > 25, "only {all} and {of_section} were looked at");
}

/// How a section is written whose variant is called so.
fn heading(variant: &str) -> String {
    let name = match variant {
        "AcpiTable" => "acpi.table".to_owned(),
        "RootPort" => "root_port".to_owned(),
        "FwCfg" => "fw_cfg".to_owned(),
        other => other.to_ascii_lowercase(),
    };
    match variant {
        "AcpiTable" | "RootPort" | "FwCfg" | "Disk" | "Vfio" => format!("[[{name}]]"),
        _ => format!("[{name}]"),
    }
}

#[test]
fn literals_are_found() {
    let code = r###"let a = "one\"two"; // "no"
        let b = ('"', '\'', b'\\', 'x': &'static str); /* "no" */ let c = r"\d"; let d = r#"a "b" c"#;
        let e = "long \
                 line";
#[cfg(test)]
mod tests {
    fn x() { "no"; }
}
fn y() { "last"; }"###;
    assert_eq!(literals(code), ["one\"two", r"\d", "a \"b\" c", "long line", "last"]);
}

#[test]
fn slips_are_found() {
    let known = Known::new();
    for (text, slip) in [
        ("then use `vfio_backed = \"iommufd\"`", "`vfio_backed = \"iommufd\"`"),
        ("(`kode` in [firmware])", "`kode` in [firmware]"),
        ("`functions = \"all\"` in [vfio]", "`functions = \"all\"` in [vfio]"),
        ("add `functions = \"all\"` to [[vfio]]", "`functions = \"all\"` to [[vfio]]"),
        ("lower [cpus] topology", " [cpus] "),
        ("add [root_port] entries", " [root_port] "),
        ("(`[display] vncs`)", "`[display] vncs`"),
    ] {
        assert!(known.slips(text).iter().any(|found| found == slip), "{text}: {:?}", known.slips(text));
    }
    for text in [
        "then use `vfio_backend = \"group\"`",
        "write `name = \"…\"` at the top of the file",
        "add [[root_port]] entries, `functions = \"all\"` in [dgpu]",
        "see [the page](page.md), `[display] vnc`, and `x[0]`, `intel_iommu=on`, [a-z]",
    ] {
        assert_eq!(known.slips(text), <[String; 0]>::default(), "{text}");
    }
}

/// The options that replace keys, from the code and from the documentation.
#[test]
fn the_documentation_has_every_option_that_replaces_a_key() {
    let options = Regex::new("`(--[a-z]+)`").unwrap();
    let all = |text: &str| {
        let mut found: Vec<_> = options.captures_iter(text).map(|found| found[1].to_owned()).collect();
        found.sort();
        found
    };
    let code = include_str!("../overrides.rs");
    let replacing: String = code.lines().filter(|line| line.contains(", by `--")).collect();
    let page = std::fs::read_to_string(repository().join("docs/vm-toml.md")).unwrap();
    let (_, rest) = page.split_once("Options of `optimus-vmm run` replace single keys:").unwrap();
    let (listed, _) = rest.split_once('.').unwrap();
    assert_eq!(all(listed), all(&replacing));
    assert!(replacing.len() > 100);
}
