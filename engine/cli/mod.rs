//! Floor 5: words for people. Flags, settings, progress, exit codes; one file a verb.
//!
//! # How a verb plugs in
//!
//! 1. A file `engine/cli/VERB.rs` with its flags,
//!    `#[derive(clap::Args, Serialize, Deserialize, Clone, Debug)]` under
//!    `#[serde(rename_all = "kebab-case")]`, so that a key of a settings file is the long flag. The
//!    struct's doc comment is the verb's help: what it does, an empty line,
//!    `Example: engine VERB …`. Fields that another run must not inherit (`--resume`) bear
//!    `#[serde(skip)]`.
//! 2. `pub fn run(args: &Verb, global: &Global) -> Result<()>`. Results go to standard output
//!    ([`say::result`]), all else to standard error: [`progress::Progress`] while it runs,
//!    [`Global::note`] for a remark. Neither fails: what could not be said is judged at the end.
//!    It fails with an `anyhow` error that bears a [`crate::base::Fault`]; see [`exit`] for what
//!    becomes of it.
//! 3. A line in [`Verb`] and one in [`Verb::run`].
//!
//! The rest comes by itself: `--config FILE.toml` (see [`settings`]), `--threads`, `--quiet`, the
//! printed settings, exit codes. A verb that writes has [`flags::Overwriting`] among its flags and
//! hands [`Global::outputs`] to the floor below, which claims with it what it will write. A verb
//! that computes opens its device first of all, with [`Global::chosen`]. A signal ends a verb at
//! once and leaves nothing half-written; one that has something to save says so with
//! [`interrupt::asks`], asks for [`interrupt::signal`] between steps and ends with
//! [`interrupt::check`]. `--seed` is global; a verb whose results depend on it
//! declares its own field `seed: u64` (`#[arg(long, default_value_t = 0)]`), which then is what was
//! typed on either side of the verb and stands in its settings.

// Doc comments of flags are their help: brackets there are shapes.
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::private_intra_doc_links,
    rustdoc::invalid_html_tags
)]

pub mod check;
mod choices;
pub mod decode;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod exit;
pub mod flags;
pub mod forward;
pub mod init;
pub mod inspect;
pub mod interrupt;
mod keys;
mod ladder;
pub mod memory;
pub mod merge;
pub mod prepare;
pub mod progress;
pub mod reading;
pub mod say;
pub mod settings;
pub mod sweep;
pub mod train;
mod word;

use crate::base::{Fault, Outputs};
use crate::device::at_first;
use crate::recommender::source::best_place;
use crate::recommender::Place;
use anyhow::Result;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Once;

/// Trains GLM models as recommenders and recommends with them.
#[derive(Parser, Debug)]
#[command(name = "engine", version, subcommand_required = true, arg_required_else_help = true)]
struct Engine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb may know of the command line around it.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Where to compute: cpu, cuda:N, emu [default: the first GPU that the kernels of this binary
    /// run on, otherwise cpu]
    #[arg(long, global = true, value_name = "DEVICE", help_heading = "Everywhere")]
    device: Option<String>,
    /// Worker threads; 0 = one a core
    #[arg(long, global = true, value_name = "N", default_value_t = 0, help_heading = "Everywhere")]
    pub threads: usize,
    /// Decides everything that is random
    #[arg(long, global = true, value_name = "N", default_value_t = 0, help_heading = "Everywhere")]
    pub seed: u64,
    /// Flags of the verb from a TOML file; flags that are typed win
    #[arg(long, global = true, value_name = "FILE.toml", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// No progress and no remarks on standard error
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Errors with the chain of what led to them
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub verbose: bool,
}

impl Global {
    /// The device that was asked for; `None` = the best there is. Refuses words that name none.
    pub fn chosen(&self) -> Result<Option<Place>> {
        self.device.as_deref().map(str::parse).transpose()
    }

    /// The device that was asked for, otherwise the best that this binary and this machine have.
    /// Refuses words that name none.
    pub fn place(&self) -> Result<Place> {
        Ok(self.chosen()?.unwrap_or_else(best_place))
    }

    /// [`Global::place`], for a verb that opens it: says before what a first start waits for.
    pub fn to_open(&self) -> Result<Place> {
        static SAID: Once = Once::new();
        let place = self.place()?;
        if let Place::Cuda(ordinal) = place {
            SAID.call_once(|| at_first(ordinal).iter().for_each(|words| self.note(words)));
        }
        Ok(place)
    }

