//! Intra ids of part B: the automaton over the entity pool (R27-R33), one function for trainer and decoder.

use super::trie::Trie;

/// Where the automaton stands inside a span. Three small integers; beams fork by copying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntraState {
    pub node: u32,
    pub first: bool,
    /// Length of the current run of separate tokens (`grow` and `glm` only).
    pub run: u32,
}

/// Flags R26, R30, R31, R32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntraMode {
    pub ids: Ids,
    pub rescan: bool,
    /// 1 or 2.
    pub restart: u32,
    pub plain_grow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    Entity,
    Glm,
}

impl Default for IntraMode {
    fn default() -> Self {
        IntraMode { ids: Ids::Entity, rescan: true, restart: 1, plain_grow: false }
    }
}

pub struct Intra<'a> {
    pub pool: Trie<'a>,
    pub mode: IntraMode,
}

impl<'a> Intra<'a> {
    pub fn new(_pool: Trie<'a>, _mode: IntraMode) -> Intra<'a> {
        todo!()
    }
    /// The state after [START] (whose id is 1).
    pub fn start(&self) -> IntraState {
        todo!()
    }
    /// The id with which `token` is fed back, and the state after it.
    pub fn step(&self, _state: IntraState, _token: u32) -> (IntraState, u32) {
        todo!()
    }
}
