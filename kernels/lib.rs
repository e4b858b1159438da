//! The CUDA kernels of `engine`: the images that were built, the table of their entry points, and
//! the launch of the same sources on the host.

include!(concat!(env!("OUT_DIR"), "/built.rs"));

/// Bytes where a driver may read words: what nvcc embeds by itself begins at a multiple of 8,
/// `include_bytes!` anywhere.
#[allow(dead_code)] // where no nvcc was found
#[repr(C, align(64))]
struct Aligned<const N: usize>([u8; N]);

/// An entry point on the host: takes pointers to its arguments, as a driver does.
#[cfg(feature = "emulated")]
type Body = unsafe extern "C" fn(*mut *mut std::ffi::c_void);

/// The kernels run by the emulator (`host/emulator.h`).
pub mod emulated {
    use std::ffi::c_void;

    /// The size of a launch: blocks, threads a block, bytes of dynamic shared memory.
    #[derive(Clone, Copy, Debug)]
    pub struct Grid {
        pub blocks: [u32; 3],
        pub threads: u32,
        pub shared: usize,
    }

    /// Runs an entry point over a grid; `seed` decides in which order threads and blocks run: 3k +
    /// 1 and 3k + 2 mirror each other, so that whatever is not ordered by a barrier happens both
    /// ways, 3k mixes at every step. The error names kernel, block and thread.
    ///
    /// # Safety
    ///
    /// `arguments` point to values of exactly the types that the entry point has, and addresses
    /// among these lie in memory that is either accessible as the kernel uses it or not accessible
    /// at all: an access outside is then caught.
    #[cfg(feature = "emulated")]
    pub unsafe fn launch(
        entry: &str,
        grid: Grid,
        arguments: &mut [*mut c_void],
        seed: u64,
    ) -> Result<(), String> {
        extern "C" {
            fn engine_emulator_launch(
                kernel: *const std::ffi::c_char,
                entry: super::Body,
                grid: *const u32,
                block: *const u32,
                shared: usize,
                arguments: *mut *mut c_void,
                seed: u64,
                words: *mut std::ffi::c_char,
                words_bytes: usize,
            ) -> i32;
        }
        let Some((name, body)) = super::bodies::ALL.iter().find(|(name, _)| *name == entry) else {
            return Err(format!(
                "{entry}: expected an entry point of kernels/*.cu, got none of that name"
            ));
        };
        let kernel = std::ffi::CString::new(*name).expect("names have no zero byte");
        let block = [grid.threads, 1, 1];
        let mut words = [0u8; 1024];
        let failed = engine_emulator_launch(
            kernel.as_ptr(),
            *body,
            grid.blocks.as_ptr(),
            block.as_ptr(),
            grid.shared,
            arguments.as_mut_ptr(),
            seed,
            words.as_mut_ptr().cast(),
            words.len(),
        );
        if failed == 0 {
            return Ok(());
        }
        let length = words.iter().position(|&b| b == 0).unwrap_or(words.len());
        Err(String::from_utf8_lossy(&words[..length]).into_owned())
    }

    /// Runs an entry point under each of `seeds` from the same contents of `outputs` (address and
    /// bytes) and compares what it leaves there. Refuses, with the two seeds, a result that depends
    /// on the order of threads or blocks.
    ///
    /// # Safety
    ///
    /// As for [`launch`]; `outputs` may be read and written.
    pub unsafe fn launch_in_orders(
        entry: &str,
        grid: Grid,
        arguments: &mut [*mut c_void],
        outputs: &[(*mut u8, usize)],
        seeds: &[u64],
    ) -> Result<(), String> {
        let contents = || -> Vec<Vec<u8>> {
            // SAFETY: the caller's promise.
            outputs
                .iter()
                .map(|&(p, n)| unsafe { std::slice::from_raw_parts(p, n) }.to_vec())
                .collect()
        };
        let before = contents();
        let mut first: Option<(u64, Vec<Vec<u8>>)> = None;
        for &seed in seeds {
            for (&(to, bytes), from) in outputs.iter().zip(&before) {
                std::ptr::copy_nonoverlapping(from.as_ptr(), to, bytes);
            }
            launch(entry, grid, arguments, seed)?;
            let after = contents();
            let Some((other, expected)) = &first else {
                first = Some((seed, after));
                continue;
            };
            for (number, (a, b)) in expected.iter().zip(&after).enumerate() {
                if let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) {
                    return Err(format!(
                        "{entry}: order: output {number} differs at byte {at} between seeds \
                        {other} and {seed}: expected one result for every order of threads and \
                        blocks; a barrier is missing, or two write one place"
                    ));
                }
            }
        }
        Ok(())
    }

    /// This build has no emulator: [`super::EMULATED`] says so.
    ///
    /// # Safety
    ///
    /// None is needed: it only refuses.
    #[cfg(not(feature = "emulated"))]
    pub unsafe fn launch(
        entry: &str,
        _: Grid,
        _: &mut [*mut c_void],
        _: u64,
    ) -> Result<(), String> {
        Err(format!("{entry}: this build has no emulator; build with --features emulated"))
    }
}
