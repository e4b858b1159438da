//! Floor 4: what a host holds. A [`Recommender`] is a model, a data set and the rules between them:
//! questions go in, answers come out; [`learn()`] makes one. No flag, terminal or exit code is
//! known here.

pub mod answer;
pub mod batch;
pub mod budget;
pub mod check;
mod course;
pub mod create;
pub mod decided;
pub mod decision_weight;
pub mod families;
mod fitted;
pub mod id;
pub mod identity;
mod idle;
pub mod job;
pub mod learn;
pub mod learning;
pub mod learnt;
pub mod line;
pub mod merge;
pub mod open;
pub mod parity;
mod popular;
pub mod predictions;
pub mod prepare;
pub mod prior;
pub mod question;
pub mod queue;
pub mod ranges;
pub mod report;
pub mod run;
pub mod settings;
mod sheet;
pub mod shop;
pub mod source;
pub mod specimen;
pub mod sweep;
mod teaching;
mod validation;
pub mod weights;
mod written;
mod yes_no;

pub use answer::{Answer, Answered, Output, Scored, Written};
pub use learn::{learn, Learned, Watch};
pub use learning::Learning;
pub use open::Recommender;
pub use question::{Asked, Question, Wishes};
pub use settings::{Answers, Settings};
pub use source::{Source, Storage};

pub use crate::base::Outputs;
pub use crate::data::names::Name;
pub use crate::data::records::SplitPolicy;
pub use crate::data::rules::{self, Rules, Wanted};
pub use crate::data::task::{Listing, RatingTargets, Split};
pub use crate::data::Family;
pub use crate::device::Place;
