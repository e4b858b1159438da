//! The laws that the sources themselves are held to. Nothing here links the crate.

mod rooms;
