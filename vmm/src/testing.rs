//! What tests of several modules share, and what fuzzing drives.

#[cfg(feature = "testing")]
pub use crate::control::testing::Conversation;
#[cfg(feature = "testing")]
pub use crate::vnc::testing::converse;

/// Tests that need a process of their own, since limits, signals and the environment are those of all threads.
#[cfg(test)]
pub(crate) mod own_process {
    use std::process::Command;

    /// The command that runs one test alone. `module` is its `module_path!()`.
    pub(crate) fn command(module: &str, test: &str) -> Command {
        let (_, module) = module.split_once("::").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("{module}::{test}")]);
        command
    }

    /// Runs it. It must be there, and pass.
    pub(crate) fn pass(command: &mut Command) {
        let done = command.output().unwrap();
        let output = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && output.contains("1 passed"), "{}: {output}", done.status);
    }
}

/// What this process has in memory (proc_pid_smaps(5)).
#[cfg(test)]
pub(crate) mod smaps {
    use std::fs;
    use std::ops::Range;

    /// Pages that this process has mapped.
    #[derive(Debug, Default)]
    pub(crate) struct Pages {
        /// All of them.
        pub(crate) all: usize,
        /// Those of no file.
        pub(crate) anonymous: usize,
    }

    /// What is there of the mappings that begin in `range`.
    pub(crate) fn mapped_pages(range: &Range<usize>) -> Pages {
        const KIB_OF_PAGE: usize = 4;
        let (mut inside, mut pages) = (false, Pages::default());
        for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some((start, _)) = words[0].split_once('-') {
                inside = usize::from_str_radix(start, 16).is_ok_and(|start| range.contains(&start));
            }
            let count = || words[1].parse::<usize>().unwrap() / KIB_OF_PAGE;
            match words[0] {
                "Rss:" if inside => pages.all += count(),
                "Anonymous:" if inside => pages.anonymous += count(),
                _ => {}
            }
        }
        pages
    }
}
