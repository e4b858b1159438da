//! Intra ids: within an entity of part A (R23), and in part B by the automaton over the entity pool
//! (R27-R33), one function for trainer and decoder.

use super::span::Unit;
use super::trie::Trie;

/// Id of `[START]` (R24).
pub const START_ID: u32 = 1;

/// Where the automaton stands inside a span. Three small integers; beams fork by copying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntraState {
    /// The node of the pool that the tokens of the current unit lead to.
    pub node: u32,
    /// Whether the unit that counts on from `[START]` is still being read.
    pub first: bool,
    /// Length of the current run of separate tokens (`grow`), or of the span so far (`glm`);
    /// otherwise 0.
    pub run: u32,
}

/// Flags R26, R30, R31, R32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntraMode {
    /// What numbers part B.
    pub ids: Ids,
    /// After a failed match look for an entity that begins inside it; otherwise begin anew behind
    /// it (R30).
    pub rescan: bool,
    /// 1 or 2: the id with which the later units of a span begin (R31).
    pub restart: u32,
    /// A run of separate tokens counts as one unit (R32).
    pub plain_grow: bool,
}

/// What numbers part B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// The automaton.
    Entity,
    /// 1…l+1 across the span, as GLM was trained (R26).
    Glm,
}

impl IntraMode {
    /// GLM's own numbering of part B.
    pub const GLM: IntraMode =
        IntraMode { ids: Ids::Glm, rescan: true, restart: 1, plain_grow: false };
}

impl Default for IntraMode {
    fn default() -> Self {
        IntraMode { ids: Ids::Entity, rescan: true, restart: 1, plain_grow: false }
    }
}

/// Ids of the tokens of an entity in part A; all other tokens there have 0 (R23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncIntra {
    /// 1…n.
    #[default]
    One,
    /// 0…n−1.
    Zero,
    /// 0, as GLM.
    Off,
}

impl EncIntra {
    /// The id of token number `k` (from 0) of an entity.
    pub const fn id(self, k: u32) -> u32 {
        match self {
            EncIntra::One => k + 1,
            EncIntra::Zero => k,
            EncIntra::Off => 0,
        }
    }
}

/// The automaton that numbers the tokens of a span of part B.
///
/// An id depends on the tokens of the span so far and on nothing else: the trainer folds
/// [`Intra::step`] over the target, the decoder calls it once a produced token. `[END]` and other
/// special tokens are never fed (R33).
#[derive(Clone, Debug)]
pub struct Intra<'a> {
    /// The entities that are recognised.
    pub pool: Trie<'a>,
    /// The rules of numbering.
    pub mode: IntraMode,
    /// [nodes] R27; empty where the mode asks for none.
    failure: Vec<u32>,
    /// [nodes]
    depth: Vec<u32>,
}

impl<'a> Intra<'a> {
    /// The automaton over `pool`, which must have passed [`Trie::check`] if it came from a file.
    /// `O(nodes)` but for pathological pools.
    pub fn new(pool: Trie<'a>, mode: IntraMode) -> Intra<'a> {
        assert!(
            (1..=2).contains(&mode.restart),
            "Intra::new: restart must be 1 or 2, got {}",
            mode.restart
        );
        let (mut depth, mut failure) = (Vec::new(), Vec::new());
        if mode.ids == Ids::Entity {
            depth = pool.depths();
            if mode.rescan {
                failure = failure_links(&pool);
            }
        }
        Intra { pool, mode, failure, depth }
    }

    /// The state after `[START]`, whose id is [`START_ID`].
    pub fn start(&self) -> IntraState {
        IntraState { node: Trie::ROOT, first: true, run: 0 }
    }

    /// The state after `[START]` and these tokens of a span.
    pub fn after(&self, tokens: &[u32]) -> IntraState {
        tokens.iter().fold(self.start(), |state, &token| self.step(state, token).0)
    }

    /// The id with which `token` is fed back, and the state after it (R28). Amortised `O(1)` trie
    /// look-ups.
    pub fn step(&self, state: IntraState, token: u32) -> (IntraState, u32) {
        let IntraState { mut node, mut first, run } = state;
        if self.mode.ids == Ids::Glm {
            return (IntraState { run: run + 1, ..state }, run + 1 + START_ID);
        }
        loop {
            // What the first unit counts on from; with restart 2 every unit does as if [START]
            // preceded it.
            let offset = |first: bool| u32::from(first || self.mode.restart == 2);
            if let Some(child) = self.pool.child(node, token) {
                // A run of separate tokens that stood before this was a unit of its own.
                let first = first && run == 0;
                let id = self.depth[child as usize] + offset(first);
                return (IntraState { node: child, first, run: 0 }, id);
            }
            if node == Trie::ROOT {
                if self.mode.plain_grow {
                    return (IntraState { node, first, run: run + 1 }, run + 1 + offset(first));
                }
                return (IntraState { node, first: false, run: 0 }, 1 + offset(first));
            }
            first = false;
            node = if self.mode.rescan { self.failure[node as usize] } else { Trie::ROOT };
        }
    }

    /// The ids of the tokens of one span (R24): `ids[i]` belongs to `tokens[i]`; `[START]`'s is not
    /// among them.
    pub fn ids<'t>(&self, tokens: &'t [u32]) -> impl Iterator<Item = u32> + use<'_, 't, 'a> {
        let mut state = self.start();
        tokens.iter().map(move |&token| {
            let (next, id) = self.step(state, token);
            state = next;
            id
        })
    }

    /// The ids that somebody gives who knows where the entities of a span are: `units` partition
    /// it. What decoding cannot know, and so an ablation of training alone: where the tokens of the
    /// span allow other units than these, the automaton gives other ids.
    pub fn annotated_ids(&self, units: &[Unit]) -> Vec<u32> {
        let mut ids = Vec::new();
        let (mut first, mut run) = (true, 0);
        for (place, unit) in units.iter().enumerate() {
            // A run of separate tokens is one unit where they grow.
            let grows = self.mode.plain_grow && !unit.entity;
            first &= place == 0 || (grows && run as usize == place);
            run = if grows { run + 1 } else { 0 };
            let offset = u32::from(first || self.mode.restart == 2);
            ids.extend((1..=unit.len).map(|k| if grows { run } else { k } + offset));
        }
        match self.mode.ids {
            Ids::Glm => (2..=ids.len() as u32 + 1).collect(),
            Ids::Entity => ids,
        }
    }
}

/// R27. For the path p of a node let c be the length of its longest terminal prefix (p itself
/// included), 1 without one; the link is where the machine gets to from the root on p without its
/// first c tokens.
fn failure_links(pool: &Trie) -> Vec<u32> {
    let mut failure = vec![Trie::ROOT; pool.nodes()];
    for node in 0..pool.nodes() as u32 {
        for child in pool.children(node) {
            // A terminal path is its own longest prefix: nothing remains. One token: nothing
            // remains either.
            if node == Trie::ROOT || pool.is_terminal(child) {
                continue;
            }
            // Otherwise c is the parent's, so the machine goes on from the parent's link. What it
            // asks on its way is shallower than `child`, hence known.
            let token = pool.token(child);
            let mut at = failure[node as usize];
            failure[child as usize] = loop {
                match pool.child(at, token) {
                    Some(next) => break next,
                    None if at == Trie::ROOT => break Trie::ROOT,
                    None => at = failure[at as usize],
                }
            };
        }
    }
    failure
}
