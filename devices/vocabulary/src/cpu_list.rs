//! Sets of the host's logical CPUs, in the notation of the kernel's files and of `taskset -c`: `0-3,8`.
//!
//! Linux `Documentation/admin-guide/cputopology.rst`, "cpulist" format, without strides.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::printable::shorten;
use crate::scalar::{Complaint, Scalar, wrong_kind};

/// A set of logical CPUs, each by its number in Linux: 0 to [`CpuList::LAST`].
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuList(BTreeSet<u32>);

impl CpuList {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "host-cpus";
    /// What it is, in words.
    pub const EXPECTED: &str = "CPUs of the host, such as 4, [4, 5] or \"4-5,12\"";
    /// The highest number: that of a `cpu_set_t`, sched_setaffinity(2).
    pub const LAST: u32 = 1023;

    /// The set of one CPU.
    pub fn of(cpu: u32) -> Self {
        Self(BTreeSet::from([cpu]))
    }

    /// What a file of the kernel says, where an empty line is the empty set. `None` if it is no list.
    pub fn from_kernel(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() { Some(Self::default()) } else { text.parse().ok() }
    }

    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// The lowest one.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is among them.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// Those of them that are in `other`, too.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Those of them that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl<'a> FromIterator<&'a CpuList> for CpuList {
    fn from_iter<I: IntoIterator<Item = &'a CpuList>>(lists: I) -> Self {
        lists.into_iter().flat_map(CpuList::iter).collect()
    }
}

/// As the kernel writes it, which [`FromStr`] reads back unless it is empty.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

/// Why a text is not a list of CPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseCpuListError(String);

fn too_high(cpu: impl fmt::Display) -> ParseCpuListError {
    ParseCpuListError(format!("there is no CPU {cpu}: numbers of CPUs go from 0 to {}", CpuList::LAST))
}

impl FromStr for CpuList {
    type Err = ParseCpuListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            ParseCpuListError(format!("\"{}\" is no list of CPUs: write {}", shorten(text), Self::EXPECTED))
        };
        let number = |digits: &str| {
            let digits = digits.trim();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(wrong());
            }
            let cpu = digits.parse::<u32>().ok().filter(|cpu| *cpu <= Self::LAST);
            cpu.ok_or_else(|| too_high(shorten(digits)))
        };
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                let message = format!("the CPUs {first}-{last} are none: write {last}-{first}");
                return Err(ParseCpuListError(message));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl TryFrom<Scalar> for CpuList {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        match value {
            Scalar::Text(text) => text.parse().map_err(|error: ParseCpuListError| error.0),
            Scalar::Integer(cpu) => match u32::try_from(cpu) {
                Ok(cpu) if cpu <= Self::LAST => Ok(Self::of(cpu)),
                _ => Err(too_high(cpu).0),
            },
            other @ Scalar::Bool(_) => Err(wrong_kind(Self::EXPECTED, &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_in_all_notations() {
        for (text, cpus) in [
            ("0", vec![0]),
            ("0-3,8", vec![0, 1, 2, 3, 8]),
            ("8, 0 - 1", vec![0, 1, 8]),
            ("5,5-5,4-6", vec![4, 5, 6]),
            ("1023", vec![1023]),
        ] {
            assert_eq!(text.parse::<CpuList>().unwrap().iter().collect::<Vec<_>>(), cpus, "{text}");
        }
        for (text, why) in [
            ("", "no list"),
            ("a", "no list"),
            ("1,", "no list"),
            ("-1", "no list"),
            ("+1", "no list"),
            ("1-2-3", "no list"),
            ("0-7:2/4", "no list"),
            ("3-1", "write 1-3"),
            ("1024", "from 0 to 1023"),
            ("0-4294967296", "from 0 to 1023"),
        ] {
            let error = text.parse::<CpuList>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(CpuList::from_kernel("\n"), Some(CpuList::default()));
        assert_eq!(CpuList::from_kernel("2-3\n"), "2,3".parse().ok());
        assert_eq!(CpuList::from_kernel("(null)"), None);
    }

    #[test]
    fn a_number_is_one_cpu() {
        assert_eq!(CpuList::try_from(Scalar::Integer(7)), Ok(CpuList::of(7)));
        for wrong in [Scalar::Integer(-1), Scalar::Integer(1024), Scalar::Bool(true)] {
            assert!(CpuList::try_from(wrong).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cpus in prop::collection::btree_set(0..=CpuList::LAST, 0..40)) {
            let list: CpuList = cpus.into_iter().collect();
            prop_assert_eq!(CpuList::from_kernel(&list.to_string()), Some(list));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = text.parse::<CpuList>();
        }
    }
}
