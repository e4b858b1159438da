//! The CUDA kernels of `engine`: the images that were built, the table of their entry points, and
//! the launch of the same sources on the host.

use std::io::Read;

include!(concat!(env!("OUT_DIR"), "/built.rs"));

#[cfg(feature = "profiled")]
pub mod predicted;
pub mod profiled;

/// An entry point, as its `KERNEL(…)` declares it.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    pub name: &'static str,
    /// The source that it is in, without `.cu`, and the image.
    pub family: &'static str,
    /// Threads a block.
    pub threads: u32,
    /// The struct of [`interface`] that is its one argument, and its size in bytes.
    pub parameters: &'static str,
    pub bytes: usize,
    /// The whole numbers in it (rows, cols …): name, offset, bytes.
    pub sizes: &'static [(&'static str, usize, usize)],
}

/// What a launch and a kernel agree on: `interface.cuh`, said in Rust by the build.
#[allow(clippy::manual_div_ceil)] // formulas stay as C++ has them
pub mod interface {
    use bytemuck::{Pod, Zeroable};

    /// Where something stands in the device's memory; 0 = nowhere.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
    pub struct Address(pub u64);

    /// The argument of an entry point.
    pub trait Parameters: Pod {
        /// The struct's name, as [`super::Signature::parameters`] has it.
        const NAME: &'static str;
        /// Its whole numbers (rows, cols …): name, offset, bytes.
        const SIZES: &'static [(&'static str, usize, usize)];
    }

    /// A tile of the product on tensor cores.
    #[derive(Clone, Copy, Debug)]
    pub struct Tile {
        /// Of y, by a block.
        pub rows: usize,
        pub columns: usize,
        /// Of k, in one stage.
        pub depth: usize,
        /// Of y, by a warp.
        pub warp_rows: usize,
        pub warp_columns: usize,
        pub stages: usize,
    }

    impl Tile {
        const fn new([rows, columns, depth, warp_rows, warp_columns, stages]: [usize; 6]) -> Tile {
            Tile { rows, columns, depth, warp_rows, warp_columns, stages }
        }

        pub const fn threads(&self) -> usize {
            tile_threads(self.rows, self.columns, self.warp_rows, self.warp_columns)
        }

        /// Bytes of shared memory.
        pub const fn shared(&self) -> usize {
            tile_shared(
                self.rows,
                self.columns,
                self.depth,
                self.warp_rows,
                self.warp_columns,
                self.stages,
            )
        }
    }

    include!(concat!(env!("OUT_DIR"), "/interface.rs"));
}

/// The kernels of all families for one kind of GPU.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// "sm_80", whose machine code it is, or "PTX", which the driver compiles for all others.
    pub target: &'static str,
    /// Bytes of each of [`FAMILIES`], unpacked.
    bytes: &'static [usize],
    /// All of them one behind the other, by Brotli.
    pub packed: &'static [u8],
}

impl Image {
    /// The image that a GPU of this compute capability runs: machine code of its own major number
    /// and no later minor one (that for 9.0 is of 9.0a: there alone), otherwise the PTX.
    pub fn for_capability(major: i32, minor: i32) -> Option<&'static Image> {
        let runs = |image: &&Image| match image.target {
            "sm_80" => major == 8,
            "sm_90a" => (major, minor) == (9, 0),
            _ => true,
        };
        IMAGES.iter().find(runs)
    }

    /// Whether a driver of that CUDA, (major, minor), takes it. Machine code goes by the major
    /// number alone, PTX by both.
    pub fn taken_by(&self, driver: (u8, u8)) -> bool {
        match self.is_ptx() {
            true => driver >= NEEDS,
            false => driver.0 >= NEEDS.0,
        }
    }

    /// Whether the driver has to compile it.
    pub fn is_ptx(&self) -> bool {
        self.target == "PTX"
    }

    /// The image of each of [`FAMILIES`], at multiples of 8 bytes as drivers read them. PTX ends in
    /// a zero.
    pub fn unpack(&self) -> Vec<(&'static str, Words)> {
        let mut all = brotli_decompressor::Decompressor::new(self.packed, 1 << 16);
        let part = |(family, &bytes): (&&'static str, &usize)| {
            let mut words = vec![0u64; bytes.div_ceil(8)];
            let room = &mut bytemuck::cast_slice_mut(&mut words)[..bytes];
            all.read_exact(room).expect("what was packed is unpacked");
            (*family, Words { words, bytes })
        };
        FAMILIES.iter().zip(self.bytes).map(part).collect()
    }
}

