//! `engine decode`: flags become a job, its progress becomes lines.

use super::interrupt;
use super::progress::Progress;
use super::say;
use super::settings::of_flags;
use super::Global;
use crate::base::Fault;
use crate::recommender::batch::{self, Watch};
use crate::recommender::job::Job;
use crate::recommender::predictions::claim;
use crate::recommender::Recommender;
use anyhow::Result;

pub use super::flags::Decode;

/// Streams the best items of every user or prompt, in the order in which they were asked.
pub fn run(args: &Decode, global: &Global) -> Result<()> {
    if args.data.is_none() {
        return Err(Fault::Usage.error(
            "--data: expected the prepared .bin, got none; name it: the catalogue, tokenizer and \
             tries are in it, and prompts need them as well",
        ));
    }
    let mut job: Job = of_flags(args);
    let source = &mut job.settings.source;
    (source.device, source.threads) = (Some(global.to_open()?), global.threads);
    let held = claim(&job, global.outputs(args.overwriting), args.resume)?;
    let recommender = Recommender::open(&job.settings)?;
    global.note_device(recommender.model().device.name());
    if let Some(adapter) = &args.adapter {
        let linears = recommender.adapted();
        let how = if args.merge { "merged into the weights" } else { "adapted" };
        global.note(&format!("adapter: {}: {linears} linears {how}", adapter.display()));
    }
    let rules = recommender.rules();
    match &rules.learnt {
        Some((run, _)) => global.note(&format!("rules of {}: {}", run.display(), rules.asked)),
        None => global.note(&format!("rules, as no run tells others: {}", rules.asked)),
    }
    for difference in &rules.differences {
        global.note(&format!("rules: {difference}, as asked"));
    }
    if let Some(companion) = recommender.companion() {
        global.note(&format!("prior: {}", companion.words()));
        companion.said.iter().for_each(|words| global.note(&format!("prior: {words}")));
    }
    global.note_rows(args.rows.max_row, recommender.longest_row());
    recommender.origin().other_base.iter().for_each(say::warning);
    interrupt::asks();
    let unit = if args.prompts.is_some() { "prompts" } else { "users" };
    let mut watch = Shown { global, unit, bar: None };
    let stop = || interrupt::signal().is_some();
    let done = batch::run(&recommender, &job, &held, args.resume, stop, &mut watch)?;
    if let Some(bar) = watch.bar {
        bar.finish();
    }
    if done.cost.prompt_rows > 0 {
        let each = |rows: usize| rows as f64 / done.questions as f64;
        let (rows, prompts) = (each(done.cost.rows), each(done.cost.prompt_rows));
        let passes = done.cost.passes;
        global.note(&format!(
            "search: {rows:.1} rows each behind prompts of {prompts:.1}, in {passes} passes"
        ));
    }
    if done.refused > 0 {
        let refused = done.refused;
        global
            .note(&format!("decode: {refused} prompts could not be answered; their lines say why"));
    }
    if !done.cut.is_nothing() {
        global.note(&format!("truncated: of {} {unit}, {}", done.questions, done.cut));
    }
    interrupt::check()
}

/// A batch as people see it.
struct Shown<'a> {
    global: &'a Global,
    unit: &'static str,
    bar: Option<Progress>,
}

impl Watch for Shown<'_> {
    fn begun(&mut self, total: Option<usize>, done: usize) {
        let total = total.unwrap_or(0) as u64;
        let mut bar = Progress::new("decode", total, self.unit, self.global.quiet);
        bar.resume_at(done as u64);
        self.bar = Some(bar);
    }

    fn answered(&mut self, questions: usize) {
        if let Some(bar) = &mut self.bar {
            bar.advance(questions as u64);
        }
    }
}
