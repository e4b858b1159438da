//! The memory plan of a run as a table, and the flags that decide it.

use super::super::word::{size, word};
use super::kinds::Base;
use super::sheet::{bytes, Cell, Sheet};
use crate::base::text::{amount, grouped};
use crate::base::{Dtype, Fault};
use crate::model::plan::{
    decoding_plan, training_plan, Decoding, Part, Peak, Setup, Training, TrainingPlan,
};
use crate::model::{Keep, LoraConfig, Rates, Tune};
use crate::recommender::budget::{training, Beams, Budget, Keeps, VALIDATION_GROUP};
use crate::recommender::learning::Tuned;
use crate::recommender::{Place, Storage};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What decides the memory of a run, under the names that `train` and `decode` give it.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "With --plan")]
#[group(requires = "plan")]
pub struct PlanFlags {
    /// What is trained: an adapter or every weight
    #[arg(long, default_value = "lora", value_parser = word::<Tuned>())]
    pub tune: Tuned,
    /// Rank of the adapter [default: 8 in training; in decoding that of the adapter, if PATH is
    /// one]
    #[arg(long)]
    pub rank: Option<usize>,
    /// In decoding: the adapter becomes a part of the weights
    #[arg(long)]
    pub merge: bool,
    /// Linears that take an adapter
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "query_key_value,dense,dense_h_to_4h,dense_4h_to_h"
    )]
    pub targets: Vec<String>,
    /// Train both position tables beside the adapter
    #[arg(long)]
    pub train_positions: bool,
    #[arg(long, default_value_t = 0.0)]
    pub lora_dropout: f32,
    /// Dropout of embeddings and sub-layer outputs [default: the config's with --tune full,
    /// otherwise 0]
    #[arg(long)]
    pub dropout: Option<f32>,
    /// Dropout of attention probabilities [default: as --dropout]
    #[arg(long)]
    pub attention_dropout: Option<f32>,
    /// What a layer keeps for its backward; auto = the most that fits --limit; the table below the
    /// plan compares all
    #[arg(long, default_value = "auto", value_parser = word::<Keeps>())]
    pub keep: Keeps,
    /// Examples of a step [default: 128], or users decoded together [default: 64]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Rows computed at once in training
    #[arg(long, default_value_t = 8192)]
    pub batch_rows: usize,
    /// Rows of a sample or prompt at most
    #[arg(long, default_value_t = 1024)]
    pub max_row: usize,
    /// Steps between validations; 0 = none, and none is planned
    #[arg(long, default_value_t = 200)]
    pub validate_every: u64,
    /// Users of a validation; 0 = all
    #[arg(long, default_value_t = 500)]
    pub validate_users: usize,
    /// Beams of a validation
    #[arg(long, default_value_t = 10)]
    pub validate_beams: usize,
    /// Beams in decoding
    #[arg(long, default_value_t = 20)]
    pub beams: usize,
    /// Tokens that a beam produces
    #[arg(long, default_value_t = 16)]
    pub item_tokens: usize,
    /// Storage of weights and activations [default: f32 on the CPU and with --tune full, otherwise
    /// bf16]
    #[arg(long, value_parser = word::<Storage>())]
    pub dtype: Option<Storage>,
    /// Memory that there is: 80G is 80·10⁹ bytes, 80Gi is 80·2³⁰
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub limit: Option<u64>,
}

impl PlanFlags {
    pub(super) fn setup(&self, base: &Base, place: Place, train: bool) -> Result<Setup> {
        let lora = |rank: usize| -> Result<Tune> {
            let targets = LoraConfig::targets_of(&self.targets, Fault::Usage, "--targets")?;
            let config = LoraConfig { rank, targets, ..LoraConfig::default() };
            Ok(Tune::Lora { config, positions: self.train_positions })
        };
        let tune = match (train, self.rank, &base.adapter) {
            (true, ..) if self.tune == Tuned::Full => Tune::Full,
            (true, rank, _) => lora(rank.unwrap_or(8))?,
            (false, Some(rank), _) => lora(rank)?,
            (false, None, Some((config, positions))) => {
                Tune::Lora { config: config.clone(), positions: *positions }
            }
            (false, None, None) => Tune::Nothing,
        };
        let (tune, merged) =
            match (self.merge, tune) {
                (false, tune) => (tune, Vec::new()),
                (true, Tune::Lora { config, .. }) if !train => (Tune::Nothing, config.targets),
                (true, _) => return Err(Fault::Usage.error(
                    "--merge: expected --plan decode and an adapter or --rank, got another plan; \
                    leave it out",
                )),
            };
        let dtype = self.dtype.unwrap_or_else(|| Storage::of(place, &tune)).dtype();
        if tune == Tune::Full && dtype != Dtype::F32 {
            return Err(Fault::Usage.error(format!(
                "--tune full: expected --dtype f32, got {dtype}; all weights are masters then"
            )));
        }
        let named = match base.config.torch_dtype.as_deref() {
            Some("float16") => Some(Dtype::F16),
            Some("bfloat16") => Some(Dtype::Bf16),
            Some("float32") => Some(Dtype::F32),
            _ => None,
        };
        Ok(Setup {
            config: base.config.clone(),
            tune,
            merged,
            dtype,
            stored: base.stored.or(named).unwrap_or(dtype),
            mapped: place.reads_maps(),
            own_head: base.own_head,
            // Of a device that nobody describes, one that is large.
            capacity: match place.has_own_memory() {
                true => self.limit.unwrap_or(u64::MAX),
                false => 0,
            },
        })
    }

