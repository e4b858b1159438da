//! A ranker that is asked beside the model (E29): which one, what it is fitted on, how the two
//! count, and what a run knows of that. What it says joins the answers in `ask`; its weights are
//! found on validation users in `fit`.

mod ask;
mod fit;
mod table;
mod tuned;
mod wish;

pub use fit::Fit;
pub use tuned::{Balanced, PRIOR};
pub use wish::{Prior, PRIOR_TOP};

pub use crate::data::rank::Fusion;

pub(super) use fit::find;
pub(super) use table::Read as Table;

use super::settings::Settings;
use super::source::Origin;
use crate::base::Fault;
use crate::data::rank::{Balance, Ranker, Sequences, Tuned};
use crate::data::task::Split;
use crate::data::Dataset;
use crate::eval::baseline::{chosen, texts};
use crate::eval::truth::Truth;
use anyhow::Result;
use serde_json::{json, Value};
use std::path::Path;
use std::sync::OnceLock;

/// What a table's scores are divided by before they become probabilities, where nobody tuned that.
const TEMPERATURE: f64 = 1.0;

/// A ranker beside a model, opened with it.
pub struct Companion {
    /// Which.
    pub prior: Prior,
    /// How the two become one.
    pub fusion: Fusion,
    /// N.
    pub top: usize,
    /// How much each counts.
    pub balance: Balance,
    /// What somebody should know of the choice: a sentence each.
    pub said: Vec<String>,
    seed: u64,
    table: Option<Table>,
    tuned: OnceLock<Tuned>,
    /// Fitted on what each split shows, when it is first asked.
    fitted: [OnceLock<Knowing>; 2],
}

/// A ranker that is fitted.
pub(super) struct Knowing {
    ranker: Box<dyn Ranker>,
    /// How often each item was taken.
    counts: Vec<f64>,
}

