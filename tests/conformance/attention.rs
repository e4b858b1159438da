//! Rotary positions, attention and its cache.

use crate::Case;

pub const CASES: &[Case] = &[];