    /// What a training or decoding run of `base` on `place` takes at its fullest.
    pub fn takes(&self, base: &Base, place: Place, train: bool) -> Result<u64> {
        let setup = self.setup(base, place, train)?;
        Ok(match train {
            true => self.training(&setup).2.peak().usage.total(),
            false => self.decoding(&setup).usage.total(),
        })
    }

    /// The plan of a training or decoding run of `base` on `place`, and what the run takes.
    pub fn plan(&self, base: &Base, place: Place, train: bool) -> Result<(Sheet, u64)> {
        let setup = self.setup(base, place, train)?;
        // Rows are numbered by 32 bits; plans of more would count past 64.
        let prompts = if train { VALIDATION_GROUP } else { self.batch.unwrap_or(64) };
        let beams = if train { self.validate_beams } else { self.beams };
        let rows = prompts * self.longest(&setup).max(beams * self.item_tokens);
        if rows > u32::MAX as usize {
            return Err(Fault::Usage.error(format!(
                "--plan: expected at most {} rows of prompts or beams at once, got {rows}; lower \
                --batch, --max-row, --beams or --item-tokens",
                u32::MAX
            )));
        }
        let mut sheet = Sheet::default();
        sheet.plain("plan", if train { "train" } else { "decode" });
        sheet.plain("device", place.to_string());
        sheet.plain("dtype", setup.dtype.name());
        sheet.fact("weights stored", setup.stored, setup.stored.name());
        let mapped = setup.frozen().1 as u64;
        if mapped > 0 {
            sheet.fact(
                "weights mapped",
                format!("{}, read in place, not counted", amount(mapped)),
                mapped,
            );
        }
        sheet.count("trained values", setup.trained());
        if let Some(limit) = self.limit {
            sheet.bytes("limit", limit);
        }
        let takes = match train {
            true => self.train(&setup, &mut sheet),
            false => self.decode(&setup, &mut sheet),
        };
        if let Some(limit) = self.limit {
            let fits = takes <= limit;
            sheet.fact("fits", if fits { "yes" } else { "no" }, fits);
        }
        Ok((sheet, takes))
    }

    fn answering(&self, setup: &Setup, beams: usize) -> Beams {
        let choices = setup.config.vocabulary;
        Beams { beams, tokens: self.item_tokens, choices, look_ahead: true, legal: false }
    }

    fn longest(&self, setup: &Setup) -> usize {
        self.max_row.min(setup.config.max_positions)
    }

    /// The largest micro-batch of a training run.
    fn rows(&self, setup: &Setup) -> usize {
        self.batch_rows.min(self.batch.unwrap_or(128) * self.longest(setup))
    }

    /// A step of so many rows that keeps so much.
    fn step(&self, setup: &Setup, keep: Keep, rows: usize) -> Training {
        let rates = Rates::of(&setup.tune, &setup.config, self.dropout, self.attention_dropout);
        training(keep, rows, 0, rates, self.lora_dropout)
    }

    /// What a training run keeps, its validations, and what it takes.
    fn training(&self, setup: &Setup) -> (Keep, Option<Decoding>, TrainingPlan) {
        let rows = self.rows(setup);
        let users = if self.validate_users == 0 { VALIDATION_GROUP } else { self.validate_users };
        let budget = Budget::limited(setup.clone(), self.limit.unwrap_or(u64::MAX));
        let validation = (self.validate_every > 0).then(|| {
            let lengths = vec![self.longest(setup); users.min(VALIDATION_GROUP)];
            let answering = self.answering(setup, self.validate_beams);
            let prompts = budget.together(&lengths, answering);
            answering.plan(prompts, prompts * self.longest(setup))
        });
        let step = |keep: Keep| self.step(setup, keep, rows);
        let keep = self.keep.keep().unwrap_or_else(|| budget.keep(step));
        let plan = training_plan(setup, &step(keep), validation.as_ref());
        (keep, validation, plan)
    }

