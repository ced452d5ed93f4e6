//! Which devices a section means: one by its path, or all that are called so or are of a kind.

use std::fmt;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Source;
use super::abi::Node;
use super::arrivals::Identity;
use super::kinds::{Abilities, Kind, Kinds, Unfit};

/// Where the kernel's devices are.
pub(super) const FOLDER: &str = "/dev/input";

/// Which devices are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This one, whatever it is.
    Path(PathBuf),
    /// All that are called so and are of this kind.
    All {
        /// Their name.
        pattern: Option<Pattern>,
        /// What they are.
        kind: Option<Kind>,
    },
}

/// A device's name, or its vendor and product as in `046d:c52b`, with `*` for any characters and `?` for one. Case does not
/// matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<char>);

impl Pattern {
    /// A pattern; `None` if there is nothing in it.
    pub fn new(text: &str) -> Option<Self> {
        let characters: Vec<_> = text.to_lowercase().chars().collect();
        (!characters.is_empty()).then_some(Self(characters))
    }

    fn matches(&self, text: &str) -> bool {
        let text: Vec<_> = text.to_lowercase().chars().collect();
        let (mut at, mut of) = (0, 0);
        // Where the last `*` is, and what it has taken so far.
        let mut star: Option<(usize, usize)> = None;
        while of < text.len() {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, of));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || Some(wanted) == text.get(of) => (at, of) = (at + 1, of + 1),
                _ => {
                    let Some((place, taken)) = star else { return false };
                    star = Some((place, taken + 1));
                    (at, of) = (place + 1, taken + 1);
                }
            }
        }
        self.0.get(at..).is_some_and(|rest| rest.iter().all(|character| *character == '*'))
    }

    /// Whether a device is called so.
    fn names(&self, name: &str, (vendor, product): (u16, u16)) -> bool {
        self.matches(name) || self.matches(&format!("{vendor:04x}:{product:04x}"))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|character| write!(f, "{character}"))
    }
}

impl Choice {
    /// One of them in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::All { pattern, kind } => {
                let what = kind.map_or("input device", Kind::word);
                match pattern {
                    Some(pattern) => format!("{what} called \"{pattern}\""),
                    None => what.to_owned(),
                }
            }
        }
    }

    /// Whether such a device is meant.
    fn is_meant(&self, name: &str, id: (u16, u16), kinds: Kinds) -> bool {
        match self {
            Self::Path(_) => true,
            Self::All { pattern, kind } => {
                pattern.as_ref().is_none_or(|pattern| pattern.names(name, id))
                    && kind.is_none_or(|kind| kinds.has(kind))
            }
        }
    }
}

/// A device that is open, and what is known of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) node: Node,
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) kinds: Kinds,
}

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is none.
    #[error("there is no {0} now")]
    Missing(String),
    /// This user may not.
    #[error("this user may not open {}", .0.display())]
    Denied(PathBuf),
    /// It is none.
    #[error("{} is no input device: those are /dev/input/event0 and so on, and the links below /dev/input/by-id and by-path", .0.display())]
    Stranger(PathBuf),
    /// It is of no use to a guest.
    #[error("{} ({name}) cannot be given to a guest: {why}", path.display())]
    Unfit {
        /// The device.
        path: PathBuf,
        /// What its driver calls it.
        name: String,
        /// Why.
        why: Unfit,
    },
    /// Something else.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The device.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Unavailable {
    /// What to do about it; `None` where the message says all.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some(
                "plug it in, look for its name in /proc/bus/input/devices and its path below /dev/input/by-id, or write `optional = true`: then it may come while the guest runs"
                    .into(),
            ),
            Self::Denied(_) => Some(RIGHTS.into()),
            Self::Stranger(_) | Self::Unfit { .. } | Self::Io { .. } => None,
        }
    }
}

/// How a user gets the right to read input devices.
const RIGHTS: &str = "run `sudo usermod -aG input $USER` and log in again: members of the group input may. Programs of this user can then see what is typed everywhere";

/// Opens a device.
pub(super) fn open(path: &Path) -> Result<Found, Unavailable> {
    let of = |source: io::Error| match Errno::from_io_error(&source) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR) => {
            Unavailable::Missing(path.display().to_string())
        }
        Some(Errno::ACCESS | Errno::PERM) => Unavailable::Denied(path.into()),
        Some(Errno::NOTTY | Errno::INVAL | Errno::ISDIR | Errno::LOOP) => Unavailable::Stranger(path.into()),
        _ => Unavailable::Io { path: path.into(), source },
    };
    let node = Node::open(path).map_err(of)?;
    let name = node.name();
    let kinds = match Abilities::of(&node).map_err(of)?.kinds() {
        Ok(kinds) => kinds,
        Err(why) => return Err(Unavailable::Unfit { path: path.into(), name, why }),
    };
    Ok(Found { node, path: path.into(), name, kinds })
}

/// Nodes that one source has looked at and does not mean, so that they are not opened each time when a device comes.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<Identity>);

