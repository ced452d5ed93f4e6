//! Pages of the host behind guest memory.

use serde::{Deserialize, Serialize};

use crate::scalar::{Complaint, Scalar, wrong_kind};
use crate::{ByteSize, inline_schema};

/// The backing pages of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum Hugepages {
    /// The kernel's choice (4 KiB pages, transparent huge pages where it grants them).
    Off,
    /// 2 MiB pages of hugetlbfs.
    Size2M,
    /// 1 GiB pages of hugetlbfs.
    Size1G,
}

impl Hugepages {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "hugepages";
    /// What it is, in words.
    pub const EXPECTED: &str = "false, \"2M\" or \"1G\"";

    /// The size of a hugetlbfs page, if hugetlbfs is used.
    pub const fn page_size(self) -> Option<ByteSize> {
        match self {
            Self::Off => None,
            Self::Size2M => Some(ByteSize::from_mib(2)),
            Self::Size1G => Some(ByteSize::from_mib(1024)),
        }
    }
}

impl TryFrom<Scalar> for Hugepages {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        match value {
            Scalar::Bool(false) => Ok(Self::Off),
            Scalar::Bool(true) => Err("say which huge pages: write \"2M\" or \"1G\"".into()),
            Scalar::Text(text) if text == "2M" => Ok(Self::Size2M),
            Scalar::Text(text) if text == "1G" => Ok(Self::Size1G),
            other => Err(wrong_kind(Self::EXPECTED, &other)),
        }
    }
}

impl From<Hugepages> for Scalar {
    fn from(pages: Hugepages) -> Self {
        match pages {
            Hugepages::Off => Self::Bool(false),
            Hugepages::Size2M => Self::Text("2M".into()),
            Hugepages::Size1G => Self::Text("1G".into()),
        }
    }
}

inline_schema!(Hugepages, { "format": Self::FORMAT, "enum": [false, "2M", "1G"] });
