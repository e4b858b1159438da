//! Trains and runs GLM models (GLM-10B, ChatGLM-6B) as recommenders: a history is text with a
//! blank, the next item is what fills the blank, and a trie over the catalogue lets only items be
//! written.
//!
//! # Floors
//!
//! A room may use the floors below it, never its own floor's other rooms, never a floor above
//! (`tests/floors/rooms.rs`).
//!
//! ```text
//!  floor 5   cli/                        words for people: flags, progress, tables, exit codes
//!  floor 4   recommender/                what a host holds: open, ask, answer, learn, plan
//!  floor 3   train/     decode/   eval/  loops; they never meet
//!  floor 2   model/                      GLM: config, weights, layer, head, lora
//!  floor 1   device/              data/  numbers on chips | meaning on the host; they never meet
//!  floor 0   base/                       dtype, shape, counter RNG, faults, whole files
//! ```
//!
//! | room | may not know | its words |
//! |---|---|---|
//! | [`base`] | anything else of ours | dtype, shape, seed, stream |
//! | [`device`] | token, layer, GLM, item, loss curve | tensor, view, rows, heads, scale, write |
//! | [`data`] | tensor, device, weights | record, entity, span, sample, batch, trie node, rules |
//! | [`model`] | record, entity, trie, beam, kind of chip | layer, position, hidden, adapter |
//! | [`train`] | beam, trie, item | step, loss, gradient, schedule, checkpoint |
//! | [`decode`] | gradient, optimiser | prompt, cache, step, beam, item, score |
//! | [`eval`] | tensor, device, model | prediction, target, rank, metric |
//! | [`recommender`] | flag, terminal, exit code | question, answer, run, budget |
//! | [`cli`] | nothing is hidden from it | flags, progress, exit codes |
//!
//! # Nouns
//!
//! A [`Recommender`] is a model and a data set that belong together: a [`Question`] goes in, an
//! [`Answer`] comes out; [`learn()`] makes its weights. Below it, [`Device`] is the one door to a
//! chip and [`Tensor`] a buffer behind it. [`Dataset`] is a prepared `.bin`: items, users,
//! tokenizer ([`Vocab`]) and [`Trie`]s. A [`Sample`] is rows with positions and targets, the one
//! maker of both for training and for prompts; a [`Batch`] is samples one after another, without
//! padding. [`Config`] says what a model is, [`Checkpoint`] hands out its stored tensors, [`Model`]
//! computes. Every error may bear a [`Fault`] that says whose it is.
//!
//! # In a host program
//!
//! As a process: `engine VERB --help` is the whole interface. Results are on standard output and
//! nothing else is; the exit code says whose fault a failure is; standard error holds one line an
//! error, and nothing at all with `--quiet` unless something is wrong. SIGINT and SIGTERM end a run
//! between two steps. The binary needs glibc, and for a GPU the driver.
//!
//! As a library (`examples/recommend.rs`, `train.rs` and `filter.rs` are whole programs):
//!
//! ```no_run
//! use engine::{Answer, Question, Recommender, Settings};
//!
//! let recommender = Recommender::open(&Settings::new("runs/toys", "toys.bin"))?;
//! let asked = recommender.ask(&Question::history(["Gloom", "Pandemic"]))?;
//! for answered in recommender.answer([&asked])? {
//!     let Answer::Items(items) = answered.answer else { continue };
//!     for found in items {
//!         println!("{:8.3}  {}", found.score, recommender.dataset().item(found.item).surface);
//!     }
//! }
//! # anyhow::Ok(())
//! ```
//!
//! A recommender, a model and a device belong to the thread that uses them, one call at a time; the
//! work inside a call is spread over the device's own threads. Nothing is installed in the process
//! (signal handlers, panic hooks) except by the command line.

// Only `cli::say` knows where lines go, and what to do when they cannot.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

#[deny(missing_docs)]
pub mod base;
#[cfg(feature = "cli")]
pub mod cli;
#[deny(missing_docs)]
pub mod data;
#[deny(missing_docs)]
pub mod decode;
#[deny(missing_docs)]
pub mod device;
#[deny(missing_docs)]
pub mod eval;
#[deny(missing_docs)]
pub mod model;
#[deny(missing_docs)]
pub mod recommender;
#[deny(missing_docs)]
pub mod train;

pub use base::{Dtype, Fault};
pub use data::{Batch, Dataset, Sample, Trie, Vocab};
pub use device::{Device, Tensor};
pub use model::{Checkpoint, Config, Model};
pub use recommender::{learn, Answer, Learning, Question, Recommender, Settings};
