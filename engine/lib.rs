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
//!  floor 4   cli/                        words for people: flags, progress, tables, exit codes
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
//! | [`data`] | tensor, device, weights | record, entity, span, sample, batch, trie node |
//! | [`model`] | record, entity, trie, beam, the kind of chip | layer, position, context, hidden, adapter |
//! | [`train`] | beam, trie, item | step, loss, gradient, schedule, checkpoint |
//! | [`decode`] | gradient, optimiser | prompt, cache, step, beam, item, score |
//! | [`eval`] | tensor, device, model | prediction, target, rank, metric |
//! | [`cli`] | nothing is hidden from it | flags, progress, exit codes |
//!
//! # Nouns
//!
//! [`Device`] is the one door to a chip and [`Tensor`] a buffer behind it. [`Dataset`] is a
//! prepared `.bin`: items, users, tokenizer ([`Vocab`]) and [`Trie`]s. A [`Sample`] is rows with
//! positions and targets, the one maker of both for training and for prompts; a [`Batch`] is
//! samples one after another, without padding. [`Config`] says what a model is, [`Checkpoint`]
//! hands out its stored tensors, [`Model`] computes. [`Prompt`] goes in, [`Finished`] sequences
//! come out. Every error may bear a [`Fault`] that says whose it is.
//!
//! # In a host program
//!
//! As a process: `engine VERB --help` is the whole interface. Results are on standard output and
//! nothing else is; the exit code says whose fault a failure is ([`cli::exit`]); standard error
//! holds one line an error, and nothing at all with `--quiet` unless something is wrong. SIGINT and
//! SIGTERM end a run between two steps. The binary needs glibc, and for a GPU the driver.
//!
//! As a library:
//!
//! ```no_run
//! use engine::device::Device;
//! use engine::model::{Checkpoint, Config, Tune};
//! use engine::{Dataset, Dtype, Finished, Model, Prompt};
//! use std::path::Path;
//!
//! # fn prompts(_: &Dataset) -> Vec<Prompt> { Vec::new() }
//! # fn main() -> anyhow::Result<()> {
//! let device = Device::open("cpu", 0)?;
//! let weights = Path::new("weights/glm-10b");
//! let config = Config::read(&weights.join("config.json"))?;
//! let model = Model::load(&device, config, Checkpoint::open(weights)?, Dtype::F32, &Tune::Nothing, 0)?;
//! let dataset = Dataset::open(Path::new("toys.bin"))?;
//! let (trie, intra) = (dataset.catalogue(), engine::data::Intra::new(dataset.pool(), Default::default()));
//! let rules = engine::decode::Rules {
//!     trie: &trie,
//!     intra: &intra,
//!     end: dataset.vocab().special().end,
//!     width: 20,
//!     length_penalty: 1.0,
//!     look_ahead: true,
//! };
//! let (answers, _cost): (Vec<Vec<Finished>>, _) = engine::decode::recommend(&model, rules, &prompts(&dataset))?;
//! for best in answers.iter().filter_map(|found| found.first()) {
//!     let items: Vec<&str> = trie.members(best.node).iter().map(|&item| dataset.item(item).surface).collect();
//!     println!("{items:?} {}", best.score);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A model and a device belong to the thread that uses them one call at a time; the work inside a
//! call is spread over the device's own threads. Nothing is installed in the process (signal
//! handlers, panic hooks) except by [`cli`].

#[deny(missing_docs)]
pub mod base;
pub mod cli;
#[deny(missing_docs)]
pub mod data;
pub mod decode;
#[deny(missing_docs)]
pub mod device;
#[deny(missing_docs)]
pub mod eval;
#[deny(missing_docs)]
pub mod model;
pub mod train;

pub use base::{Dtype, Fault};
pub use data::{Batch, Dataset, Sample, Trie, Vocab};
pub use decode::{Finished, Prompt};
pub use device::{Device, Tensor};
pub use model::{Checkpoint, Config, Model};
