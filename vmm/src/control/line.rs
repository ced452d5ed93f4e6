//! A stream of bytes taken apart into lines of bounded length.

/// Longest line, in bytes without its end.
pub(crate) const LONGEST: usize = 64 << 10;

/// Bytes that have arrived and were not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    waiting: Vec<u8>,
    /// How many of them are known to hold no end of a line.
    searched: usize,
    /// The rest of a line that was too long is dropped.
    skipping: bool,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes, without the end.
    Whole(Vec<u8>),
    /// It has more than [`LONGEST`].
    TooLong,
}

impl Lines {
    /// Takes in what was received. The caller receives no more while [`Self::is_full`].
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Whether lines must be taken before more is received.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() > LONGEST
    }

    /// The next line that has arrived whole, or is known to be too long.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let unseen = self.waiting.get(self.searched..).unwrap_or_default();
            let end = unseen.iter().position(|byte| *byte == b'\n').map(|at| at + self.searched);
            let Some(end) = end else {
                self.searched = self.waiting.len();
                if self.skipping {
                    self.forget();
                } else if self.is_full() {
                    self.forget();
                    self.skipping = true;
                    return Some(Line::TooLong);
                }
                return None;
            };
            let rest = self.waiting.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.waiting, rest);
            self.searched = 0;
            line.pop();
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Some(if line.len() > LONGEST { Line::TooLong } else { Line::Whole(line) });
        }
    }

    /// Whether [`Self::next`] may have one.
    pub(crate) fn has_whole(&self) -> bool {
        self.is_full() || self.waiting.get(self.searched..).unwrap_or_default().contains(&b'\n')
    }

    /// All that arrived behind the last line.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.waiting)
    }

    fn forget(&mut self) {
        self.searched = 0;
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.give(chunk);
            found.extend(std::iter::from_fn(|| lines.next()));
        }
        found
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_found_across_chunks() {
        assert_eq!(lines(&[b"a", b"b\n\nc", b"d", b"\ne"]), [whole("ab"), whole(""), whole("cd")]);
    }

    #[test]
    fn one_that_is_too_long_is_told_of_once_and_the_next_one_counts() {
        let long = vec![b'x'; LONGEST];
        assert_eq!(lines(&[&long, b"\n"]), [Line::Whole(long.clone())]);
        assert_eq!(lines(&[&long, b"x", &long, b"yz\nnext\n"]), [Line::TooLong, whole("next")]);
        assert_eq!(lines(&[&[&long[..], b"xx\nnext\n"].concat()]), [Line::TooLong, whole("next")]);
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..500),
            cut in prop::collection::vec(1_usize..50, 1..20),
        ) {
            let mut chunks = Vec::new();
            let (mut rest, mut sizes) = (text.as_slice(), cut.iter().cycle());
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                chunks.push(chunk);
                rest = more;
            }
            let expected: Vec<_> = text
                .split_inclusive(|byte| *byte == b'\n')
                .filter_map(|line| line.strip_suffix(b"\n"))
                .map(|line| Line::Whole(line.to_vec()))
                .collect();
            prop_assert_eq!(lines(&chunks), expected);
        }
    }
}
