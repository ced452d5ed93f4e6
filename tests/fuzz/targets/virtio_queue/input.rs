//! How an input's bytes say what the driver does before it starts the device.

/// A queue as the driver sets it up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueSetup {
    /// Descriptors, a power of two up to 256.
    pub(crate) size: u16,
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
}

/// A write to the function's BAR.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegisterWrite {
    pub(crate) offset: u16,
    /// 1, 2, 4 or 8 bytes.
    pub(crate) len: usize,
    pub(crate) value: u64,
}

/// What comes before the memory: device (1 byte), features but those of the transport (4), transport features (1, bit 0 indirect
/// descriptors, bit 1 event index), number of register writes (1, of which 8 count), 7 bytes for each, and 7 bytes for
/// the queues, of which each next one lies 0x1000 higher.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) device: u8,
    pub(crate) features: u64,
    pub(crate) writes: Vec<RegisterWrite>,
    first: QueueSetup,
}

impl Input {
    /// The input, and the memory behind it.
    pub(crate) fn parse(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&[device, f0, f1, f2, f3, transport, count], mut data) = data.split_first_chunk()?;
        let features =
            u64::from(u32::from_le_bytes([f0, f1, f2, f3]) & 0xff_ffff) | u64::from(transport & 3) << 28;
        let mut writes = Vec::new();
        for _ in 0..count % 9 {
            let (&[offset0, offset1, len, v0, v1, v2, v3], rest) = data.split_first_chunk()?;
            data = rest;
            writes.push(RegisterWrite {
                offset: u16::from_le_bytes([offset0, offset1]),
                len: 1 << (len & 3),
                value: u64::from(u32::from_le_bytes([v0, v1, v2, v3])),
            });
        }
        let (&[size, d0, d1, a0, a1, u0, u1], memory) = data.split_first_chunk()?;
        let place = |low, high| u64::from(u16::from_le_bytes([low, high])) << 1;
        let first = QueueSetup {
            size: 1 << (size % 9),
            desc: place(d0, d1) << 3 & 0x1_fff0,
            avail: place(a0, a1),
            used: place(u0, u1) << 1,
        };
        Some((Self { device, features, writes, first }, memory))
    }

    /// As many queues as there may be.
    pub(crate) fn queues(&self) -> impl Iterator<Item = QueueSetup> {
        let QueueSetup { size, desc, avail, used } = self.first;
        (0..0x1_0000_u64).map(move |index| {
            let moved = |place: u64| place + 0x1000 * index;
            QueueSetup { size, desc: moved(desc), avail: moved(avail), used: moved(used) }
        })
    }
}
