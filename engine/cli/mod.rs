pub mod eval;
pub mod prepare;