    /// Says which device was taken where nobody named one.
    pub fn note_device(&self, name: &str) {
        if self.device.is_none() {
            self.note(&format!("device: {name}"));
        }
    }

    /// Says that rows are shorter than `asked`, where they are.
    fn note_rows(&self, asked: Option<usize>, longest: usize) {
        if let Some(asked) = asked.filter(|asked| *asked > longest) {
            self.note(&format!(
                "--max-row {asked}: rows have at most {longest} tokens, as many as the model has \
                positions"
            ));
        }
    }

    /// What a verb writes, and what it may overwrite. The file of settings is read already; to
    /// write it would be its end all the same.
    fn outputs(&self, overwriting: flags::Overwriting) -> Outputs {
        let mut outputs = Outputs::new(overwriting.force);
        if let Some(config) = &self.config {
            outputs.reads("setting `config`", config);
        }
        outputs
    }

    /// A remark on standard error, unless `--quiet`.
    pub fn note(&self, words: &str) {
        if !self.quiet {
            say::remark(words);
        }
    }
}

#[derive(Subcommand, Debug)]
enum Verb {
    Demo(demo::Demo),
    Check(check::Check),
    Prepare(prepare::Prepare),
    Init(init::Init),
    Train(train::Train),
    Decode(decode::Decode),
    Eval(eval::Eval),
    Sweep(sweep::Sweep),
    Forward(forward::Forward),
    Inspect(Box<inspect::Inspect>),
    Merge(merge::Merge),
    Doctor(doctor::Doctor),
}

impl Verb {
    fn run(&self, global: &Global) -> Result<()> {
        match self {
            Verb::Demo(args) => demo::run(args, global),
            Verb::Check(args) => said(args, global, || check::run(args)),
            Verb::Prepare(args) => {
                said(args, global, || prepare::run(args, global.outputs(args.overwriting)))
            }
            Verb::Init(args) => said(args, global, || init::run(args, global)),
            Verb::Train(args) => said(args, global, || train::run(args, global)),
            Verb::Decode(args) => said(args, global, || decode::run(args, global)),
            Verb::Forward(args) => said(args, global, || forward::run(args, global)),
            Verb::Eval(args) => {
                said(args, global, || eval::run(args, global.outputs(args.overwriting)))
            }
            Verb::Sweep(args) => said(args, global, || sweep::run(args, global)),
            Verb::Inspect(args) => inspect::run(args, global),
            Verb::Merge(args) => said(args, global, || merge::run(args, global)),
            Verb::Doctor(args) => doctor::run(args, global),
        }
    }
}

/// Runs a verb after its settings were printed.
fn said(args: &impl Serialize, global: &Global, run: impl FnOnce() -> Result<()>) -> Result<()> {
    global.note(settings::resolved_toml(args)?.trim_end());
    run()
}

/// The whole command line, as `--help` describes it.
pub fn command() -> clap::Command {
    word::ranged(Engine::command())
}

/// Starts the threads that read and count, so that a system that gives none is said at once.
fn start_threads() -> Result<()> {
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| {
        Fault::Device.error(format!(
            "threads: expected threads that can be started, got {error}; raise the limits of this \
            process"
        ))
    })
}

/// Parses the command line, runs the verb and turns its end into a sentence and an exit code.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything is parsed, so that a refused command line obeys as well.
    let verbose = arguments.iter().any(|a| a == "--verbose");
    exit::guard(verbose, || {
        interrupt::listen();
        let matches = settings::parse(command(), arguments)?;
        let engine = Engine::from_arg_matches(&matches)?;
        // A word that names no device is refused by verbs that open none as well.
        engine.global.chosen()?;
        start_threads()?;
        engine.verb.run(&engine.global)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(words: &[&str]) -> Engine {
        Engine::try_parse_from([&["engine"], words].concat()).unwrap()
    }

    #[test]
    fn the_command_line_has_no_clashes() {
        command().debug_assert();
    }

    #[test]
    fn a_verbs_seed_may_stand_on_either_side_of_it() {
        for words in [
            ["--seed", "7", "init", "--model", "c.json", "--out", "x"],
            ["init", "--model", "c.json", "--out", "x", "--seed", "7"],
        ] {
            let engine = engine(&words);
            let Verb::Init(init) = &engine.verb else {
                panic!("expected init, got {:?}", engine.verb)
            };
            assert_eq!((init.seed, engine.global.seed), (7, 7));
        }
    }
}
