//! Devices that have just come. udev(7) makes the links to a device some time after the kernel has made its node, and keeps a file of what it
//! knows of the device, `/run/udev/data/c13:64`, which it writes afterwards: libudev takes a device for ready by that file (sd-device(3),
//! `sd_device_get_is_initialized`). Before it is there, a section with a path may mean the device, and one with a name leaves it alone.

use std::path::Path;
use std::time::{Duration, Instant};

/// Where udev listens, if it runs.
const CONTROL: &str = "/run/udev/control";
/// Where its files are.
pub(super) const DATA: &str = "/run/udev/data";
/// A device that udev has not done with by then is taken as it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node of the kernel's folder, as it was found: another device under the same name is another node.
pub(super) type Identity = (u64, u64);

/// The nodes that udev has not done with.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Each of them, and since when it was seen.
    waiting: Vec<(Identity, Instant)>,
    /// When they were looked at last.
    looked: Option<Instant>,
}

impl Arrivals {
    /// Looks at the nodes that are there.
    pub(super) fn look(&mut self, nodes: impl Iterator<Item = Identity>, now: Instant) {
        match Path::new(CONTROL).exists() {
            true => self.note(nodes, now, |number| Path::new(DATA).join(file(number)).exists()),
            false => self.waiting.clear(),
        }
    }

    fn note(&mut self, nodes: impl Iterator<Item = Identity>, now: Instant, is_done: impl Fn(u64) -> bool) {
        let before = std::mem::take(&mut self.waiting);
        let since = |node| before.iter().find(|(each, _)| *each == node).map_or(now, |(_, since)| *since);
        self.waiting =
            nodes.filter(|(number, _)| !is_done(*number)).map(|node| (node, since(node))).collect();
        self.looked = Some(now);
    }

    /// The nodes that are to be left alone for now, and until when.
    fn left(&self) -> impl Iterator<Item = (Identity, Instant)> {
        let due = self.waiting.iter().map(|(node, since)| (*node, *since + PATIENCE));
        due.filter(|(_, due)| self.looked.is_none_or(|looked| *due > looked))
    }

    /// Whether a node is to be left alone for now.
    pub(super) fn has(&self, node: Identity) -> bool {
        self.left().any(|(each, _)| each == node)
    }

    /// When they are to be looked at again, whatever happens; `None` if there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.left().map(|(_, due)| due).min()
    }
}

/// The name of udev's file about a character device.
fn file(number: u64) -> String {
    format!("c{}:{}", rustix::fs::major(number), rustix::fs::minor(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_waits_for_udev_and_not_for_ever() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (old, new) = ((1, 10), (2, 20));
        let mut arrivals = Arrivals::default();
        let look = |arrivals: &mut Arrivals, nodes: &[Identity], seconds, done: &[u64]| {
            arrivals.note(nodes.iter().copied(), at(seconds), |number| done.contains(&number));
        };
        look(&mut arrivals, &[old], 0, &[1]);
        assert_eq!(arrivals.due(), None);
        look(&mut arrivals, &[old, new], 1, &[1]);
        assert!(!arrivals.has(old) && arrivals.has(new));
        // To look again does not make it younger.
        look(&mut arrivals, &[old, new], 3, &[1]);
        assert_eq!(arrivals.due(), Some(at(6)));
        look(&mut arrivals, &[old, new], 5, &[1]);
        assert!(arrivals.has(new));
        look(&mut arrivals, &[old, new], 6, &[1]);
        assert!(!arrivals.has(new));
        assert_eq!(arrivals.due(), None);
        // Another device of the same number.
        look(&mut arrivals, &[old, (2, 21)], 8, &[1]);
        assert!(arrivals.has((2, 21)));
        look(&mut arrivals, &[old, (2, 21)], 9, &[1, 2]);
        assert!(!arrivals.has((2, 21)));
    }

    #[test]
    fn udev_names_its_files_by_numbers() {
        assert_eq!(file(rustix::fs::makedev(13, 64)), "c13:64");
        assert_eq!(file(rustix::fs::makedev(13, 300)), "c13:300");
    }
}
