//! `engine train`: flags become settings, a run's progress becomes lines.

use super::interrupt;
use super::progress::Progress;
use super::say;
use super::settings::of_flags;
use super::Global;
use crate::base::text::amount;
use crate::recommender::learn::{learn, Begun, End, Report, Watch};
use crate::recommender::learning::Learning;
use anyhow::Result;

pub use super::flags::Train;

/// Trains and leaves a run folder.
pub fn run(args: &Train, global: &Global) -> Result<()> {
    let settings = Learning {
        device: Some(global.to_open()?),
        threads: global.threads,
        keep_checkpoints: args.keep_checkpoints,
        max_minutes: args.max_minutes,
        ..of_flags(args)
    };
    let (batch, rows) = (args.batch, args.rows.max_row);
    let mut watch = Shown { global, batch, rows, bar: None, measure: "", begun: false };
    let learned = learn(&settings, global.outputs(args.overwriting), args.resume, &mut watch)?;
    if let Some(bar) = watch.bar {
        bar.finish();
    }
    let why = match learned.end {
        End::Done => "done",
        End::NoGain => "no gain for --patience validations",
        End::TimeIsUp => "--max-minutes reached; --resume goes on",
        End::Interrupted => "interrupted, state saved; --resume goes on",
    };
    let state = learned.state;
    let best = state.best.map_or(String::new(), |(score, step)| {
        format!(", best {} {score:.4} at step {step}", watch.measure)
    });
    global.note(&format!("memory: peak {}", amount(learned.peak)));
    if !state.cut.is_nothing() {
        let examples = state.step * args.batch as u64;
        global.note(&format!("truncated: of {examples} examples, {}", state.cut));
    }
    say::result(&format!("{why}: {} steps, {:.0} s{best}\n", state.step, state.seconds));
    interrupt::check()
}

/// A run as people see it.
struct Shown<'a> {
    global: &'a Global,
    /// Examples of a step.
    batch: usize,
    /// Tokens of a row at most, where somebody asked for a number.
    rows: Option<usize>,
    bar: Option<Progress>,
    /// What validations measure.
    measure: &'static str,
    begun: bool,
}

impl Watch for Shown<'_> {
    fn begun(&mut self, begun: &Begun) {
        interrupt::asks();
        self.measure = begun.measure;
        self.global.note_device(&begun.device);
        say::result(&format!("run: {}\n", begun.run.display()));
        self.global.note(&format!(
            "{} examples an epoch, {} trained values, {} steps of {} examples, validation by {} on \
            {}",
            begun.examples, begun.trained, begun.steps, self.batch, begun.measure, begun.validated
        ));
        begun.families.iter().chain(&begun.idle).for_each(|line| self.global.note(line));
        self.global.note_rows(self.rows, begun.longest_row);
        self.global.note(&begun.memory);
        self.bar = Some(Progress::new("train", begun.steps, "steps", self.global.quiet));
    }

    fn step(&mut self, report: &Report) {
        let Some(bar) = &mut self.bar else { return };
        if !self.begun {
            bar.resume_at(report.step - 1);
            self.begun = true;
        }
        bar.message(format!(
            "loss {:.4}  rate {:.2e}  norm {:.2}  {:.0} tokens/s",
            report.loss, report.learning_rate, report.gradient_norm, report.tokens_per_second
        ));
        bar.advance(1);
        if let Some(score) = report.validation {
            let (step, seconds, measure) = (report.step, report.seconds, self.measure);
            bar.note(&format!("step {step}: {measure} {score:.4} after {seconds:.0} s"));
        }
    }

    fn stop(&mut self) -> bool {
        interrupt::signal().is_some()
    }
}
