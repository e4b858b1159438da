//! The CUDA kernels of `engine`: the images that were built and the table of their entry points.
//!
//! This build holds none: the CPU backend is the only device. The crate exists so that a CUDA
//! backend has its place, and so that `engine doctor` can say what the binary contains.

/// The images embedded in this build, by op family. Empty: no CUDA kernel has been built in.
pub const IMAGES: &[(&str, &[u8])] = &[];

/// Whether the host emulator of the kernels is part of this build.
pub const EMULATED: bool = false;
