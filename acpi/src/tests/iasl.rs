//! Every table through `iasl`: disassembled, compiled again without a complaint, and the same bytes as before.

use std::fs;

use super::samples;
use super::simulator::sum;
use super::tools::run;
use crate::*;

/// The compiler writes its own name and checksum: bytes 9 and 28 to 35.
fn without_compiler(mut table: Vec<u8>) -> Vec<u8> {
    table[9] = 0;
    table[28..36].fill(0);
    table
}

#[test]
fn tables_survive_a_round_trip() {
    for (which, platform) in samples::all() {
        for Table { signature, mut bytes } in build(&platform).unwrap().individual() {
            if &bytes[16..24] == b"OPTVROM " {
                // The firmware's address, without which the compiler would shorten the number.
                let field = bytes.len() - 4;
                bytes[field..].copy_from_slice(&0x7E00_0000u32.to_le_bytes());
                bytes[9] = bytes[9].wrapping_sub(sum(&bytes));
            }
            let name = String::from_utf8(signature.to_vec()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let file = |suffix: &str| format!("{name}.{suffix}");
            fs::write(folder.path().join(file("dat")), &bytes).unwrap();

            let (success, output) = run("iasl", folder.path(), &["-d", &file("dat")]);
            assert!(success && !output.contains("Warning"), "{which}: {name} as a source:\n{output}");
            // Optimizations would change the encoding of names. Remark 2173 advises against regions inside of
            // methods, for their speed; `_ROM` needs one, see `crate::vrom`.
            let arguments = ["-oa", "-vw", "2173", "-p", "again", &file("dsl")];
            let (success, output) = run("iasl", folder.path(), &arguments);
            let clean = output.contains("0 Errors, 0 Warnings, 0 Remarks");
            assert!(success && clean, "{which}: {name} compiled again:\n{output}");

            let again = fs::read(folder.path().join("again.aml")).unwrap();
            assert_eq!(without_compiler(again), without_compiler(bytes), "{which}: {name}");
        }
    }
}
