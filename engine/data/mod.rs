//! Floor 1, the host's side: what tokens mean. Never meets `device`.

pub mod affinity;
pub mod batch;
pub mod catalogue;
pub mod dataset;
pub mod family;
pub mod form;
pub mod free;
pub mod intra;
pub mod legal;
pub mod names;
pub mod numeral;
pub mod rank;
pub mod record;
pub mod records;
pub mod rules;
pub mod sample;
pub mod source;
pub mod span;
pub mod split;
pub mod task;
pub mod template;
pub mod text;
pub mod texts;
pub mod trie;
pub mod vocab;
pub mod words;

pub use batch::{Batch, Choices};
pub use dataset::Dataset;
pub use family::Family;
pub use intra::{EncIntra, Intra, IntraMode, IntraState};
pub use names::Names;
pub use sample::{Among, Cut, Sample, SampleBuilder, Target};
pub use trie::Trie;
pub use vocab::{Special, Vocab};
