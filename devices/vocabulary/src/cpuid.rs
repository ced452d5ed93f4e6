//! Registers and bits of CPUID, with the names by which Linux and QEMU know them (Intel SDM volume 2A, CPUID; AMD APM
//! volume 3, appendix E).

mod names;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::printable::shorten;
use crate::scalar::{Complaint, Scalar};

/// A register of CPUID's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

impl Register {
    /// All four, in CPUID's order.
    pub const ALL: [Self; 4] = [Self::Eax, Self::Ebx, Self::Ecx, Self::Edx];
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eax => "eax",
            Self::Ebx => "ebx",
            Self::Ecx => "ecx",
            Self::Edx => "edx",
        })
    }
}

/// One bit of CPUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuidBit {
    /// EAX of the question.
    pub leaf: u32,
    /// ECX of the question; 0 for leaves without sub-leaves.
    pub index: u32,
    /// Where in the answer.
    pub register: Register,
    /// Which, 0 to 31.
    pub bit: u8,
}

impl CpuidBit {
    /// Its name: QEMU's where Linux has another; `None` if neither has one.
    pub fn name(&self) -> Option<&'static str> {
        let word = names::WORDS
            .iter()
            .find(|word| (word.leaf, word.index, word.register) == (self.leaf, self.index, self.register))?;
        word.names.iter().find(|(bit, _)| *bit == self.bit).map(|(_, name)| *name)
    }

    /// By notation: `0x7.0.ebx.16`, or `0x80000001.ecx.22` for a leaf without sub-leaves. Without `0x` numbers are decimal.
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        let parts: Vec<&str> = text.split('.').collect();
        let (leaf, index, register, bit) = match parts.as_slice() {
            [leaf, register, bit] => (leaf, "0", register, bit),
            [leaf, index, register, bit] => (leaf, *index, register, bit),
            _ => return None,
        };
        let register = Register::ALL.into_iter().find(|known| known.to_string() == *register)?;
        let bit = bit.parse().ok().filter(|bit| *bit < 32)?;
        Some(Self { leaf: number(leaf)?, index: number(index)?, register, bit })
    }
}

impl fmt::Display for CpuidBit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leaf, index, register, bit } = self;
        write!(f, "{leaf:#x}.{index}.{register}.{bit}")
    }
}

/// Names are the same whichever of `_`, `.` and `-` they are written with.
fn alike(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

fn plain(byte: u8) -> u8 {
    if matches!(byte, b'_' | b'.') { b'-' } else { byte }
}

/// What names that are the same have in common, and few others with them.
fn hint(name: &str) -> (usize, u8, u8) {
    let end = |byte: Option<&u8>| byte.copied().map_or(0, plain);
    (name.len(), end(name.as_bytes().last()), end(name.as_bytes().first()))
}

/// Whether a register's bits have names; a register without may hold numbers.
pub fn has_names(leaf: u32, index: u32, register: Register) -> bool {
    names::WORDS.iter().any(|word| (word.leaf, word.index, word.register) == (leaf, index, register))
}

/// All names, in no particular order.
pub fn feature_names() -> impl Iterator<Item = &'static str> {
    names::WORDS.iter().flat_map(|word| word.names).map(|(_, name)| *name)
}

/// The bits of this name, of which most names have one; none for a word that is no name.
pub fn bits_named(name: &str) -> Vec<CpuidBit> {
    type Hinted = ((usize, u8, u8), &'static str, CpuidBit);
    /// All names by their hints: a start looks up some hundred of them.
    static SORTED: LazyLock<Vec<Hinted>> = LazyLock::new(|| {
        let mut all = Vec::with_capacity(names::WORDS.iter().map(|word| word.names.len()).sum());
        for &names::Word { leaf, index, register, names } in names::WORDS {
            let bits = names.iter().map(|&(bit, name)| (name, CpuidBit { leaf, index, register, bit }));
            all.extend(bits.map(|(name, bit)| (hint(name), name, bit)));
        }
        // Stable: bits of one name stay in their order.
        all.sort_by_key(|(hint, ..)| *hint);
        all
    });
    let wanted = hint(name);
    let first = SORTED.partition_point(|(hint, ..)| *hint < wanted);
    let candidates = SORTED.iter().skip(first).take_while(|(hint, ..)| *hint == wanted);
    candidates.filter(|(_, known, _)| alike(known, name)).map(|(.., bit)| *bit).collect()
}

/// A feature of the CPU, as a user writes it: a name of Linux' or QEMU's, or a bit by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct CpuFeature {
    text: String,
    bits: Vec<CpuidBit>,
}

impl CpuFeature {
    /// The name of its format.
    pub const FORMAT: &str = "cpu-feature";
    /// What it is, in words.
    pub const EXPECTED: &str = "a CPU feature such as \"avx2\" or \"0x7.0.ebx.5\"";

    /// Its bits, at least one.
    pub fn bits(&self) -> &[CpuidBit] {
        &self.bits
    }
}

impl fmt::Display for CpuFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for CpuFeature {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let bits = CpuidBit::parse(text).map_or_else(|| bits_named(text), |bit| vec![bit]);
        if bits.is_empty() {
            return Err(format!(
                "\"{}\" is no CPU feature that Linux or QEMU has a name for; one without a name is written by leaf, sub-leaf, \
                 register and bit, as \"0x7.0.ebx.5\"",
                shorten(text)
            ));
        }
        Ok(Self { text: text.into(), bits })
    }
}

crate::text_scalar!(CpuFeature);

crate::inline_schema!(CpuFeature, {
    "type": "string",
    "format": CpuFeature::FORMAT,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_a_name_of_linux_or_qemu_or_a_place() {
        let place = |text: &str| text.parse::<CpuFeature>().unwrap().bits()[0].to_string();
        for (text, bit) in [
            ("avx2", "0x7.0.ebx.5"),
            ("sse4_1", "0x1.0.ecx.19"),
            ("sse4.1", "0x1.0.ecx.19"),
            ("pni", "0x1.0.ecx.0"),
            ("3dnowprefetch", "0x80000001.0.ecx.8"),
            ("nonstop_tsc", "0x80000007.0.edx.8"),
            ("0x7.0.ebx.5", "0x7.0.ebx.5"),
            ("7.1.eax.31", "0x7.1.eax.31"),
            ("0x80000001.ecx.22", "0x80000001.0.ecx.22"),
        ] {
            assert_eq!(place(text), bit, "{text}");
        }
        assert_eq!("kvmclock".parse::<CpuFeature>().unwrap().bits().len(), 2, "the old one and the new one");
        for text in ["", "avx3", "0x7.0.ebx.32", "0x7.ebx", "0x7.0.abx.1", "7.0.0.ebx.1", "0x100000000.eax.1"]
        {
            assert!(text.parse::<CpuFeature>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_means_one_feature() {
        for name in feature_names() {
            let bits = bits_named(name);
            assert!(bits.len() == 1 || name == "kvmclock", "{name}: {bits:?}");
        }
    }
}
