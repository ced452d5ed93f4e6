//! How the program is linked.
#![allow(clippy::print_stdout, reason = "Cargo reads what a build script prints")]

use std::env;
use std::process::Command;

/// The first glibc whose loader knows packed relocations (`NEWS` of 2.36, `DT_RELR`).
const KNOWS_PACKED: (u32, u32) = (2, 36);

/// The glibc that is installed here.
fn glibc() -> Option<(u32, u32)> {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let version = String::from_utf8(answer.stdout).ok()?;
    let (major, minor) = version.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Nearly all relocations of the program are relative: packed, they take 16 KiB to be read at each start in place of 600.
    // A linker that does not know the option ignores it.
    let at_home = env::var_os("TARGET") == env::var_os("HOST");
    if at_home && glibc().is_some_and(|version| version >= KNOWS_PACKED) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
