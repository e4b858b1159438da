//! Laws of the data: trie, automaton, spans, samples, batches, text. Expected rows:
//! `golden/positions.json`.

mod automaton;
mod golden;
mod real;
mod sample;
mod text;
mod trie;