impl Companion {
    /// The ranker that `settings` name, with the weights that one of the folders has for it, where
    /// one does: the first that has any. `None` where no ranker is asked for. Refuses weights that
    /// were found on another data set, and a table that is none.
    pub fn open<'a>(
        settings: &Settings,
        dataset: &Dataset,
        folders: impl IntoIterator<Item = &'a Path>,
        origin: &Origin,
    ) -> Result<Option<Companion>> {
        let (answers, prior) = (&settings.answers, &settings.answers.prior);
        if *prior == Prior::None {
            return Ok(None);
        }
        prior.check("prior")?;
        let table = prior.file().map(|path| Table::of("prior", path, dataset)).transpose()?;
        let hash = table.as_ref().map(|table| table.hash.as_str());
        let mut said = Vec::new();
        let mut known = None;
        for folder in folders {
            if let Some(balanced) = Balanced::beside(folder)? {
                let place = folder.join(PRIOR).display().to_string();
                let own = balanced.prior == prior.kind() && balanced.file.as_deref() == hash;
                match own {
                    true => known = Some((balanced, place)),
                    false => said.push(format!(
                        "{place} is about {}, not about {prior}, and is not used",
                        balanced.prior
                    )),
                }
                break;
            }
        }
        let mut usual = usual(prior);
        let (mut fusion, mut top) = (Fusion::Sum, PRIOR_TOP);
        let tuned = OnceLock::new();
        if let Some((balanced, place)) = &known {
            expect_data(balanced, place, dataset)?;
            (fusion, top) = (balanced.fusion, balanced.prior_top);
            let differ = |name: &str, before: &str, now: &str| {
                format!("setting `{name}` was {before} in {place} and is {now}, as asked")
            };
            if let Some(asked) = answers.fusion.filter(|asked| *asked != fusion) {
                said.push(differ("fusion", fusion.name(), asked.name()));
            }
            if let Some(asked) = answers.prior_top.filter(|asked| *asked != top) {
                said.push(differ("prior-top", &top.to_string(), &asked.to_string()));
            }
            let model = hash_of(&origin.weights.hash(), origin.adapter.as_ref().map(|a| a.hash()));
            if model != balanced.model {
                said.push(format!(
                    "{place} was found for another model ({}) than this one ({model}); find the \
                    weights anew by setting `fit-prior`",
                    balanced.model
                ));
            }
            let weighed = balanced.rules.of(answers.fusion.unwrap_or(fusion));
            usual = weighed.weights;
            said.push(format!(
                "weights of {place}, NDCG@10 {:.4} of {} validation users",
                weighed.worth.ndcg, balanced.users
            ));
            let _ = tuned.set(balanced.tuned);
        } else {
            said.push(
                "no run has weights for it: model and prior count alike; setting `fit-prior` \
                finds better ones"
                    .to_owned(),
            );
        }
        Ok(Some(Companion {
            prior: prior.clone(),
            fusion: answers.fusion.unwrap_or(fusion),
            top: answers.prior_top.unwrap_or(top),
            balance: usual,
            said,
            seed: settings.source.seed,
            table,
            tuned,
            fitted: [OnceLock::new(), OnceLock::new()],
        }))
    }

    /// `settings` with what was decided, so that they say it themselves.
    pub fn within(&self, mut settings: Settings) -> Settings {
        settings.answers.fusion = Some(self.fusion);
        settings.answers.prior_top = Some(self.top);
        settings
    }

    /// What it is and how it counts, in words.
    pub fn words(&self) -> String {
        let Companion { prior, fusion, top, balance, .. } = self;
        let Balance { model, prior: own, intercept, slope, temperature } = balance;
        let more = match fusion {
            Fusion::Sum => String::new(),
            Fusion::Or => format!(", temperature {temperature}"),
            Fusion::Confident => {
                format!(", σ({intercept} + {slope} q) of it, temperature {temperature}")
            }
        };
        format!("{prior}, its best {top}, fused by {fusion}: model {model}, prior {own}{more}")
    }

    /// Everything of it that decides answers; `seen` data are another part of an identity.
    pub fn identity(&self, dataset: &Dataset) -> Value {
        json!({
            "kind": self.prior.kind(), "file": self.table.as_ref().map(|table| &table.hash),
            "weights": self.balance, "tuned": self.tuned(dataset),
        })
    }

    /// The ranker's own settings: those of the run, otherwise chosen as a report's baselines are.
    fn tuned(&self, dataset: &Dataset) -> &Tuned {
        self.tuned.get_or_init(|| match &self.prior {
            Prior::Fitted(fitted) if fitted.is_tuned() => chosen(&Truth::of(dataset), self.seed),
            _ => Tuned::default(),
        })
    }

    /// The ranker as it may be asked for a split: fitted on the events that the split shows.
    pub(super) fn knowing(&self, dataset: &Dataset, split: Split) -> &Knowing {
        let at = usize::from(split == Split::Validation);
        self.fitted[at].get_or_init(|| {
            let users = shown(dataset, split);
            let seen = Sequences { users: &users, items: dataset.items() };
            match (&self.prior, &self.table) {
                (Prior::Fitted(fitted), _) => {
                    let truth = Truth::of(dataset);
                    let tuned = self.tuned(dataset);
                    let ranker = fitted.fit(seen, &texts(&truth), tuned);
                    Knowing { ranker, counts: seen.counts() }
                }
                (_, Some(table)) => {
                    let (ranker, counts) = table.ranker(seen.counts());
                    Knowing { ranker: Box::new(ranker), counts }
                }
                _ => unreachable!("a table was read when it was opened"),
            }
        })
    }
}

/// The events that a split shows of every user, which those may see who answer for it: all before
/// the one that is asked for, and all of users who have none.
fn shown(dataset: &Dataset, split: Split) -> Vec<&[u32]> {
    dataset.sequences(split.into())
}

/// How model and ranker count where nobody found out.
fn usual(prior: &Prior) -> Balance {
    Balance::usual(match prior {
        Prior::Fitted(fitted) => fitted.temperature(),
        Prior::None | Prior::File(_) => TEMPERATURE,
    })
}

/// What a model is called: the hash of its weights, and of its adapter behind a plus.
fn hash_of(weights: &str, adapter: Option<String>) -> String {
    adapter.map_or(weights.to_owned(), |adapter| format!("{weights}+{adapter}"))
}

/// Refuses weights that were found on another data set.
fn expect_data(balanced: &Balanced, place: &str, dataset: &Dataset) -> Result<()> {
    let (made, given) = (balanced.data_hash, dataset.hash());
    if made == given {
        return Ok(());
    }
    Err(Fault::Data.error(format!(
        "setting `prior`: {place}: expected weights that were found on {} ({given:08x}), got those \
        of another .bin ({made:08x}); find them anew by setting `fit-prior`, or take the file away",
        dataset.name()
    )))
}
