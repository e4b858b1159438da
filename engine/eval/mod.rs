//! Floor 3: how good predictions are. Needs no model and no chip: a predictions file and the `.bin`
//! it was made for.
//!
//! [`predictions`] reads the file, [`evaluation`] compares it with [`truth`] and with
//! [`baseline`]s, [`report`] keeps the result, which [`markdown`] and [`html`] show; [`ladder`]
//! compares several. The metrics
//! themselves stand alone: [`ranking`], [`yes_no`], [`grounding`], [`rating`], [`bleu`], [`rouge`].

pub mod answers;
pub mod baseline;
pub mod bleu;
pub mod bootstrap;
pub mod chart;
pub mod curve;
pub mod evaluation;
pub mod grounding;
pub mod html;
pub mod ladder;
pub mod law;
pub mod markdown;
pub mod predictions;
pub mod ranking;
pub mod rating;
pub mod report;
pub mod rouge;
pub mod table;
pub mod text;
pub mod threshold;
pub mod truth;
pub mod yes_no;
