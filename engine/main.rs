//! Checks the processor, then hands over to the command line.
//!
//! The library is compiled for x86-64-v3. On an older processor its first instruction of that level
//! would end the process with a signal and no word, so the check stands here and itself does next
//! to nothing.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_arch = "x86_64")]
    if !processor::suffices() {
        return processor::refuse();
    }
    engine::cli::main()
}

#[cfg(target_arch = "x86_64")]
mod processor {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::io::Write;
    use std::process::ExitCode;

    const FMA: u32 = 1 << 12;
    const MOVBE: u32 = 1 << 22;
    const OSXSAVE: u32 = 1 << 27;
    const AVX: u32 = 1 << 28;
    const F16C: u32 = 1 << 29;
    const BMI1: u32 = 1 << 3;
    const AVX2: u32 = 1 << 5;
    const BMI2: u32 = 1 << 8;
    const LZCNT: u32 = 1 << 5;
    /// The operating system saves SSE and AVX registers.
    const SAVED: u64 = 0b110;

    /// Asks the processor itself: `is_x86_feature_detected!` answers at compile time for what the
    /// target has.
    #[inline(never)]
    pub fn suffices() -> bool {
        let highest = __cpuid(0).eax;
        let extended = __cpuid(0x8000_0000).eax;
        if highest < 7 || extended < 0x8000_0001 {
            return false;
        }
        let one = __cpuid(1).ecx;
        // XGETBV is there only where OSXSAVE says so.
        let saved = if one & OSXSAVE == 0 { 0 } else { saved_registers() };
        is_v3(one, __cpuid_count(7, 0).ebx, __cpuid(0x8000_0001).ecx, saved)
    }

    fn is_v3(one_ecx: u32, seven_ebx: u32, extended_ecx: u32, saved: u64) -> bool {
        let one = FMA | MOVBE | OSXSAVE | AVX | F16C;
        let seven = BMI1 | AVX2 | BMI2;
        one_ecx & one == one
            && seven_ebx & seven == seven
            && extended_ecx & LZCNT == LZCNT
            && saved & SAVED == SAVED
    }

    fn saved_registers() -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: XGETBV of register 0 only reads; the caller checked OSXSAVE, which says that it
        // exists.
        unsafe {
            std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    #[cold]
    #[inline(never)]
    pub fn refuse() -> ExitCode {
        const WORDS: &[u8] =
            b"engine: processor: expected x86-64-v3 (AVX2, FMA, F16C, BMI2), got an older one; \
            run on a processor of 2013 or later, or a virtual machine that passes these through\n";
        // Nowhere is left to say it if this fails.
        let _ = std::io::stderr().write_all(WORDS);
        ExitCode::from(5)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn this_machine_passes_and_each_missing_part_is_noticed() {
            assert!(suffices());
            assert!(is_v3(u32::MAX, u32::MAX, u32::MAX, u64::MAX));
            for bit in [FMA, MOVBE, OSXSAVE, AVX, F16C] {
                assert!(!is_v3(!bit, u32::MAX, u32::MAX, u64::MAX));
            }
            for bit in [BMI1, AVX2, BMI2] {
                assert!(!is_v3(u32::MAX, !bit, u32::MAX, u64::MAX));
            }
            assert!(!is_v3(u32::MAX, u32::MAX, !LZCNT, u64::MAX));
            assert!(!is_v3(u32::MAX, u32::MAX, u32::MAX, 0b010));
        }
    }
}
