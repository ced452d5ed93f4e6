//! ACPICA's interpreter `acpiexec`, and what it answers.
//!
//! It simulates PCI config space, memory and I/O ports as bytes that read as what was written, zero at first.

use std::fs;

use super::tools::run_with_input;

/// Makes the interpreter load these tables, the DSDT first, and evaluate all calls. Returns what it says about each.
pub(super) fn evaluate(tables: &[Vec<u8>], calls: &[String]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..tables.len()).map(|index| format!("{index}.aml")).collect();
    for (name, table) in names.iter().zip(tables) {
        fs::write(folder.path().join(name), table).unwrap();
    }
    let arguments: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut input: String = calls.iter().map(|call| format!("evaluate {call}\n")).collect();
    input.push_str("quit\n");
    let run = || run_with_input("acpiexec", folder.path(), &arguments, &input);
    // It delivers notifications in threads of their own, and on a busy machine ends before they have run. It says so.
    let undelivered = |output: &str| output.contains("[State-Notify]");
    let ended = (0..20).map(|_| run()).find(|(_, output)| !undelivered(output));
    let (success, output) = ended.expect("acpiexec delivers its notifications in one of 20 runs");
    assert!(success, "{output}");
    for complaint in ["Error", "Warning", "failed"] {
        assert!(!output.contains(complaint), "{complaint}: {output}");
    }
    let answers: Vec<String> = output.split("\nEvaluating ").skip(1).map(str::to_owned).collect();
    assert_eq!(answers.len(), calls.len(), "{output}");
    answers
}

/// The integers in an answer.
pub(super) fn integers(answer: &str) -> Vec<u64> {
    let lines = answer.lines().filter_map(|line| line.trim().strip_prefix("[Integer] = "));
    lines.map(|number| u64::from_str_radix(number.trim(), 16).unwrap()).collect()
}

/// The bytes of the buffer in an answer.
pub(super) fn buffer(answer: &str) -> Vec<u8> {
    let dump = answer.split_once("[Buffer]").map_or("", |(_, dump)| dump);
    let rows = dump.lines().filter_map(|line| line.split_once("0: ").map(|(_, row)| row));
    let bytes = rows.flat_map(|row| row.split("//").next().unwrap().split_whitespace());
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The strings in an answer.
pub(super) fn strings(answer: &str) -> Vec<&str> {
    let lines = answer.lines().filter_map(|line| line.trim().strip_prefix("[String] "));
    lines.map(|line| line.split_once('"').unwrap().1.trim_end_matches('"')).collect()
}
