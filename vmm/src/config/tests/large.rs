//! Files with a mistake at every line: the work grows with the file and not with its square, and a few are shown.

use std::fmt::Write;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::parse;
use crate::finding::Findings;
use crate::host::HostFacts;
use crate::plan::plan;

/// A kind of large file: what a piece of it is, and how many problems there are in a file of `n` pieces.
struct Kind {
    name: &'static str,
    head: &'static str,
    piece: fn(usize) -> String,
    problems: fn(usize) -> usize,
}

const KINDS: [Kind; 12] = [
    Kind { name: "unknown sections", head: "", piece: |n| format!("[dosk{n}]\npath = 1\n"), problems: |n| n },
    Kind { name: "unknown keys", head: "", piece: |n| format!("memroy{n} = 1\n"), problems: |n| n },
    Kind {
        name: "unknown keys in one line",
        head: "cpu = { ",
        piece: |n| format!("{}cuont{n} = 1", if n == 0 { "" } else { ", " }),
        problems: |n| n,
    },
    Kind {
        name: "wrong values",
        head: "",
        piece: |_| "[[disk]]\npath = 7\nformat = \"qcow3\"\n".into(),
        problems: |n| 2 * n,
    },
    Kind { name: "no values", head: "", piece: |n| format!("a{n} =\n"), problems: |n| n },
    Kind { name: "no TOML", head: "", piece: |n| format!("= = {n}\n"), problems: |n| n },
    Kind {
        name: "one image of all disks",
        head: "",
        piece: |_| "[[disk]]\npath = \"a.raw\"\n".into(),
        problems: |n| n - 1,
    },
    Kind {
        name: "one table file",
        head: "",
        piece: |_| "[[acpi.table]]\nfile = \"a.aml\"\n".into(),
        problems: |n| n - 1,
    },
    Kind {
        name: "one fw_cfg item",
        head: "",
        piece: |_| "[[fw_cfg]]\nname = \"opt/a\"\n".into(),
        problems: |n| 2 * n - 1,
    },
    Kind {
        name: "fw_cfg items without content",
        head: "",
        piece: |n| format!("[[fw_cfg]]\nname = \"opt/{n}\"\n"),
        problems: |n| n,
    },
    Kind {
        name: "more disks than places",
        head: "[rng]\nenabled = false\n",
        piece: |n| format!("[[disk]]\npath = \"{n}.raw\"\n"),
        problems: |n| n - 30,
    },
    Kind {
        name: "one address of all disks",
        head: "",
        piece: |n| format!("[[disk]]\npath = \"{n}.raw\"\naddress = \"00:05.0\"\n"),
        problems: |n| n - 1,
    },
];

impl Kind {
    fn file(&self, pieces: usize) -> String {
        let mut text = self.head.to_owned();
        for number in 0..pieces {
            text.push_str(&(self.piece)(number));
        }
        if self.head.ends_with("{ ") {
            text.push_str(" }");
        }
        text
    }

    /// What is wrong with a file, and the least time of this thread in some attempts to find it.
    fn judge(&self, pieces: usize, attempts: usize) -> (Findings, Duration) {
        let text = self.file(pieces);
        let now = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
        };
        let attempt = || {
            let before = now();
            let problems = parse(&text).and_then(|config| plan(config, &HostFacts::default()).map(drop));
            (problems.unwrap_err(), now() - before)
        };
        (0..attempts).map(|_| attempt()).min_by_key(|(_, time)| *time).unwrap()
    }
}

#[test]
fn many_problems_are_counted_and_few_are_shown() {
    for kind in &KINDS {
        let (problems, _) = kind.judge(500, 1);
        let count = (kind.problems)(500);
        assert_eq!((problems.count(), problems.iter().count()), (count, Findings::MOST), "{}", kind.name);
        let text = problems.to_string();
        let end = format!("\n\n… and {} more\n\n{count} problems", count - Findings::MOST);
        assert!(text.replace(',', "").ends_with(&end), "{}:\n{text}", kind.name);
        assert!(text.len() < 20_000, "{}: {} bytes", kind.name, text.len());
        // The first of the file.
        let lines: Vec<_> = problems.iter().filter_map(|problem| Some(problem.location()?.line)).collect();
        assert!(lines.is_sorted() && *lines.last().unwrap() <= 200, "{}: {lines:?}", kind.name);
    }
    let (problems, _) = KINDS[0].judge(16_000, 1);
    assert!(problems.to_string().ends_with("\n\n… and 15,980 more\n\n16,000 problems"));
}

#[test]
fn as_many_as_are_shown_are_not_cut() {
    for count in [1, 2, Findings::MOST, Findings::MOST + 1] {
        let text = KINDS[1].judge(count, 1).0.to_string();
        assert_eq!(text.matches("unknown key").count(), count.min(Findings::MOST));
        assert_eq!(text.contains("… and 1 more"), count > Findings::MOST);
    }
}

/// Eight times the file takes eight times as long, and not sixty-four times.
#[test]
fn the_work_grows_with_the_file() {
    let mut slow = String::new();
    for kind in &KINDS {
        let (small, large) = (kind.judge(250, 3).1, kind.judge(2000, 3).1);
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        if ratio > 24.0 {
            writeln!(slow, "{}: {small:?}, {large:?}, ratio {ratio:.0}", kind.name).unwrap();
        }
    }
    assert!(slow.is_empty(), "{slow}");
}