/// The devices that a source means and that are not `held` already, by their numbers; one that is meant by its name, among `nodes`. `known` is the
/// source's own.
pub(super) fn find(
    source: &Source,
    held: &[u64],
    known: &mut Known,
    nodes: &[(PathBuf, Identity)],
) -> Result<Vec<Found>, Unavailable> {
    match &source.choice {
        Choice::Path(path) => {
            let found = open(path)?;
            Ok(if held.contains(&found.node.number) { Vec::new() } else { vec![found] })
        }
        choice @ Choice::All { .. } => {
            let (mut found, mut denied) = (Vec::new(), None);
            known.0.retain(|each| nodes.iter().any(|(_, identity)| identity == each));
            for (path, identity) in nodes {
                if held.contains(&identity.0) || known.0.contains(identity) {
                    continue;
                }
                match open(path) {
                    Ok(each) if choice.is_meant(&each.name, each.node.id(), each.kinds) => found.push(each),
                    Ok(_) | Err(Unavailable::Unfit { .. } | Unavailable::Stranger(_)) => {
                        known.0.push(*identity)
                    }
                    Err(error @ Unavailable::Denied(_)) => denied = Some(error),
                    // It has gone meanwhile, or its driver has just come.
                    Err(_) => {}
                }
            }
            match denied {
                // Which one it is that may not be opened, nobody knows.
                Some(denied) if found.is_empty() && held.is_empty() => Err(denied),
                _ => Ok(found),
            }
        }
    }
}

/// What keeps a source's devices from being used now; each that is there is looked at.
///
/// # Errors
/// None of them can be had.
pub fn look(source: &Source) -> Result<(), Unavailable> {
    match find(source, &[], &mut Known::default(), &nodes())?.as_slice() {
        [] => Err(Unavailable::Missing(source.choice.describe())),
        _ => Ok(()),
    }
}

/// All event devices, in the order of their numbers.
pub(super) fn nodes() -> Vec<(PathBuf, Identity)> {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return Vec::new() };
    let number = |name: &str| name.strip_prefix("event")?.parse::<u32>().ok();
    let mut all: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let number = number(entry.file_name().to_str()?)?;
            let about = entry.metadata().ok()?;
            Some((number, entry.path(), (about.st_rdev(), about.st_ino())))
        })
        .collect();
    all.sort_unstable_by_key(|(number, ..)| *number);
    all.into_iter().map(|(_, path, identity)| (path, identity)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, text, expected) in [
            ("logitech*", "Logitech USB Receiver", true),
            ("*mouse", "Logitech USB Receiver Mouse", true),
            ("*mouse", "Mouse pad", false),
            ("at translated set ? keyboard", "AT Translated Set 2 keyboard", true),
            ("*a*b*c", "xxaxxbxxcxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("*", "", true),
            ("?", "", false),
            ("abc", "ab", false),
            ("ab", "abc", false),
            ("ä?", "ÄÖ", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
        assert_eq!(Pattern::new(""), None);
        assert!(Pattern::new("046d:c5*").unwrap().names("Logitech USB Receiver", (0x046d, 0xc52b)));
        assert!(!Pattern::new("046d:c53?").unwrap().names("Logitech USB Receiver", (0x046d, 0xc52b)));
    }

    proptest! {
        /// As a regular expression finds it.
        #[test]
        fn patterns_match_as_regular_expressions(pattern in "[ab*?]{1,8}", text in "[ab]{0,10}") {
            let expression = pattern.replace('*', ".*").replace('?', ".");
            let expected = regex::Regex::new(&format!("^{expression}$")).unwrap().is_match(&text);
            prop_assert_eq!(Pattern::new(&pattern).unwrap().matches(&text), expected);
        }
    }

    #[test]
    fn a_kind_and_a_name_are_both_asked_for() {
        let mouse = Kinds { mouse: true, ..Kinds::default() };
        let choice = |pattern, kind| Choice::All { pattern: Pattern::new(pattern), kind };
        for (choice, expected) in [
            (choice("log*", Some(Kind::Mouse)), true),
            (choice("log*", None), true),
            (choice("", Some(Kind::Mouse)), true),
            (choice("log*", Some(Kind::Keyboard)), false),
            (choice("dell*", Some(Kind::Mouse)), false),
        ] {
            assert_eq!(choice.is_meant("Logitech G Pro", (0, 0), mouse), expected, "{choice:?}");
        }
    }

    #[test]
    fn what_is_no_device_is_told_with_what_to_do() {
        let missing = open(Path::new("/dev/input/by-id/none")).unwrap_err();
        assert_eq!(missing.to_string(), "there is no /dev/input/by-id/none now");
        assert!(missing.advice().unwrap().contains("optional = true"));
        let stranger = open(Path::new("/dev/null")).unwrap_err();
        assert!(stranger.to_string().starts_with("/dev/null is no input device"), "{stranger}");
        let denied = Unavailable::Denied("/dev/input/event3".into());
        assert!(denied.advice().unwrap().contains("sudo usermod -aG input $USER"));
    }
}
