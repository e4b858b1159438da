//! What the name of a device means: read once, here, and asked about by its kind from then on.

use crate::base::{choose, Fault};
use std::fmt;
use std::str::FromStr;

/// A kind of device, and which one of its kind. Written `cpu`, `cuda:N` (`cuda` is `cuda:0`) and
/// `emu:SEED` (`emu` is `emu:0`).
///
/// ```
/// use engine::device::Place;
/// assert_eq!("cuda".parse::<Place>()?, Place::Cuda(0));
/// assert_eq!(Place::Cuda(1).to_string(), "cuda:1");
/// assert!("gpu".parse::<Place>().is_err());
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The host: its cores and its memory.
    Cpu,
    /// GPU number n.
    Cuda(usize),
    /// The emulator of the CUDA kernels on the host; the seed draws the order of threads.
    Emu(u64),
}

impl Place {
    /// Whether a memory-mapped checkpoint is read in place, without a copy.
    pub fn reads_maps(self) -> bool {
        self == Place::Cpu
    }

    /// Whether it has memory that no other program needs to live in, as a host's is.
    pub fn has_own_memory(self) -> bool {
        matches!(self, Place::Cuda(_))
    }

    /// Whether a host plays a GPU, much too slowly for anything but to show that it works.
    pub fn is_emulated(self) -> bool {
        matches!(self, Place::Emu(_))
    }

    /// Whether products of 16-bit operands are what it does best: the kernels' tensor cores.
    pub fn has_tensor_cores(self) -> bool {
        self != Place::Cpu
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    /// Refuses what is not such a name.
    fn from_str(name: &str) -> anyhow::Result<Place> {
        let (kind, which) = match name.split_once(':') {
            Some((kind, which)) => (kind, Some(which)),
            None => (name, None),
        };
        let place = match (kind, which) {
            ("cpu", None) => Some(Place::Cpu),
            ("cuda", which) => which.unwrap_or("0").parse().ok().map(Place::Cuda),
            ("emu", which) => which.unwrap_or("0").parse().ok().map(Place::Emu),
            _ => None,
        };
        place.ok_or_else(|| {
            let advice = choose(kind, ["cpu", "cuda", "emu"]);
            Fault::Usage.error(format!(
                "setting `device`: expected cpu, cuda:N or emu, got {name:?}; {advice}"
            ))
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Cpu => f.write_str("cpu"),
            Place::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Place::Emu(0) => f.write_str("emu"),
            Place::Emu(seed) => write!(f, "emu:{seed}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_its_name_says() {
        for (name, place) in [
            ("cpu", Place::Cpu),
            ("cuda:0", Place::Cuda(0)),
            ("cuda:12", Place::Cuda(12)),
            ("emu", Place::Emu(0)),
            ("emu:7", Place::Emu(7)),
        ] {
            assert_eq!(name.parse::<Place>().unwrap(), place);
            assert_eq!(place.to_string(), name);
        }
        for name in ["", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "emu:", "emu:1:2", "gpu", "CPU"] {
            let refused = name.parse::<Place>().unwrap_err();
            assert_eq!(Fault::of(&refused), Some(Fault::Usage));
            let words = format!("setting `device`: expected cpu, cuda:N or emu, got {name:?}; ");
            assert!(refused.to_string().starts_with(&words), "{refused}");
        }
    }
}
