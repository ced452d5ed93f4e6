//! Completions for shells: what clap makes of the definitions, and the names of running machines, which are those of their sockets. Looking at
//! the folder takes no time, where asking each machine could, if it is stuck.

use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::ManualError;

const NAME: &str = "optimus-vmm";

/// The scripts for all shells, with the places where these look for them.
pub(super) fn all(command: &Command) -> Result<Vec<(PathBuf, Vec<u8>)>, ManualError> {
    Ok(vec![
        ("share/bash-completion/completions/optimus-vmm".into(), bash(command)?),
        ("share/zsh/site-functions/_optimus-vmm".into(), zsh(command)?),
        ("share/fish/vendor_completions.d/optimus-vmm.fish".into(), fish(command)),
    ])
}

fn generated(shell: Shell, command: &Command, name: &str) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn bash(command: &Command) -> Result<Vec<u8>, ManualError> {
    // Of a name with a hyphen the generator makes two that do not match each other (clap_complete 4.6.12): the function has one
    // without, and is installed for the real one here.
    let text = generated(Shell::Bash, command, "optimus_vmm");
    let end = text.find("\nif [[ \"${BASH_VERSINFO[0]}\" -eq 4 ").and_then(|end| text.get(..end));
    let function = end.ok_or(ManualError::NoPlace { shell: "bash", what: "the program's name" })?;
    Ok([function, include_str!("completions/machines.bash")].concat().into_bytes())
}

fn zsh(command: &Command) -> Result<Vec<u8>, ManualError> {
    let mut ctl = false;
    let mut explain = false;
    let mut text = String::new();
    for line in generated(Shell::Zsh, command, NAME).lines() {
        let argument =
            |beginning, end| Some(line.strip_suffix(end)?).filter(|line| line.starts_with(beginning));
        let line = if let Some(argument) = argument("'::machine -- ", ":_default' \\") {
            ctl = true;
            format!("{argument}:_optimus-vmm_machines' \\")
        } else if let Some(argument) = argument("':machine -- ", ":_files' \\") {
            explain = true;
            format!("{argument}:_optimus-vmm_machines_or_files' \\")
        } else {
            line.to_owned()
        };
        text.push_str(&line);
        text.push('\n');
        // Behind the line that makes it a completion.
        if line.starts_with("#compdef") {
            text.push_str(include_str!("completions/machines.zsh"));
        }
    }
    match ctl && explain {
        true => Ok(text.into_bytes()),
        false => Err(ManualError::NoPlace { shell: "zsh", what: "the names of machines" }),
    }
}

fn fish(command: &Command) -> Vec<u8> {
    (generated(Shell::Fish, command, NAME) + include_str!("completions/machines.fish")).into_bytes()
}
