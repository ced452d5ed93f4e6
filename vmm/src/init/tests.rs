//! Files for hosts made of files: those of the doctor's laptops, and hosts with one thing otherwise.

mod files;
mod laptops;
mod talk;

use std::path::Path;

use clap::Parser;

use crate::cli::{Cli, Command, InitArgs};
use crate::doctor::tests::fixture::Fixture;
use crate::doctor::{Host, Survey};

/// The arguments of a command line.
fn args(words: &[&str]) -> InitArgs {
    let words = ["optimus-vmm", "init"].into_iter().chain(words.iter().copied());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Init(args) => *args,
        other => panic!("{other:?}"),
    }
}

/// What is known of a host that is described.
fn survey(description: &str) -> Survey {
    of_root(Fixture::new(description).root(), &args(&[]))
}

fn of_root(root: &Path, args: &InitArgs) -> Survey {
    let dgpu = match args.gpu {
        Some(crate::cli::GpuChoice::At(address)) => Some(address),
        _ => None,
    };
    Host::of_files(root, dgpu).survey()
}
