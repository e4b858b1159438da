//! Rankers that may be asked beside a model (E29), by their names.

use super::{Blend, Markov, Neighbours, Ranker, Sequences, Text, Titles, Tuned, ALPHA};
use crate::base::named::named;
use std::sync::Arc;

named! {
    /// A ranker that is fitted on a data set.
    pub enum Fitted: "prior" {
        /// What follows the last item.
        Markov = "markov",
        /// Items that the same users take.
        Knn = "knn",
        /// Nearest titles of the recent history.
        Tfidf = "tfidf",
        /// The weighted sum of these and popularity.
        Blend = "blend",
    }
}

impl Fitted {
    /// Fits it on what may be seen, with the settings that were chosen.
    pub fn fit(self, seen: Sequences<'_>, texts: &[Text<'_>], tuned: &Tuned) -> Box<dyn Ranker> {
        let neighbours = || Neighbours::fit(seen, tuned.neighbours);
        let titles = || Titles::fit(texts, tuned.titles);
        match self {
            Fitted::Markov => Box::new(Markov::fit(seen, ALPHA)),
            Fitted::Knn => Box::new(neighbours()),
            Fitted::Tfidf => Box::new(titles()),
            Fitted::Blend => {
                let markov = Arc::new(Markov::fit(seen, ALPHA));
                let gamma = tuned.titles.gamma;
                let blend = Blend::of(seen, markov, Arc::new(neighbours()), titles(), gamma);
                Box::new(blend.weighted(tuned.blend))
            }
        }
    }

    /// Whether anything of it is chosen on validation events.
    pub fn is_tuned(self) -> bool {
        self != Fitted::Markov
    }

    /// What its scores are divided by before they become probabilities, where nobody tuned that.
    pub fn temperature(self) -> f64 {
        match self {
            Fitted::Markov => 1.0,
            Fitted::Knn => 0.02,
            Fitted::Tfidf => 0.1,
            Fitted::Blend => 0.5,
        }
    }
}
