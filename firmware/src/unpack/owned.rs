//! Which parts of some bytes belong to containers that were opened: what looks like something there is chance, or is
//! looked at when it comes out.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of offsets.
#[derive(Debug, Default)]
pub(super) struct Owned {
    /// Ends by starts; the ranges do not touch.
    ranges: BTreeMap<usize, usize>,
}

impl Owned {
    pub(super) fn add(&mut self, range: Range<usize>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        while let Some((from, to)) = self.ranges.range(..=end).next_back().map(|(from, to)| (*from, *to)) {
            if to < start {
                break;
            }
            self.ranges.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.ranges.insert(start, end);
    }

    pub(super) fn contains(&self, offset: usize) -> bool {
        self.ranges.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_the_ends_do_not_belong() {
        let mut owned = Owned::default();
        for range in [10..20, 30..40, 50..60, 18..32, 5..5, 40..45] {
            owned.add(range);
        }
        let inside: Vec<_> = (0..70).filter(|offset| owned.contains(*offset)).collect();
        assert_eq!(inside, (10..45).chain(50..60).collect::<Vec<_>>());
        assert_eq!(owned.ranges.len(), 2);
    }
}
