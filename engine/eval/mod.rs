//! Floor 3: how good predictions are. Needs no model and no chip: a predictions file and the `.bin`
//! it was made for.
//!
//! [`predictions`] reads the file, [`evaluation`] compares it with [`truth`] and with
//! [`baseline`]s, several files with one another ([`paired`]) or as a [`ladder`]; [`report`] keeps
//! the result, which [`table`] and [`paper`] lay out and [`markdown`], [`tex`] and [`html`] show.
//! The metrics themselves stand alone: [`ranking`], [`yes_no`], [`grounding`], [`rating`],
//! [`bleu`], [`rouge`].

mod alone;
pub mod answers;
pub mod apart;
pub mod asked;
pub mod baseline;
pub mod bleu;
pub mod bootstrap;
pub mod chart;
pub mod checks;
pub mod curve;
pub mod evaluation;
pub mod grounding;
pub mod html;
pub mod ladder;
pub mod law;
mod lists;
pub mod markdown;
mod overlap;
pub mod paired;
pub mod paper;
pub mod part;
pub mod predictions;
pub mod published;
pub mod rank_chart;
pub mod ranking;
pub mod rating;
pub mod report;
pub mod rouge;
pub mod score;
pub mod sheet;
pub mod spread;
pub mod table;
pub mod tables;
pub mod tex;
pub mod text;
pub mod threshold;
pub mod truth;
pub mod yes_no;
