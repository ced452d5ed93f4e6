//! qcow2 images for the target of that name: small ones with every kind of entry.

use std::io::Write;

use super::Outcome;

/// Names and inputs: a count of operations, eight bytes each, and the image.
pub fn samples() -> Outcome<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for (version, bits, order) in
        [(3, 9, 4), (3, 9, 6), (3, 12, 0), (2, 9, 4), (2, 10, 4), (3, 16, 4), (3, 9, 2)]
    {
        let mut image = Image::new(version, bits, order);
        found.push((format!("empty-v{version}-{bits}-{order}"), image.bytes()));
        image.data();
        image.compressed()?;
        if version == 3 {
            image.zeroes();
        }
        found.push((format!("full-v{version}-{bits}-{order}"), image.bytes()));
        if order > 0 {
            image.snapshot();
            found.push((format!("snapshot-v{version}-{bits}-{order}"), image.bytes()));
        }
    }
    Ok(found.into_iter().map(|(name, image)| (name, [operations(), image].concat())).collect())
}

/// A few of each operation, over data that the image has and over what it has not.
fn operations() -> Vec<u8> {
    let places = [[0, 0, 7, 0], [3, 0, 1, 0], [16, 0, 40, 0], [0, 2, 90, 1], [9, 0, 0, 0]];
    let kinds = [3, 0, 6, 5, 4, 7, 0, 6, 3, 5, 0, 4, 6, 7, 3];
    let mut bytes = vec![kinds.len() as u8];
    for (at, kind) in kinds.into_iter().enumerate() {
        let [a, b, c, d] = places[at % places.len()];
        bytes.extend([kind, at as u8, a, b, c, d, (at / 7) as u8, at as u8]);
    }
    bytes
}

/// An image of up to 64 data clusters with one L2 table and one refcount block.
struct Image {
    version: u32,
    bits: u32,
    order: u32,
    /// Clusters from the sixth on, after header, refcount table, refcount block, L1 table and L2 table.
    clusters: Vec<Vec<u8>>,
    l2: Vec<u64>,
    counts: Vec<u64>,
    snapshots: Vec<u8>,
    snapshots_at: u64,
}

const COPIED: u64 = 1 << 63;

impl Image {
    fn new(version: u32, bits: u32, order: u32) -> Self {
        let l2 = vec![0; 8];
        Self {
            version,
            bits,
            order,
            clusters: Vec::new(),
            l2,
            counts: vec![1; 5],
            snapshots: vec![],
            snapshots_at: 0,
        }
    }

    fn cluster(&self) -> usize {
        1 << self.bits
    }

    /// As much as one L2 table describes, in at most 4 MiB.
    fn disk(&self) -> u64 {
        (self.cluster() * self.cluster() / 8).min(4 << 20) as u64
    }

    fn add(&mut self, mut bytes: Vec<u8>) -> u64 {
        bytes.resize(self.cluster(), 0);
        self.clusters.push(bytes);
        self.counts.push(1);
        (self.counts.len() as u64 - 1) << self.bits
    }

    fn data(&mut self) {
        for at in 0..2 {
            self.l2[at] = self.add(vec![0x11 * (at as u8 + 1); self.cluster()]) | COPIED;
        }
    }

    fn compressed(&mut self) -> Outcome {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&vec![0x33; self.cluster()])?;
        let offset = self.add(encoder.finish()?);
        // One sector.
        self.l2[2] = 1 << 62 | offset;
        Ok(())
    }

    fn zeroes(&mut self) {
        self.l2[3] = 1;
        self.l2[4] = self.add(vec![0x44; self.cluster()]) | COPIED | 1;
    }

    /// Lets a snapshot share everything that is there.
    fn snapshot(&mut self) {
        let l1 = self.add((4u64 << self.bits).to_be_bytes().to_vec());
        for entry in &mut self.l2 {
            *entry &= !COPIED;
        }
        for count in &mut self.counts[4..] {
            *count = 2;
        }
        let own = self.counts.len() - 1;
        self.counts[own] = 1;
        let mut entry = l1.to_be_bytes().to_vec();
        entry.extend(1u32.to_be_bytes());
        entry.extend([0, 1, 0, 1]);
        entry.extend([0; 20]);
        entry.extend(16u32.to_be_bytes());
        entry.extend([0; 8]);
        entry.extend(self.disk().to_be_bytes());
        entry.extend(b"1s\0\0\0\0\0\0");
        self.snapshots_at = self.add(entry.clone());
        self.snapshots = entry;
    }

    fn bytes(&self) -> Vec<u8> {
        let size = self.cluster();
        let at = |cluster: u64| (cluster << self.bits).to_be_bytes();
        let mut header = b"QFI\xfb".to_vec();
        header.extend(self.version.to_be_bytes());
        header.extend([0; 12]);
        header.extend(self.bits.to_be_bytes());
        header.extend(self.disk().to_be_bytes());
        header.extend([0; 4]);
        header.extend(1u32.to_be_bytes());
        header.extend(at(3));
        header.extend(at(1));
        header.extend(1u32.to_be_bytes());
        header.extend(u32::from(!self.snapshots.is_empty()).to_be_bytes());
        header.extend(self.snapshots_at.to_be_bytes());
        if self.version == 3 {
            header.extend([0; 24]);
            header.extend(self.order.to_be_bytes());
            header.extend(104u32.to_be_bytes());
        }
        let shared = !self.snapshots.is_empty();
        let mut block = vec![0u8; size];
        for (index, &count) in self.counts.iter().enumerate() {
            let order = if self.version == 2 { 4 } else { self.order };
            let bit = index << order;
            match order {
                0..3 => block[bit / 8] |= (count as u8) << (bit % 8),
                _ => {
                    let len = 1 << (order - 3);
                    block[bit / 8..][..len].copy_from_slice(&count.to_be_bytes()[8 - len..]);
                }
            }
        }
        let l1 = (4u64 << self.bits | if shared { 0 } else { COPIED }).to_be_bytes();
        let l2 = self.l2.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        let mut bytes = Vec::new();
        for mut cluster in
            [header, at(2).to_vec(), block, l1.to_vec(), l2].into_iter().chain(self.clusters.clone())
        {
            cluster.resize(size, 0);
            bytes.append(&mut cluster);
        }
        bytes
    }
}
