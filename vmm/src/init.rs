//! `optimus-vmm init`: writes a commented vm.toml for this laptop, from what `doctor` reads of it, and makes the machine's disk.
//!
//! The host is read as a [`Survey`], options and answers make a [`Draft`](draft) of it, and its [`text`] is a pure function of that. What
//! suits a host is decided in [`choice`]. All that can be refused is refused, and all is asked, before a file is made; a file that exists is
//! not touched, but for a vm.toml with `--force`.

mod ask;
mod choice;
mod draft;
mod error;
mod files;
mod page;
mod summary;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, BufReader, IsTerminal};

use crate::cli::{GpuChoice, GuestOs, InitArgs};
use crate::config;
use crate::doctor::{Host, Survey};
use ask::Dialogue;
use draft::Draft;
use files::{Disk, make_disk, write_text};

pub use error::InitError;

/// Does what the command line says; what to print.
///
/// # Errors
/// An option or an answer is wrong, a file is in the way, nobody is there to ask, or the host cannot be read or written to.
pub fn run(args: &InitArgs) -> Result<String, InitError> {
    let asks = !args.yes;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(InitError::NobodyToAsk);
    }
    refuse_early(args)?;
    let dgpu = match args.gpu {
        Some(GpuChoice::At(address)) => Some(address),
        Some(GpuChoice::None) | None => None,
    };
    let host = Host::read(args.sysroot.as_deref(), dgpu, args.patience)?;
    let survey = host.survey();
    let (mut input, mut output) = (BufReader::new(io::stdin().lock()), io::stderr().lock());
    let person = asks.then_some(Dialogue { input: &mut input, output: &mut output });
    let draft = write(args, &survey, person)?;
    let in_the_way = host.in_the_way_of(&args.config)?;
    Ok(summary::text(&draft, &in_the_way))
}

/// Refuses what needs no look at the host.
fn refuse_early(args: &InitArgs) -> Result<(), InitError> {
    draft::name_of(&args.config)?;
    // A link that leads nowhere is in the way, too.
    if !args.force && args.config.symlink_metadata().is_ok() {
        return Err(InitError::Exists { path: args.config.clone() });
    }
    Ok(())
}

/// Decides, makes the disk, and writes the file.
fn write<'a>(
    args: &InitArgs,
    survey: &'a Survey,
    person: Option<Dialogue<'_>>,
) -> Result<Draft<'a>, InitError> {
    refuse_early(args)?;
    let draft = Draft::new(args, survey, person)?;
    let text = text::of(&draft);
    config::check_text(&text, &args.config).map_err(InitError::Unsound)?;
    if let Disk::New(path, format) = &draft.disk {
        make_disk(path, *format, draft.disk_size)?;
    }
    write_text(&args.config, &text, args.force)?;
    Ok(draft)
}

/// A system as options and files have it.
fn os_word(os: GuestOs) -> &'static str {
    match os {
        GuestOs::Windows => "windows",
        GuestOs::Linux => "linux",
        GuestOs::Other => "other",
    }
}
