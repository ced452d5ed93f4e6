//! The program's log: what of it is written, where to, and in which form.
//!
//! Messages carry names of files and answers of the host; what a terminal should not be shown is replaced in all of them
//! ([`crate::printable`]), in a file too, since somebody will show that on a terminal.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;
use vocabulary::printable::printable;

use crate::outcome::Failure;
use crate::output;

/// The environment variable with a filter in the form of tracing's `EnvFilter`, in place of `-v`.
const FILTER: &str = "OPTIMUS_VMM_LOG";

/// Sets the log up for the whole process: the more `verbose` the more it tells, appended to `file` or on standard error, which
/// will be a file too if this is `detached`.
///
/// # Errors
/// The file cannot be opened.
pub fn set_up(verbose: u8, file: Option<&Path>, detached: bool) -> Result<(), Failure> {
    let level = match verbose {
        // A pseudoterminal's path is worth knowing without asking. The crate warns of interrupts that devices of older
        // kinds simply do not have.
        0 => "warn,vmm::console=info,vfio_ioctls=error",
        1 => "info,vfio_ioctls=error",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(level));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).fmt_fields(printable_fields());
    match file {
        Some(path) => {
            let file = output::append(path).map_err(|source| Failure::Write { path: path.into(), source })?;
            builder.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
        None if detached => builder.with_ansi(false).with_writer(std::io::stderr).init(),
        None => {
            let ansi = std::io::stderr().is_terminal();
            builder.with_ansi(ansi).without_time().with_writer(std::io::stderr).init();
        }
    }
    Ok(())
}

/// The message, then `name=value` for each field, all of it fit for a terminal.
fn printable_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let value = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", printable(&value)),
            name => write!(writer, "{name}={}", printable(&value)),
        }
    })
    .delimited(" ")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn names_do_not_steer_the_terminal() {
        let text = Text::default();
        let writer = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_target(false)
            .without_time()
            .with_ansi(false)
            .fmt_fields(printable_fields())
            .with_writer(move || writer.clone())
            .finish();
        let hostile = "a\x1b]0;x\x07\u{9b}31m\u{202e}b";
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(device = "0000:01:00.0", name = %hostile, raw = hostile, "cannot read {hostile}:\n no");
            tracing::error!(left_out = None::<u64>, "plain");
        });
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(first, "ERROR cannot read a\u{fffd}]0;x\u{fffd}\u{fffd}31m\u{fffd}b:");
        assert!(rest.starts_with(" no device=\"0000:01:00.0\" name=a\u{fffd}]0;x"), "{text:?}");
        assert!(rest.ends_with("ERROR plain\n"), "{text:?}");
        assert!(!text.chars().any(|c| c != '\n' && vocabulary::printable::is_control(c)), "{text:?}");
    }
}
