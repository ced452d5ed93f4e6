//! Questions to the person at the terminal, each with the answer that Enter gives.

use std::io::{self, BufRead, Write};

use vocabulary::printable::printable;

use super::InitError;

/// Two ends of a conversation.
pub(super) struct Dialogue<'a> {
    pub(super) input: &'a mut dyn BufRead,
    pub(super) output: &'a mut dyn Write,
}

impl Dialogue<'_> {
    /// Asks until `read` understands the answer. An empty answer is `default`.
    ///
    /// # Errors
    /// The input has ended, or the terminal is gone.
    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, InitError> {
        let lost = |error: Option<io::Error>| InitError::NoAnswer {
            question: question.into(),
            why: error.map(|error| format!(" ({error})")).unwrap_or_default(),
        };
        loop {
            write!(self.output, "{} [{}]: ", printable(question), printable(default))
                .and_then(|()| self.output.flush())
                .map_err(|error| lost(Some(error)))?;
            let mut line = String::new();
            match self.input.read_line(&mut line) {
                Ok(0) => return Err(lost(None)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal sends bytes, and not every byte is text.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    writeln!(self.output, "  that is no text in UTF-8").map_err(|error| lost(Some(error)))?;
                    continue;
                }
                Err(error) => return Err(lost(Some(error))),
            }
            let answer = match line.trim() {
                "" => default,
                answer => answer,
            };
            match read(answer) {
                Ok(value) => return Ok(value),
                Err(why) => {
                    writeln!(self.output, "  {}", printable(&why)).map_err(|error| lost(Some(error)))?
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u32, String> {
        text.parse().map_err(|error| format!("{text}: {error}"))
    }

    fn asked(input: &[u8]) -> (Result<u32, InitError>, String) {
        let mut output = Vec::new();
        let answer = Dialogue { input: &mut &input[..], output: &mut output }.ask("How many?", "7", number);
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn enter_takes_the_default_and_nonsense_is_asked_again() {
        let (answer, said) = asked(b"\n");
        assert_eq!(answer.unwrap(), 7);
        assert_eq!(said, "How many? [7]: ");
        let (answer, said) = asked(b" 3 \n");
        assert_eq!((answer.unwrap(), said.lines().count()), (3, 1));
        let (answer, said) = asked(b"many\x1b\n\xff\n9\n");
        assert_eq!(answer.unwrap(), 9);
        assert!(said.contains("no text"), "{said}");
        assert!(said.contains("  many\u{fffd}: invalid digit"), "{said}");
    }

    #[test]
    fn the_end_of_the_input_is_no_answer() {
        let (answer, _) = asked(b"many\n");
        assert!(
            matches!(&answer, Err(InitError::NoAnswer { question, .. }) if question == "How many?"),
            "{answer:?}"
        );
    }
}
