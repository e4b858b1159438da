//! The real binary, from outside: its verbs, as a filter, killed and resumed; and the scripts under
//! tools/.

mod claims;
mod cli;
mod cuts;
mod examples;
mod families;
mod identity;
mod inspect;
mod interrupt;
mod maps;
mod mistakes;
mod numbers;
mod outputs;
mod prior;
mod prompts;
mod resume;
mod rules;
#[path = "../support/families.rs"]
mod shelves;
#[path = "../support/shop.rs"]
mod shop;
mod streams;
mod sweep;
mod tools;
