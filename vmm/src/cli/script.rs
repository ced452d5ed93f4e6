//! `--expect` and `--send` of `run`: a conversation with the serial port, in the order of the command line.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::watch::{Pattern, Step};

const EXPECT: &str = "expect";
const SEND: &str = "send";

/// As much as all of `--send` may have together, in bytes: what a guest that does not read yet has waiting for it.
const LONGEST: usize = 32 << 10;

/// What is expected, and what is sent when it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script(pub Vec<Step>);

/// What `--send` writes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SentText(Vec<u8>);

impl Args for Script {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new(EXPECT)
                    .long(EXPECT)
                    .value_name("REGEX")
                    .allow_hyphen_values(true)
                    .value_parser(|text: &str| text.parse::<Pattern>())
                    .action(ArgAction::Append)
                    .help_heading("Scripted runs")
                    .help(
                        "Wait for this regular expression on the serial port; repeated, for each in turn. After the last \
                         the guest is powered down and the run has succeeded",
                    ),
            )
            .arg(
                Arg::new(SEND)
                    .long(SEND)
                    .value_name("TEXT")
                    .allow_hyphen_values(true)
                    .value_parser(unescape)
                    .action(ArgAction::Append)
                    .help_heading("Scripted runs")
                    .help(
                        "Write this to the serial port when the --expect before it was seen; \\n, \\r, \\t, \\\\ and \\xNN are \
                         the characters that they are in C",
                    ),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Script {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let expected = in_order::<Pattern>(matches, EXPECT);
        let mut sent = in_order::<SentText>(matches, SEND).into_iter().peekable();
        let refused = |why: &str| Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n")));
        if let (Some((send, _)), first) = (sent.peek(), expected.first())
            && first.is_none_or(|(expect, _)| send < expect)
        {
            return refused(
                "--send is written when the --expect before it was seen, and there is none before it",
            );
        }
        let mut steps = Vec::new();
        let mut total = 0_usize;
        let ends = expected.iter().skip(1).map(|(index, _)| *index).chain([usize::MAX]);
        for ((_, expect), end) in expected.iter().zip(ends) {
            let mut step = Step::from(expect.clone());
            while let Some((_, SentText(bytes))) = sent.next_if(|(index, _)| *index < end) {
                total = total.saturating_add(bytes.len());
                step.send.extend(bytes);
            }
            steps.push(step);
        }
        if total > LONGEST {
            return refused("all of --send together has more than 32 KiB");
        }
        Ok(Self(steps))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The values of an option with their places on the command line.
fn in_order<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, option: &str) -> Vec<(usize, T)> {
    let places = matches.indices_of(option).into_iter().flatten();
    places.zip(matches.get_many::<T>(option).into_iter().flatten().cloned()).collect()
}

fn unescape(text: &str) -> Result<SentText, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            return Err("a single backslash at the end means nothing: write \\\\".into());
        };
        rest = after;
        bytes.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                let value = digits.and_then(|digits| str::from_utf8(digits).ok());
                let value = value.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                rest = rest.get(2..).unwrap_or_default();
                value.ok_or("after \\x two hexadecimal digits must follow, as in \\x1b")?
            }
            _ => return Err("after a backslash, only n, r, t, \\ and xNN mean something".into()),
        });
    }
    Ok(SentText(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(words: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
        let command = Script::augment_args(Command::new("run").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let Script(steps) = Script::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Ok(steps.into_iter().map(|step| (step.expect.as_str().to_owned(), step.send)).collect())
    }

    #[test]
    fn each_text_belongs_to_the_pattern_before_it() {
        let words = [
            "--expect",
            "login: ",
            r"--send=root\n",
            "--expect=# $",
            "--expect",
            "c",
            "--send",
            "-1",
            "--send",
            "2",
        ];
        let step = |expect: &str, send: &str| (expect.to_owned(), send.as_bytes().to_vec());
        assert_eq!(script(&words).unwrap(), [step("login: ", "root\n"), step("# $", ""), step("c", "-12")]);
        assert_eq!(script(&[]).unwrap(), []);
        for words in [&["--send", "a"][..], &["--send", "a", "--expect", "b"]] {
            assert!(script(words).unwrap_err().contains("none before it"), "{words:?}");
        }
        let long = "x".repeat(LONGEST);
        assert!(script(&["--expect", "a", "--send", &long]).is_ok());
        assert!(script(&["--expect", "a", "--send", &long, "--send", "y"]).unwrap_err().contains("32 KiB"));
    }

    #[test]
    fn escapes_are_those_of_c() {
        assert_eq!(unescape(r"a\n\r\t\\\x1B\xffä").unwrap().0, b"a\n\r\t\\\x1b\xff\xc3\xa4");
        for wrong in [r"\", r"a\", r"\x", r"\x1", r"\xg0", r"\q", r"\0", "\\ä"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }
}