/// The release of the oldest driver that takes all images, where NVIDIA's table has it.
pub fn oldest_driver() -> Option<u16> {
    let releases = [
        ((12, 0), 525),
        ((12, 1), 530),
        ((12, 2), 535),
        ((12, 3), 545),
        ((12, 4), 550),
        ((12, 5), 555),
        ((12, 6), 560),
        ((12, 8), 570),
        ((12, 9), 575),
        ((13, 0), 580),
    ];
    releases.into_iter().find(|(cuda, _)| *cuda == NEEDS).map(|(_, release)| release)
}

/// Bytes at a multiple of 8.
pub struct Words {
    words: Vec<u64>,
    bytes: usize,
}

impl std::ops::Deref for Words {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }
}

/// What C++ wrote into `words`, up to its zero.
fn said(words: &[u8]) -> String {
    let length = words.iter().position(|&b| b == 0).unwrap_or(words.len());
    String::from_utf8_lossy(&words[..length]).into_owned()
}

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

    /// An entry point that the emulator can run.
    #[derive(Clone, Copy)]
    pub struct Kernel {
        name: &'static str,
        #[cfg(feature = "emulated")]
        body: super::Body,
    }

    /// What an entry point takes, as the compiler of the host has it.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Takes {
        /// The most threads a block.
        pub threads: u32,
        /// Arguments.
        pub count: u32,
        /// Bytes of each.
        pub bytes: [u32; 32],
    }

    /// The entry point of that name, or one of `host/*.cu`.
    pub fn find(entry: &str) -> Result<Kernel, String> {
        #[cfg(feature = "emulated")]
        return match super::bodies::ALL.iter().find(|(name, _)| *name == entry) {
            Some(&(name, body)) => Ok(Kernel { name, body }),
            None => Err(format!(
                "{entry}: expected an entry point of kernels/*.cu, got none of that name"
            )),
        };
        #[cfg(not(feature = "emulated"))]
        Err(format!("{entry}: this build has no emulator; build with --features emulated"))
    }

    impl Kernel {
        pub fn name(&self) -> &'static str {
            self.name
        }

        pub fn takes(&self) -> Takes {
            #[allow(unused_mut)] // where there is no emulator
            let mut takes = Takes::default();
            #[cfg(feature = "emulated")]
            // SAFETY: outside of a launch an entry point only fills in what it takes.
            unsafe {
                (self.body)((&mut takes as *mut Takes).cast());
            }
            takes
        }

        /// Runs the kernel over a grid; `seed` decides in which order threads and blocks run: 3k +
        /// 1 and 3k + 2 mirror each other, so that whatever is not ordered by a barrier happens
        /// both ways, 3k mixes at every step. The error names kernel, block and thread.
        ///
        /// # Safety
        ///
        /// `arguments` point to values of exactly the types that the entry point has, and addresses
        /// among these lie in memory that is either accessible as the kernel uses it or not
        /// accessible at all: an access outside is then caught.
        #[cfg(feature = "emulated")]
        pub unsafe fn launch(
            &self,
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
            let kernel = std::ffi::CString::new(self.name).expect("names have no zero byte");
            let block = [grid.threads, 1, 1];
            let mut words = [0u8; 1024];
            // SAFETY: the arguments are the caller's promise; all else outlives the call.
            let failed = unsafe {
                engine_emulator_launch(
                    kernel.as_ptr(),
                    self.body,
                    grid.blocks.as_ptr(),
                    block.as_ptr(),
                    grid.shared,
                    arguments.as_mut_ptr(),
                    seed,
                    words.as_mut_ptr().cast(),
                    words.len(),
                )
            };
            if failed == 0 {
                return Ok(());
            }
            Err(super::said(&words))
        }

        /// This build has no emulator: [`find`] says so before.
        ///
        /// # Safety
        ///
        /// None is needed: it only refuses.
        #[cfg(not(feature = "emulated"))]
        pub unsafe fn launch(&self, _: Grid, _: &mut [*mut c_void], _: u64) -> Result<(), String> {
            Err(format!("{}: this build has no emulator", self.name))
        }
    }

    /// [`Kernel::launch`] of the entry point of that name.
    ///
    /// # Safety
    ///
    /// As for [`Kernel::launch`].
    pub unsafe fn launch(
        entry: &str,
        grid: Grid,
        arguments: &mut [*mut c_void],
        seed: u64,
    ) -> Result<(), String> {
        let kernel = find(entry)?;
        // SAFETY: the caller's promise.
        unsafe { kernel.launch(grid, arguments, seed) }
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
                // SAFETY: as above; `from` is a copy of as many bytes.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, bytes) };
            }
            // SAFETY: the caller's promise.
            unsafe { launch(entry, grid, arguments, seed) }?;
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
}
