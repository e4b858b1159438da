//! What everybody takes.

use super::{Asked, Ranker, Sequences};

/// How often items occur.
pub struct Popularity {
    counts: Vec<f64>,
}

impl Popularity {
    /// Counts the items.
    pub fn fit(seen: Sequences<'_>) -> Popularity {
        Popularity { counts: seen.counts() }
    }
}

impl Ranker for Popularity {
    fn name(&self) -> &'static str {
        "popularity"
    }

    fn score(&self, _asked: Asked<'_>, scores: &mut [f64]) {
        scores.copy_from_slice(&self.counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_occurs_often_comes_first() {
        let users: [&[u32]; 2] = [&[0, 1, 1], &[1, 2]];
        let popularity = Popularity::fit(Sequences { users: &users, items: 4 });
        let mut scores = vec![0.0; 4];
        popularity.score(Asked::default(), &mut scores);
        assert_eq!(scores, [1.0, 3.0, 1.0, 0.0]);
    }
}
