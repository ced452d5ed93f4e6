//! Sharing the trials out among several emulated hosts.

/// A part of the trials: `--shard INDEX/COUNT`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Everything.
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// Reads `INDEX/COUNT`.
    pub fn parse(text: &str) -> Option<Self> {
        let (index, count) = text.split_once('/')?;
        let count = count.parse().ok().filter(|count| (1..=16).contains(count))?;
        let index: usize = index.parse().ok().filter(|index| (1..=count).contains(index))?;
        Some(Self { index: index - 1, count })
    }

    /// Takes `--shard` out of the arguments of the test program.
    ///
    /// # Errors
    /// When its value makes no sense.
    pub fn take(arguments: &mut Vec<String>) -> Result<Self, String> {
        let Some(position) = arguments.iter().position(|each| each == "--shard") else {
            return Ok(Self::ALL);
        };
        let text = arguments.get(position + 1).cloned().unwrap_or_default();
        arguments.drain(position..(position + 2).min(arguments.len()));
        Self::parse(&text).ok_or_else(|| format!("--shard wants INDEX/COUNT such as 1/2, not '{text}'"))
    }

    /// Which of the trials are ours, given how long each takes: the longest first, each to the part that
    /// has least to do. Trials that need much memory go to the first part.
    pub fn select(self, trials: &[(u32, bool)]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..trials.len()).collect();
        let cost = |index: usize| trials.get(index).copied().unwrap_or_default();
        order.sort_by_key(|&index| (!cost(index).1, std::cmp::Reverse(cost(index).0)));
        let mut loads = vec![0_u32; self.count];
        let mut ours = vec![false; trials.len()];
        for index in order {
            let (seconds, large) = cost(index);
            let least = loads.iter().enumerate().min_by_key(|(_, load)| **load);
            let part = if large { 0 } else { least.map_or(0, |(part, _)| part) };
            if let Some(load) = loads.get_mut(part) {
                *load = load.saturating_add(seconds);
            }
            if let Some(mine) = ours.get_mut(index) {
                *mine = part == self.index;
            }
        }
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::Shard;

    #[test]
    fn every_trial_is_in_one_part() {
        let trials: Vec<_> = (0..17).map(|index| (index * 7 % 50, index % 5 == 0)).collect();
        for count in 1..5 {
            let parts: Vec<_> = (0..count).map(|index| Shard { index, count }.select(&trials)).collect();
            for (index, &(_, large)) in trials.iter().enumerate() {
                assert_eq!(parts.iter().filter(|part| part[index]).count(), 1);
                assert!(!large || parts[0][index]);
            }
        }
    }

    #[test]
    fn arguments_are_taken_out() {
        let mut arguments = ["e2e", "--shard", "2/3", "name"].map(str::to_owned).to_vec();
        assert_eq!(Shard::take(&mut arguments), Ok(Shard { index: 1, count: 3 }));
        assert_eq!(arguments, ["e2e", "name"]);
        assert_eq!(Shard::take(&mut arguments), Ok(Shard::ALL));
        for wrong in ["", "0/2", "3/2", "a", "1/0", "1/99"] {
            assert!(Shard::take(&mut vec!["--shard".into(), wrong.into()]).is_err(), "{wrong}");
        }
    }
}