    /// The fullest moment of decoding.
    fn decoding(&self, setup: &Setup) -> Peak {
        let prompts = self.batch.unwrap_or(64);
        let rows = prompts * self.longest(setup);
        decoding_plan(setup, &self.answering(setup, self.beams).plan(prompts, rows))
    }

    fn train(&self, setup: &Setup, sheet: &mut Sheet) -> u64 {
        let rows = self.rows(setup);
        let (keep, validation, plan) = self.training(setup);
        sheet.plain("keep", keep.name());
        sheet.fact("rows at once", grouped(rows as u64), rows);
        sheet.plain("fullest in", plan.step.moment);
        let total = |name: &str, peak: &Peak, sheet: &mut Sheet| {
            let total = peak.usage.total();
            let words = format!("{}{}", amount(total), self.verdict(total));
            sheet.fact(name, words, total);
        };
        total("step", &plan.step, sheet);
        if let (Some(peak), Some(decoding)) = (&plan.validation, &validation) {
            sheet.fact(
                "validation of",
                format!("{} prompts of {} rows", decoding.prompts, self.longest(setup)),
                decoding.prompt_rows,
            );
            total("validation", peak, sheet);
        }
        sheet.table(
            "parts",
            parts_columns(plan.validation.is_some()),
            parts(&plan.step, plan.validation.as_ref()),
        );
        let mut columns = vec!["keep", "bytes a row and layer", "saved", "step"];
        if self.limit.is_some() {
            columns.extend(["fits", "rows that fit"]);
        }
        let rows_of = Keep::ALL.map(|keep| {
            let of = |rows| training_plan(setup, &self.step(setup, keep, rows), None);
            let plan = of(rows);
            let total = plan.step.usage.total();
            let each = plan.kept / (rows * setup.config.layers) as u64;
            let each = Cell(grouped(each), each.into());
            let mut cells = vec![
                Cell(keep.name().into(), keep.name().into()),
                each,
                bytes(plan.kept),
                bytes(total),
            ];
            if let Some(limit) = self.limit {
                let fits = total <= limit;
                let most = most(|rows| of(rows).step.usage.total() <= limit);
                cells.push(Cell(if fits { "yes" } else { "no" }.into(), fits.into()));
                cells.push(Cell(grouped(most as u64), most.into()));
            }
            cells
        });
        sheet.table("keeps", &columns, rows_of.into());
        plan.peak().usage.total()
    }

    fn decode(&self, setup: &Setup, sheet: &mut Sheet) -> u64 {
        let peak = self.decoding(setup);
        let (prompts, total) = (self.batch.unwrap_or(64), peak.usage.total());
        sheet.fact("prompts", format!("{prompts} of {} rows", self.longest(setup)), prompts);
        sheet.plain("fullest in", peak.moment);
        sheet.fact("total", format!("{}{}", amount(total), self.verdict(total)), total);
        sheet.table("parts", parts_columns(false), parts(&peak, None));
        total
    }

    fn verdict(&self, total: u64) -> &'static str {
        match self.limit {
            None => "",
            Some(limit) if total <= limit => ", fits",
            Some(_) => ", does not fit",
        }
    }
}

fn parts_columns(validation: bool) -> &'static [&'static str] {
    if validation {
        &["part", "bytes", "in a validation"]
    } else {
        &["part", "bytes"]
    }
}

/// A row for each part that holds anything at the fullest moment, and the total.
fn parts(peak: &Peak, validation: Option<&Peak>) -> Vec<Vec<Cell>> {
    let row = |name: &str, of: &dyn Fn(&Peak) -> u64| {
        let mut cells = vec![Cell(name.into(), Value::from(name)), bytes(of(peak))];
        cells.extend(validation.map(|peak| bytes(of(peak))));
        cells
    };
    let held = |part: &Part| {
        peak.usage.of(*part) > 0
            || validation.is_some_and(|validation| validation.usage.of(*part) > 0)
    };
    let parts = Part::ALL.iter().filter(|part| held(part));
    let mut rows: Vec<Vec<Cell>> =
        parts.map(|part| row(part.name(), &|peak| peak.usage.of(*part))).collect();
    rows.push(row("total", &|peak| peak.usage.total()));
    rows
}

/// The largest number of rows for which `fits` holds; it holds for all below.
fn most(fits: impl Fn(usize) -> bool) -> usize {
    let (mut fitting, mut failing) = (0, 1 << 24);
    while failing - fitting > 1 {
        let middle = (fitting + failing) / 2;
        *(if fits(middle) { &mut fitting } else { &mut failing }) = middle;
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits_is_found() {
        for bound in [0, 1, 2, 8191, 8192, 100_000] {
            assert_eq!(most(|rows| rows <= bound), bound);
        }
    }
}
