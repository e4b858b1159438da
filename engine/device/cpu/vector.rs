//! Vector code: the loops of this room are compiled for x86-64-v3 whatever the crate is compiled
//! for, and run only where the processor has it.
//!
//! [`vector`] is the door: what is inlined into it is compiled for that level, all else for the
//! level of the crate. So work that is handed to `Threads`, and every function with arithmetic that
//! it calls, says `#[inline(always)]` and is called from loops, not from the closures of iterators;
//! a function that is to stay one of its own has the attribute of the door. What forgets this is
//! right and ten times as slow: `tests/binary.rs` finds it in the machine code.

use crate::base::Fault;
use anyhow::Result;

/// Refuses a processor without x86-64-v3. All of this room runs on `Threads`, and these begin here.
pub(super) fn check() -> Result<()> {
    match suffices() {
        true => Ok(()),
        false => Err(Fault::Device.error(
            "processor: expected x86-64-v3 (AVX2, FMA, F16C, BMI2), got an older one; run on a \
            processor of 2013 or later, or a virtual machine that passes these through",
        )),
    }
}

#[cfg(target_arch = "x86_64")]
fn suffices() -> bool {
    macro_rules! all {
        ($($feature:tt)*) => { $(std::is_x86_feature_detected!($feature))&&* };
    }
    all!("avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "movbe")
}

#[cfg(not(target_arch = "x86_64"))]
fn suffices() -> bool {
    true
}

/// Runs `work` as vector code.
#[inline(always)]
pub(super) fn vector(work: impl FnMut()) {
    #[cfg_attr(
        target_arch = "x86_64",
        target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,movbe")
    )]
    fn inside(mut work: impl FnMut()) {
        work();
    }
    debug_assert!(suffices());
    #[allow(unused_unsafe)] // outside x86-64 `inside` is a function like any other
    // SAFETY: the processor has what `inside` asks for: `check` has refused all others.
    unsafe {
        inside(work);
    }
}
