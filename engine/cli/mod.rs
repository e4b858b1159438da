//! Floor 4: words for people. One file a verb: a struct of flags and `run`.

pub mod data;
pub mod decode;
pub mod demo;
pub mod eval;
pub mod init;
mod interrupt;
pub mod prepare;
mod settings;
pub mod train;

use crate::base::Fault;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains and runs GLM models as recommenders.
#[derive(Parser, Debug)]
#[command(name = "engine", version, about, subcommand_required = true, arg_required_else_help = true)]
struct Engine {
    /// Where to compute: cpu
    #[arg(long, global = true, default_value = "cpu", value_name = "DEVICE")]
    device: String,
    /// Worker threads; 0 = one a core
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Flags of the verb from a TOML file; flags on the command line win
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// No progress on standard error
    #[arg(long, global = true)]
    quiet: bool,
    /// Errors with the chain of what led to them
    #[arg(long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// The whole tour on a synthetic shop in about a minute
    Demo(demo::Demo),
    /// Raw data into one .bin
    Prepare(prepare::Prepare),
    /// A randomly initialised checkpoint folder from a config
    Init(init::Init),
    /// Trains an adapter or all weights
    Train(train::Train),
    /// Scores items for every user: one JSON line each
    Decode(decode::Decode),
    /// Metrics from a predictions file; needs no model
    Eval(eval::Eval),
}

/// What every verb may know of the command line around it.
#[derive(Clone, Debug)]
pub struct Global {
    pub device: String,
    pub threads: usize,
    pub quiet: bool,
}

/// Parses the command line, runs the verb and turns its error into a sentence and an exit code.
pub fn main() -> ExitCode {
    if let Some(missing) = missing_instructions() {
        eprintln!("engine: processor: expected AVX2, FMA and F16C, got none of {missing}; this binary needs an x86-64-v3 machine");
        return ExitCode::from(5);
    }
    let arguments: Vec<String> = std::env::args().collect();
    let arguments = match settings::with_config(Engine::command(), arguments) {
        Ok(arguments) => arguments,
        Err(error) => return fail(&error, false),
    };
    let matches = match Engine::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let engine = Engine::from_arg_matches(&matches).expect("clap checked these arguments");
    let global = Global { device: engine.device, threads: engine.threads, quiet: engine.quiet };
    let result = match engine.verb {
        Verb::Demo(args) => demo::run(&args, &global),
        Verb::Prepare(args) => prepare::run(&args),
        Verb::Init(args) => init::run(&args),
        Verb::Train(args) => train::run(&args, &global),
        Verb::Decode(args) => decode::run(&args, &global),
        Verb::Eval(args) => eval::run(&args),
    };
    match result {
        Ok(()) => match interrupt::signal() {
            Some(signal) => ExitCode::from(128 + signal as u8),
            None => ExitCode::SUCCESS,
        },
        Err(error) => fail(&error, engine.verbose),
    }
}

fn fail(error: &anyhow::Error, verbose: bool) -> ExitCode {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    if io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let words = if verbose { format!("{error:?}") } else { format!("{error:#}").replace('\n', " ") };
    let _ = writeln!(std::io::stderr(), "engine: {words}");
    let full = io.is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull);
    ExitCode::from(match Fault::of(error) {
        Some(Fault::Usage) => 2,
        Some(Fault::Data) => 3,
        Some(Fault::Model) => 4,
        Some(Fault::Device) => 5,
        Some(Fault::Check) => 6,
        None if full => 5,
        None => 1,
    })
}

fn missing_instructions() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let all = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        if !all {
            return Some("avx2, fma, f16c together");
        }
    }
    None
}
