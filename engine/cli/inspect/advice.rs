//! What to change so that a plan which does not fit fits: each way is planned like the run itself.

use super::kinds::Base;
use super::memory::PlanFlags;
use crate::base::text::amount;
use crate::base::{Dtype, Fault};
use crate::recommender::budget::Keeps;
use crate::recommender::learning::Tuned;
use crate::recommender::{Place, Storage};

/// A run on a place that has so much memory.
pub struct Wanted<'a> {
    pub flags: &'a PlanFlags,
    pub base: &'a Base,
    pub place: Place,
    pub train: bool,
    pub limit: u64,
}

/// Flags that are typed otherwise, in words.
type Way = (String, PlanFlags);

impl Wanted<'_> {
    /// The refusal of a run that takes `total`, with every change that is enough by itself.
    pub fn refuse(&self, total: u64) -> anyhow::Error {
        let ways = match self.train {
            true => self.ways_to_train(),
            false => self.ways_to_decode(),
        };
        let enough = |(words, flags): Way| {
            let takes = self.takes(&flags).filter(|takes| *takes <= self.limit)?;
            Some(format!("{words} ({})", amount(takes)))
        };
        let mut fitting: Vec<String> = ways.into_iter().filter_map(enough).collect();
        let mut even = String::new();
        if fitting.is_empty() {
            let least = self.least();
            match (enough(least.clone()), self.takes(&least.1)) {
                (Some(words), _) => fitting.push(words),
                (None, Some(takes)) => even = format!("; even {} takes {}", least.0, amount(takes)),
                (None, None) => {}
            }
        }
        fitting.push(format!("memory of {} and more", amount(total)));
        Fault::Device.error(format!(
            "--plan: expected a plan of at most {}, which --limit gives, got {}; what fits: \
            {}{even}",
            amount(self.limit),
            amount(total),
            fitting.join(", or ")
        ))
    }

    fn takes(&self, flags: &PlanFlags) -> Option<u64> {
        flags.takes(self.base, self.place, self.train).ok()
    }

    fn fits(&self, flags: &PlanFlags) -> bool {
        self.takes(flags).is_some_and(|takes| takes <= self.limit)
    }

    /// The largest number below `now`, and from `least` on, with which the run fits.
    fn most(
        &self,
        name: &str,
        (least, now): (usize, usize),
        with: impl Fn(usize) -> PlanFlags,
    ) -> Option<Way> {
        let fits = |number: usize| self.fits(&with(number));
        if least >= now || !fits(least) {
            return None;
        }
        let (mut fitting, mut failing) = (least, now);
        while failing - fitting > 1 {
            let middle = (fitting + failing) / 2;
            *(if fits(middle) { &mut fitting } else { &mut failing }) = middle;
        }
        Some((format!("--{name} {fitting}"), with(fitting)))
    }

    fn longest(&self) -> usize {
        self.flags.max_row.min(self.base.config.max_positions)
    }

    /// With 16-bit weights and activations, where that is not so yet and may be.
    fn narrow(&self) -> Option<Way> {
        let setup = self.flags.setup(self.base, self.place, self.train).ok()?;
        let may = setup.dtype == Dtype::F32 && !(self.train && self.flags.tune == Tuned::Full);
        let flags = PlanFlags { dtype: Some(Storage::Bf16), ..self.flags.clone() };
        may.then(|| ("--dtype bf16".to_owned(), flags))
    }

    fn ways_to_train(&self) -> Vec<Way> {
        let now = self.flags;
        let rows = now.batch_rows.min(now.batch.unwrap_or(128) * self.longest());
        let keep = (now.keep != Keeps::Auto)
            .then(|| ("--keep auto".to_owned(), PlanFlags { keep: Keeps::Auto, ..now.clone() }));
        let fewer = |batch_rows| PlanFlags { batch_rows, ..now.clone() };
        let ranked = |rank| PlanFlags { rank: Some(rank), ..now.clone() };
        let unjudged = (now.validate_every > 0).then(|| {
            ("--validate-every 0".to_owned(), PlanFlags { validate_every: 0, ..now.clone() })
        });
        let adapter = (now.tune == Tuned::Full)
            .then(|| ("--tune lora".to_owned(), PlanFlags { tune: Tuned::Lora, ..now.clone() }));
        let rank = match now.tune {
            Tuned::Lora => self.most("rank", (1, now.rank.unwrap_or(8)), ranked),
            Tuned::Full => None,
        };
        // A row of the longest must have room.
        let rows = self.most("batch-rows", (self.longest(), rows), fewer);
        let ways = [keep, rows, rank, self.narrow(), adapter, unjudged];
        ways.into_iter().flatten().collect()
    }

    fn ways_to_decode(&self) -> Vec<Way> {
        let now = self.flags;
        let batch = |batch| PlanFlags { batch: Some(batch), ..now.clone() };
        let beams = |beams| PlanFlags { beams, ..now.clone() };
        let shorter = |max_row| PlanFlags { max_row, ..now.clone() };
        let ways = [
            self.most("batch", (1, now.batch.unwrap_or(64)), batch),
            self.most("beams", (1, now.beams), beams),
            self.most("max-row", (64, self.longest()), shorter),
            self.narrow(),
        ];
        ways.into_iter().flatten().collect()
    }

    /// The leanest run of all: what is left where no change is enough by itself.
    fn least(&self) -> Way {
        let (now, max_row) = (self.flags.clone(), self.longest().min(256));
        let (words, lean) = match self.train {
            true => {
                let (batch_rows, rank, keep) = (max_row, Some(1), Keeps::Input);
                let lean = PlanFlags { max_row, batch_rows, rank, keep, validate_every: 0, ..now };
                let words = format!(
                    "--max-row {max_row} --batch-rows {max_row} --tune lora --rank 1 --keep input \
                    --validate-every 0"
                );
                (words, PlanFlags { tune: Tuned::Lora, ..lean })
            }
            false => {
                let lean = PlanFlags { max_row, batch: Some(1), ..now };
                (format!("--max-row {max_row} --batch 1"), lean)
            }
        };
        // Weights that are read in place take no memory of their own; a narrower copy does.
        let narrow = self.narrow().map(|(dtype, _)| {
            let flags = PlanFlags { dtype: Some(Storage::Bf16), ..lean.clone() };
            (format!("{words} {dtype}"), flags)
        });
        let ways = [Some((words, lean)), narrow].into_iter().flatten();
        ways.min_by_key(|(_, flags)| self.takes(flags).unwrap_or(u64::MAX)).expect("one at least")
    }
}
