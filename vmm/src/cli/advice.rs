//! Advice on words that are no command, beside clap's own: in the place and form of its tips.

use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Error};

use super::Cli;

/// Adds to the error of a command line, of which `words` are those behind the program's name, what may have been meant.
pub(super) fn advise(mut error: Error, words: &[String]) -> Error {
    if let Some(advice) = advice(&error, words) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(advice)]));
    }
    error
}

fn advice(error: &Error, words: &[String]) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    if error.kind() == ErrorKind::InvalidSubcommand {
        let word = word(ContextKind::InvalidSubcommand)?;
        let file = words.first().is_some_and(|first| first == word)
            && Path::new(word).extension().is_some_and(|ending| ending == "toml");
        return file.then(|| format!("to run the machine of this file, write 'optimus-vmm run {word}'"));
    }
    let word = word(ContextKind::InvalidArg).filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let [ctl, first, second, ..] = words else { return None };
    if ctl != "ctl" || word != second || word.starts_with('-') {
        return None;
    }
    let root = Cli::command();
    root.find_subcommand("ctl")?.find_subcommand(first)?;
    Some(format!("the machine's name comes first: 'optimus-vmm ctl {word} {first}'"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn told(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let all = std::iter::once("optimus-vmm").chain(words.iter().map(String::as_str));
        advise(Cli::try_parse_from(all).unwrap_err(), &words).to_string()
    }

    #[test]
    fn words_in_the_wrong_place_are_told_apart() {
        for (line, tip) in [
            ("rum vm.toml", "tip: a similar subcommand exists: 'run'"),
            ("dir/vm.toml", "tip: to run the machine of this file, write 'optimus-vmm run dir/vm.toml'"),
            ("ctl linux powerdwon", "tip: a similar subcommand exists: 'powerdown'"),
            ("ctl status linux", "tip: the machine's name comes first: 'optimus-vmm ctl linux status'"),
            ("run vm.toml --headles", "tip: a similar argument exists: '--headless'"),
        ] {
            let told = told(line);
            assert!(told.contains(tip), "{line}: {told}");
        }
        for line in ["ctl linux xyzzy", "run a.toml b.toml", "frobnicate"] {
            let told = told(line);
            assert!(!told.contains("'optimus-vmm"), "{line}: {told}");
        }
    }
}
