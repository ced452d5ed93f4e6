//! What KVM counts of a VM and of a vCPU, by its binary statistics (Linux `Documentation/virt/kvm/api.rst`, KVM_GET_STATS_FD): since
//! Linux 5.14, without root and without debugfs.
#![allow(unsafe_code, reason = "an ioctl that the crates do not have")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use vmm_sys_util::ioctl::ioctl;
use vmm_sys_util::ioctl_io_nr;

const KVMIO: u32 = 0xae;
ioctl_io_nr!(KVM_GET_STATS_FD, KVMIO, 0xce);

/// More than any kernel has to say.
const LONGEST: usize = 1 << 20;
/// Bytes of the header, and of a descriptor before its name.
const HEADER: usize = 24;
const DESCRIPTOR: usize = 16;

/// Statistics of a VM or a vCPU.
#[derive(Debug)]
pub struct Statistics(File);

impl Statistics {
    /// Those of the VM or vCPU that this is the file of.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn of(fd: &impl AsRawFd) -> io::Result<Self> {
        // SAFETY: the ioctl takes no argument, and says itself if the file is none of KVM's.
        let statistics = unsafe { ioctl(fd, KVM_GET_STATS_FD()) };
        if statistics < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        Ok(Self(unsafe { File::from_raw_fd(statistics) }))
    }

    /// All that is one number, by name.
    ///
    /// # Errors
    /// The kernel refuses, or says what is no statistics.
    pub fn read(&self) -> io::Result<BTreeMap<String, u64>> {
        let mut bytes = vec![0; LONGEST];
        let mut length = 0;
        while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        bytes.truncate(length);
        parse(&bytes).ok_or_else(|| io::Error::other("KVM's statistics are not laid out as documented"))
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The file's contents: a header with the places of descriptors and data, a descriptor for each statistic, 64-bit numbers.
fn parse(bytes: &[u8]) -> Option<BTreeMap<String, u64>> {
    let word = |at| Some(u32::from_le_bytes(number(bytes, at)?) as usize);
    let (name_size, count, descriptors, data) = (word(4)?, word(8)?, word(16)?, word(20)?);
    if bytes.len() < HEADER {
        return None;
    }
    let step = DESCRIPTOR.checked_add(name_size)?;
    let mut all = BTreeMap::new();
    // A count of more than there is ends at the first that is not there.
    for index in 0..count {
        let at = descriptors.checked_add(index.checked_mul(step)?)?;
        let size = u16::from_le_bytes(number(bytes, at + 6)?);
        let offset = word(at + 8)?;
        let name = bytes.get(at + DESCRIPTOR..at.checked_add(step)?)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if size == 1 {
            let value = u64::from_le_bytes(number(bytes, data.checked_add(offset)?)?);
            all.insert(String::from_utf8_lossy(name).into_owned(), value);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with two numbers and a histogram.
    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        let name_size = 16_u32;
        let data = 24 + 3 * (16 + name_size);
        for word in [0, name_size, 3, 0, 24, data] {
            out.extend(word.to_le_bytes());
        }
        for (name, size, offset) in [("exits", 1_u16, 0_u32), ("halt_hist", 2, 8), ("pages_2m", 1, 24)] {
            out.extend(0_u32.to_le_bytes());
            out.extend(0_u16.to_le_bytes());
            out.extend(size.to_le_bytes());
            out.extend(offset.to_le_bytes());
            out.extend(0_u32.to_le_bytes());
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(16, 0);
            out.extend(bytes);
        }
        for value in [7_u64, 1, 2, 1 << 40] {
            out.extend(value.to_le_bytes());
        }
        out
    }

    #[test]
    fn numbers_are_read_and_histograms_left_out() {
        let expected = BTreeMap::from([("exits".to_owned(), 7), ("pages_2m".to_owned(), 1 << 40)]);
        assert_eq!(parse(&file()), Some(expected));
    }

    #[test]
    fn what_is_cut_off_or_absurd_is_refused() {
        let file = file();
        for length in 0..file.len() {
            assert_eq!(parse(&file[..length]), None, "{length}");
        }
        for at in [4, 8, 16, 20] {
            let mut absurd = file.clone();
            absurd[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(parse(&absurd), None, "{at}");
        }
    }
}
