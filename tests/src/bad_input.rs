//! Wrong configurations and wrong files, and what `optimus-vmm run` must say of each.
//!
//! A case writes files into an empty directory and names words that the message must have. Cases of
//! [`config`] are judged before anything of the host is touched, so they run anywhere; those of [`files`] need
//! `/dev/kvm` and OVMF, so they run in the lab. There is a module for each subject.

mod devices;
mod disks;
mod firmware;
mod machine;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::lab::Firmware;
use crate::{Outcome, binary, ensure};

/// A wrong input.
#[derive(Debug)]
pub struct Case {
    /// What is wrong.
    pub name: &'static str,
    /// The file vm.toml. `@VARS@`, `@CODE@` and `@OVMF@` stand for good files and their directory.
    pub toml: &'static str,
    /// Other files.
    pub files: &'static [(&'static str, Content)],
    /// What the message must say.
    pub words: &'static [&'static str],
}

/// What a file of a case has in it.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// This text.
    Text(&'static str),
    /// So many bytes of nothing.
    Zeros(u64),
    /// So many bytes that mean nothing.
    Noise(usize),
    /// A directory.
    Directory,
    /// The beginning of a good code image.
    HalfCode,
    /// An empty qcow2 image, made by qemu-img.
    Qcow2,
    /// The same, but with another file as its backing image.
    Qcow2WithBacking,
}

const fn case(
    name: &'static str,
    toml: &'static str,
    files: &'static [(&'static str, Content)],
    words: &'static [&'static str],
) -> Case {
    Case { name, toml, files, words }
}

/// Cases that need nothing of the host.
pub fn config() -> impl Iterator<Item = &'static Case> {
    [machine::CONFIG, firmware::CONFIG, disks::CONFIG, devices::CONFIG].into_iter().flatten()
}

/// Cases that are seen when files and devices are opened.
pub fn files() -> impl Iterator<Item = &'static Case> {
    [firmware::FILES, disks::FILES, devices::FILES].into_iter().flatten()
}

/// Runs a case; gives what is wrong with the answer.
pub fn check(case: &Case, statuses: &[i32]) -> Outcome {
    let directory = tempfile::Builder::new().prefix("optimus-bad-").tempdir()?;
    let directory = directory.path();
    for (name, content) in case.files {
        make(&directory.join(name), *content)?;
    }
    let usual = Firmware::USUAL;
    let lab = crate::lab::directory();
    // Where no firmware is installed, its absence would be found first. At the end it moves no line.
    let firmware =
        if case.toml.contains("FIRMWARE") || case.toml.contains("firmware") { "" } else { "\n@FIRMWARE@" };
    let toml = format!("{}{firmware}", case.toml)
        .replace("@FIRMWARE@", "[firmware]\ncode = \"@CODE@\"\nvars_template = \"@VARS@\"\n")
        .replace("@CODE@", &usual.code().display().to_string())
        .replace("@VARS@", &usual.vars().display().to_string())
        .replace("@OVMF@", &lab.join("ovmf").join(usual.release).display().to_string())
        .replace("@KERNEL@", &lab.join("guest/vmlinuz").display().to_string());
    let config = directory.join("vm.toml");
    std::fs::write(&config, &toml)?;

    let before = contents(directory)?;
    let output = Command::new(binary::path()?)
        .args(["run", "--headless", "--serial", "none", "--timeout", "20"])
        .arg(&config)
        .current_dir("/")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let explain =
        |what: &str| format!("{}: {what}\n--- vm.toml:\n{toml}\n--- standard error:\n{said}\n---", case.name);

    let status = output.status.code().unwrap_or(-1);
    ensure(statuses.contains(&status), explain(&format!("the exit status is {status}, not {statuses:?}")))?;
    for word in case.words {
        ensure(said.contains(word), explain(&format!("the message does not say '{word}'")))?;
    }
    // Warnings of the plan may come before.
    let whose =
        said.starts_with("optimus-vmm: ") || said.starts_with(" WARN ") && said.contains("\noptimus-vmm: ");
    ensure(whose, explain("the message does not say whose it is"))?;
    for ugly in ["panicked at", "Os {", "Some(", "Error {"] {
        ensure(!said.contains(ugly), explain(&format!("'{ugly}' is not for people")))?;
    }
    let after = contents(directory)?;
    let kept = before.iter().all(|file| after.contains(file));
    ensure(kept, explain("a file was changed"))
}

/// Names, sizes and modification times: what a refused run must leave as it was.
fn contents(directory: &Path) -> Outcome<Vec<(std::ffi::OsString, u64, std::time::SystemTime)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        all.push((entry.file_name(), metadata.len(), metadata.modified()?));
    }
    Ok(all)
}

fn make(path: &Path, content: Content) -> Outcome {
    let image = path.display().to_string();
    match content {
        Content::Text(text) => std::fs::write(path, text)?,
        Content::Zeros(size) => std::fs::File::create(path)?.set_len(size)?,
        Content::Noise(size) => {
            let mut state = 0x2545_f491_4f6c_dd1d_u64;
            let bytes = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            });
            std::fs::write(path, bytes.take(size).collect::<Vec<u8>>())?;
        }
        Content::Directory => std::fs::create_dir(path)?,
        Content::HalfCode => {
            let mut half = vec![0; 1 << 20];
            std::fs::File::open(Firmware::USUAL.code())?.read_exact_at(&mut half, 0)?;
            std::fs::write(path, half)?;
        }
        Content::Qcow2 => {
            crate::lab::call("qemu-img", &["create", "-q", "-f", "qcow2", &image, "16M"])?;
        }
        Content::Qcow2WithBacking => {
            let options =
                ["create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", &image, "16M"];
            crate::lab::call("qemu-img", &options)?;
        }
    }
    Ok(())
}
