//! How many files this process may have open (`RLIMIT_NOFILE`, getrlimit(2)).
//!
//! A machine needs an event descriptor for each queue and each interrupt vector of each device, beside its images and sockets: one with
//! many processors and disks comes to more than the 1024 that are usual. That soft limit is low for the sake of programs which call
//! select(2), whose sets end there; this one does not, and may take what the hard limit allows.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit as this process was started with it, once it has been raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one. Where that fails, the machine runs with what there is: that is a warning's matter.
pub(crate) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    let Rlimit { current, maximum } = before;
    if current == maximum || BEFORE.set(before).is_err() {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!("cannot raise the limit of open files, which a large machine may reach: {error}");
    }
}

/// The limit that programs of others are to have, if it is not this process's own: they may call select(2), or close all descriptors up to
/// the limit one by one, of which the hard one can have a thousand million.
pub(crate) fn of_others() -> Option<Rlimit> {
    BEFORE.get().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs;
    use crate::testing::own_process;

    const ALONE: &str = "OPEN_FILES_TEST_ALONE";

    /// The tests of this process go on with their limit.
    #[test]
    fn the_limit_is_raised_for_this_program_alone() {
        if std::env::var_os(ALONE).is_none() {
            let mut again =
                own_process::command(module_path!(), "the_limit_is_raised_for_this_program_alone");
            return own_process::pass(again.env(ALONE, "yes"));
        }
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
        // Nothing more to do.
        raise_limit();
        let shown =
            programs::system("sh").unwrap().args(["-c", "ulimit -S -n; ulimit -H -n"]).output().unwrap();
        let hard = maximum.map_or("unlimited".to_owned(), |limit| limit.to_string());
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), format!("200\n{hard}\n"));
    }
}
