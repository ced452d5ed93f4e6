//! Man pages: one for the program and one for each of its commands.

use std::io;
use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::ManualError;

/// The paragraph of a command's help that has a section of its own.
const EXIT_STATUS: &str = "Exit status:";

/// All pages, with their places.
pub(super) fn all(command: &Command) -> Result<Vec<(PathBuf, Vec<u8>)>, ManualError> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let source = command.render_version().trim().to_owned();
    let mut pages = Vec::new();
    collect(&command, None, &source, &mut pages)?;
    Ok(pages)
}

fn collect(
    command: &Command,
    parent: Option<&str>,
    source: &str,
    pages: &mut Vec<(PathBuf, Vec<u8>)>,
) -> Result<(), ManualError> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = PathBuf::from(format!("share/man/man1/{name}.1"));
    let text =
        page(command, parent, source).map_err(|source| ManualError::Write { path: path.clone(), source })?;
    pages.push((path, text));
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        collect(command, Some(name), source, pages)?;
    }
    Ok(())
}

fn page(command: &Command, parent: Option<&str>, source: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    // The date is nobody's: a page is made anew with each build. The generator would leave its place out.
    let mut out = format!(".TH \"{name}\" 1 \"\" \"{source}\" \"User Commands\"\n").into_bytes();
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut out)?;
    }
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut out)?;
    }
    if let Some(help) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        notes(&help.to_string()).to_writer(&mut out)?;
    }
    if let Some(parent) = parent {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]).text([bold(parent), roman("(1)")]);
        roff.to_writer(&mut out)?;
    }
    // A blank line breaks lines by itself: mandoc(1) warns of what does so beside it.
    Ok(String::from_utf8_lossy(&out).replace("\n.br\n\n.br\n", "\n.sp\n").into_bytes())
}

/// The end of a command's help: paragraphs, and tables whose columns stay as they are.
fn notes(help: &str) -> Roff {
    let mut roff = Roff::new();
    let mut headed = false;
    for paragraph in help.split("\n\n") {
        if let Some(table) = paragraph.strip_prefix(EXIT_STATUS) {
            roff.control("SH", ["EXIT STATUS"]);
            as_it_is(&mut roff, table);
            headed = false;
            continue;
        }
        if !std::mem::replace(&mut headed, true) {
            roff.control("SH", ["NOTES"]);
        } else {
            roff.control("PP", []);
        }
        match paragraph.lines().any(|line| line.starts_with(' ')) {
            true => as_it_is(&mut roff, paragraph),
            false => {
                roff.text([roman(paragraph)]);
            }
        }
    }
    roff
}

fn as_it_is(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines().filter(|line| !line.is_empty()) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_has_a_page_that_names_it() {
        let pages = all(&Cli::command()).unwrap();
        let names: Vec<_> = pages.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        for name in
            ["optimus-vmm", "optimus-vmm-run", "optimus-vmm-ctl-cdrom-insert", "optimus-vmm-acpi-dump"]
        {
            assert!(names.contains(&format!("share/man/man1/{name}.1").as_str()), "{name}: {names:?}");
        }
        for (path, text) in &pages {
            let text = String::from_utf8(text.clone()).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().replace('-', r"\-");
            assert!(text.contains(&format!(".SH NAME\n{name} \\- ")), "{text}");
        }
    }

    #[test]
    fn tables_keep_their_columns() {
        let text =
            notes("First\nparagraph.\n\nExit status:\n  0      done\n  2      wrong\n\nLast.").to_roff();
        let expected = ".SH NOTES\nFirst\nparagraph.\n.SH \"EXIT STATUS\"\n.nf\n  0      done\n  2      wrong\n.fi\n.SH NOTES\nLast.\n";
        assert!(text.ends_with(expected), "{text}");
    }
}
