//! Laws of the data: trie, automaton, spans, samples, batches, text. Expected rows:
//! `golden/positions.json`.

#[path = "data/automaton.rs"]
mod automaton;
#[path = "data/golden.rs"]
mod golden;
#[path = "data/real.rs"]
mod real;
#[path = "data/sample.rs"]
mod sample;
#[path = "data/text.rs"]
mod text;
#[path = "data/trie.rs"]
mod trie;
