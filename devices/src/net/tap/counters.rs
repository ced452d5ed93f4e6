//! What the kernel counts of an interface (Linux `Documentation/ABI/testing/sysfs-class-net-statistics`). With the kernel moving a card's
//! frames, nobody else does.

use std::path::{Path, PathBuf};

use crate::net::cable::Totals;

/// An interface's counters, from now on.
#[derive(Debug)]
pub struct Counters {
    folder: PathBuf,
    /// The interface is a network's other end (macvtap): what it receives is for the guest. What a TAP interface receives is from the
    /// guest.
    mirrored: bool,
    before: [Totals; 2],
}

impl Counters {
    /// Of the interface called `name`; `None` if it is not to be seen, as one of another network namespace.
    pub fn of_interface(name: &str) -> Option<Self> {
        Self::of_folder(&Path::new("/sys/class/net").join(name))
    }

    fn of_folder(folder: &Path) -> Option<Self> {
        let mirrored = !folder.join("tun_flags").exists();
        let mut counters =
            Self { folder: folder.join("statistics"), mirrored, before: [Totals::default(); 2] };
        counters.before = counters.read()?;
        Some(counters)
    }

    /// From and to the guest, since this was made.
    pub fn totals(&self) -> Option<[Totals; 2]> {
        let [sent, received] = self.read()?;
        // An interface of the same name that has taken its place counts anew.
        let since = |now: Totals, before: Totals| Totals {
            frames: now.frames.saturating_sub(before.frames),
            bytes: now.bytes.saturating_sub(before.bytes),
            dropped: now.dropped.saturating_sub(before.dropped),
        };
        let [sent_before, received_before] = self.before;
        Some([since(sent, sent_before), since(received, received_before)])
    }

    fn read(&self) -> Option<[Totals; 2]> {
        let number = |name: String| -> Option<u64> {
            std::fs::read_to_string(self.folder.join(name)).ok()?.trim().parse().ok()
        };
        let direction = |way: &str| {
            Some(Totals {
                frames: number(format!("{way}_packets"))?,
                bytes: number(format!("{way}_bytes"))?,
                dropped: number(format!("{way}_dropped"))?,
            })
        };
        let (received, sent) = (direction("rx")?, direction("tx")?);
        Some(if self.mirrored { [sent, received] } else { [received, sent] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(folder: &Path, numbers: [u64; 6]) {
        let names = ["rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped"];
        for (name, number) in names.into_iter().zip(numbers) {
            std::fs::write(folder.join("statistics").join(name), format!("{number}\n")).unwrap();
        }
    }

    #[test]
    fn what_an_interface_receives_is_from_the_guest_or_for_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Counters::of_folder(folder.path()).is_none());
        std::fs::create_dir(folder.path().join("statistics")).unwrap();
        count(folder.path(), [1, 100, 0, 2, 200, 5]);
        let macvtap = Counters::of_folder(folder.path()).unwrap();
        std::fs::write(folder.path().join("tun_flags"), "0x1002\n").unwrap();
        let tap = Counters::of_folder(folder.path()).unwrap();
        count(folder.path(), [11, 1100, 1, 32, 3200, 5]);
        let rx = Totals { frames: 10, bytes: 1000, dropped: 1 };
        let tx = Totals { frames: 30, bytes: 3000, dropped: 0 };
        assert_eq!(tap.totals(), Some([rx, tx]));
        assert_eq!(macvtap.totals(), Some([tx, rx]));
        count(folder.path(), [0; 6]);
        assert_eq!(tap.totals(), Some([Totals::default(); 2]));
        std::fs::remove_dir_all(folder.path().join("statistics")).unwrap();
        assert_eq!(tap.totals(), None);
    }
}
