//! The driver of a GPU, through cudarc's thin layer over libcuda: one context, one stream, kernels
//! resolved when it is opened. libcuda is opened at run time, so the same binary starts where there
//! is no driver.

use super::driver::{Driver, Grid, Properties};
use super::faults::{refuse, Faults};
use super::found::{capability, driver_version, old_driver, refuse_start, OLDEST};
use crate::base::Fault;
use anyhow::{Context as _, Result};
use cudarc::driver::result;
use cudarc::driver::sys;
use kernels::Image;
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Bytes of one pinned slot; longer copies go through several.
const SLOT: usize = 4 << 20;
/// Slots that may be under way at once.
const SLOTS: usize = 8;
/// Bytes of shared memory from which on a processor is to give up cache for it: grids count on two
/// blocks, and the driver's own choice may have room for one.
const ROOMY: usize = 48 << 10;

pub struct Gpu {
    properties: Properties,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// Where buffers come from: stream-ordered, and it keeps what is freed for what is asked for
    /// next.
    pool: sys::CUmemoryPool,
    modules: Vec<sys::CUmodule>,
    /// By number of the entry point.
    kernels: Vec<sys::CUfunction>,
    /// Of each: whether it was told to have as much shared memory as there is.
    roomy: Vec<AtomicBool>,
    staging: Mutex<Staging>,
    faults: Faults,
    /// Whether each launch is waited for.
    synchronous: bool,
}

// SAFETY: handles of the driver may be used from any thread once the context is made current there,
// which `enter` does first in every call; what is not a handle is behind a lock.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

/// Page-locked host memory through which bytes go, in turn.
struct Staging {
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    memory: *mut u8,
    /// Recorded behind the last copy out of the slot.
    done: sys::CUevent,
}

/// Refuses a kernel that does not take just the struct of its table.
fn check_parameters(function: sys::CUfunction, signature: &kernels::Signature) -> Result<()> {
    let ask = |index: usize| {
        let (mut offset, mut bytes) = (0, 0);
        // SAFETY: a function of a module that is loaded; writes two integers.
        let code = unsafe { sys::cuFuncGetParamInfo(function, index, &mut offset, &mut bytes) };
        (code == sys::CUresult::CUDA_SUCCESS).then_some((offset, bytes))
    };
    let (first, second) = (ask(0), ask(1));
    match first == Some((0, signature.bytes)) && second.is_none() {
        true => Ok(()),
        false => Err(Fault::Device.error(format!(
            "kernels: {}: expected {} bytes of parameters in one argument, got arguments of \
            (offset, bytes) {:?}; the binary and its kernels are of different builds: build again",
            signature.name,
            signature.bytes,
            [first, second].iter().flatten().collect::<Vec<_>>()
        ))),
    }
}

impl Gpu {
    /// Opens device `ordinal`. Refuses, with what to do: no driver, no kernels in this binary, no
    /// such device, a device older than compute capability 8.0, a driver too old for the kernels.
    pub fn open(ordinal: usize) -> Result<Gpu> {
        let name = format!("cuda:{ordinal}");
        if kernels::IMAGES.is_empty() {
            return Err(Fault::Device.error(format!(
                "device: {name}: expected CUDA kernels, got a binary built without nvcc; run \
                tools/get-nvcc and build again, or use setting `device = cpu`; `engine doctor` \
                says what is there"
            )));
        }
        // SAFETY: only asks the dynamic linker; without this cudarc would panic where the library
        // is missing.
        if !unsafe { sys::is_culib_present() } {
            return Err(Fault::Device.error(format!(
                "device: {name}: expected the NVIDIA driver's libcuda.so.1, got none; install the \
                driver (in a container: start it with GPUs), or use setting `device = cpu`; \
                `engine doctor` says what is there"
            )));
        }
        result::init().map_err(|e| refuse_start(&name, e))?;
        let devices = result::device::get_count().map_err(|e| refuse("counting devices", e))?;
        if ordinal >= devices as usize {
            return Err(Fault::Device.error(format!(
                "device: {name}: expected a device below {devices}, the number that the driver \
                shows, got {ordinal}; see CUDA_VISIBLE_DEVICES and `engine doctor`"
            )));
        }
        let device =
            result::device::get(ordinal as i32).map_err(|e| refuse("opening the device", e))?;
        use sys::CUdevice_attribute_enum as Attribute;
        let ask = |attribute| {
            // SAFETY: `device` is a handle that the driver just gave.
            unsafe { result::device::get_attribute(device, attribute) }
                .map_err(|e| refuse("asking the device", e))
        };
        let (major, minor) = capability(device)?;
        if major < OLDEST {
            let model = result::device::get_name(device).unwrap_or_default();
            return Err(Fault::Device.error(format!(
                "device: {name}: expected compute capability {OLDEST}.0 or later (A100, H100 …), \
                got {model} with {major}.{minor}; use setting `device = cpu`"
            )));
        }
        let driver = driver_version()?;
        let image = Image::for_capability(major, minor).filter(|image| image.taken_by(driver));
        let Some(image) = image else {
            return Err(Fault::Device.error(format!(
                "device: {name}: {}, or use setting `device = cpu`",
                old_driver(driver)
            )));
        };
        let synchronous = synchronous()?;
        let properties = Properties {
            name,
            processors: ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
            shared: ask(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
            // SAFETY: as in `ask`.
            memory: unsafe { result::device::total_mem(device) }
                .map_err(|e| refuse("asking the device", e))? as u64,
            emulated: false,
        };
        // SAFETY: as above; from here on released in `drop`, whatever fails.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(|e| refuse("making a context", e))?;
        let mut gpu = Gpu {
            properties,
            device,
            context,
            stream: std::ptr::null_mut(),
            pool: std::ptr::null_mut(),
            modules: Vec::new(),
            kernels: Vec::new(),
            roomy: kernels::ENTRIES.iter().map(|_| AtomicBool::new(false)).collect(),
            staging: Mutex::new(Staging { slots: Vec::new(), next: 0 }),
            faults: Faults::default(),
            synchronous,
        };
        gpu.enter()?;
        gpu.stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| refuse("making a stream", e))?;
        gpu.own_pool()?;
        gpu.load(image, driver)?;
        gpu.pin()?;
        Ok(gpu)
    }

    /// Resolves every entry point: one that is missing is an error now, not in the middle of a run.
    fn load(&mut self, image: &Image, driver: (u8, u8)) -> Result<()> {
        let mut families = HashMap::new();
        for (family, image) in image.unpack() {
            // SAFETY: machine code, which says its own length, or PTX, which ends in a zero.
            let module =
                unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(|e| {
                    refuse(
                        &format!(
                        "device: {}: expected a driver that takes the kernels of {family}, made by \
                        {}; update the driver, build with an older compiler, or use setting \
                        `device = cpu`",
                        self.properties.name,
                        kernels::COMPILER
                    ),
                        e,
                    )
                })?;
            self.modules.push(module);
            families.insert(family, module);
        }
        // From 12.4 on it can tell.
        let tells = driver >= (12, 4);
        for signature in kernels::ENTRIES {
            let (entry, family) = (signature.name, signature.family);
            let module = families
                .get(family)
                .with_context(|| format!("kernels: {entry}: no image of {family}"))?;
            let name = CString::new(entry).expect("entry points have no zero byte");
            // SAFETY: a module loaded above.
            let function = unsafe { result::module::get_function(*module, name) }
                .map_err(|e| refuse(&format!("finding kernel {entry}"), e))?;
            use sys::CUfunction_attribute_enum as FunctionAttribute;
            // SAFETY: a function of that module.
            unsafe {
                result::function::set_function_attribute(
                    function,
                    FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    self.properties.shared as i32,
                )
            }
            .map_err(|e| refuse(&format!("giving kernel {entry} its shared memory"), e))?;
            if tells {
                check_parameters(function, signature)?;
            }
            self.kernels.push(function);
        }
        Ok(())
    }

    /// The device's pool, told to give nothing back to the system: a step then costs no system call
    /// and never waits.
    fn own_pool(&mut self) -> Result<()> {
        // SAFETY: a device that the driver gave.
        self.pool = unsafe { result::device::get_default_mem_pool(self.device) }.map_err(|e| {
            refuse(
                "finding the device's memory pool (CUDA 11.2 has them; without, use setting \
                `device = cpu`)",
                e,
            )
        })?;
        let mut threshold = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the pool lives as long as the device; the attribute is a u64.
        unsafe {
            result::mem_pool::set_attribute(self.pool, attribute, (&raw mut threshold).cast())
        }
        .map_err(|e| refuse("setting up the device's memory pool", e))
    }

    /// Bytes of the pool by an attribute of its.
    fn pooled(&self, attribute: sys::CUmemPool_attribute) -> Result<u64> {
        let mut bytes = 0u64;
        // SAFETY: the pool lives as long as the device; both attributes asked for are a u64.
        unsafe { result::mem_pool::get_attribute(self.pool, attribute, (&raw mut bytes).cast()) }
            .map_err(|e| self.faults.refuse("asking the device's memory pool", e))?;
        Ok(bytes)
    }

    fn pin(&mut self) -> Result<()> {
        let staging = self.staging.get_mut().expect("nobody held it yet");
        for _ in 0..SLOTS {
            // SAFETY: freed in `drop`.
            let memory = unsafe { result::malloc_host(SLOT, 0) }
                .map_err(|e| refuse("page-locking host memory", e))?;
            staging.slots.push(Slot { memory: memory.cast(), done: std::ptr::null_mut() });
            let slot = staging.slots.last_mut().expect("just pushed");
            slot.done = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
                .map_err(|e| refuse("making an event", e))?;
        }
        Ok(())
    }

    /// Makes the context current on the calling thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context lives until `drop`.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(|e| self.faults.refuse("entering the context", e))
    }

    fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for everything; an error of an earlier launch comes out here.
    fn wait(&self) -> Result<()> {
        // SAFETY: the stream lives until `drop`.
        unsafe { result::stream::synchronize(self.stream) }
            .map_err(|e| self.faults.refuse("waiting for the device", e))
    }

    /// Has the processors keep as much shared memory as they can for kernels of which two blocks
    /// are to fit.
    fn make_room(&self, entry: usize, grid: Grid) -> Result<()> {
        if grid.shared < ROOMY || self.roomy[entry].swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        use sys::CUfunction_attribute_enum as Attribute;
        // SAFETY: a function of a module that is loaded.
        unsafe {
            result::function::set_function_attribute(
                self.kernels[entry],
                Attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                100,
            )
        }
        .map_err(|e| {
            let name = kernels::ENTRIES[entry].name;
            self.faults.refuse(&format!("giving kernel {name} its shared memory"), e)
        })
    }
}

/// Whether `ENGINE_SYNC` asks to wait for each launch. Refuses what is neither yes nor no.
fn synchronous() -> Result<bool> {
    match std::env::var_os("ENGINE_SYNC") {
        None => Ok(false),
        Some(value) if value.is_empty() || value == "0" => Ok(false),
        Some(value) if value == "1" => Ok(true),
        Some(value) => Err(Fault::Usage.error(format!(
            "ENGINE_SYNC: expected 1 (wait for each launch, to name the one that fails) or 0, got \
            {value:?}"
        ))),
    }
}

impl Driver for Gpu {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn alloc(&self, bytes: usize) -> Result<u64> {
        self.enter()?;
        // SAFETY: freed by `free`, once, by the tensor that owns it; used on this stream only.
        let ask = || unsafe { result::malloc_async(self.stream, bytes) };
        let again = || {
            // SAFETY: the pool lives as long as the device.
            unsafe { result::mem_pool::trim_to(self.pool, 0) }?;
            ask()
        };
        if let Ok(address) = ask() {
            return Ok(address);
        }
        // What is free but in pieces goes back to the system and comes again as one. Where a kernel
        // failed before there is no memory to be had either: then this says so.
        self.wait()?;
        again().map_err(|e| {
            let (free, total) = result::mem_get_info().unwrap_or_default();
            let mib = |b: usize| b as f64 / (1u64 << 20) as f64;
            self.faults.refuse_memory(
                &format!(
                    "memory: {bytes} bytes cannot be had ({:.1} of {:.1} MiB free); use a smaller \
                    setting `batch`, fewer setting `batch-rows` or a leaner setting `keep`, and \
                    see what `engine inspect` plans",
                    mib(free),
                    mib(total)
                ),
                e,
            )
        })
    }

    fn free(&self, address: u64) {
        // SAFETY: an address from `alloc`, freed once; an error was or will be said by the call
        // that caused it.
        let _ = self.enter().map(|()| unsafe { result::free_async(address, self.stream) });
    }

    fn available(&self) -> Result<u64> {
        self.enter()?;
        let (free, _) =
            result::mem_get_info().map_err(|e| self.faults.refuse("asking for free memory", e))?;
        use sys::CUmemPool_attribute as Attribute;
        let held = self.pooled(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = self.pooled(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(free as u64 + held.saturating_sub(used))
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        let mut staging = self.staging();
        for (i, part) in bytes.chunks(SLOT).enumerate() {
            let turn = staging.next;
            staging.next = (turn + 1) % SLOTS;
            let slot = &staging.slots[turn];
            // SAFETY: the event is recorded behind the slot's last copy; after it nobody reads the
            // slot, which has SLOT bytes. The destination has `bytes.len()` bytes: the door checked
            // that.
            unsafe {
                result::event::synchronize(slot.done)
                    .map_err(|e| self.faults.refuse("waiting for a copy", e))?;
                std::ptr::copy_nonoverlapping(part.as_ptr(), slot.memory, part.len());
                let pinned = std::slice::from_raw_parts(slot.memory, part.len());
                result::memcpy_htod_async(to + (i * SLOT) as u64, pinned, self.stream)
                    .and_then(|()| result::event::record(slot.done, self.stream))
                    .map_err(|e| self.faults.refuse("copying to the device", e))?;
            }
        }
        Ok(())
    }

    fn download(&self, bytes: &mut [u8], from: u64) -> Result<()> {
        self.enter()?;
        let mut staging = self.staging();
        for (i, part) in bytes.chunks_mut(SLOT).enumerate() {
            let turn = staging.next;
            staging.next = (turn + 1) % SLOTS;
            let slot = &staging.slots[turn];
            // SAFETY: as in `upload`; the bytes are read only after the stream has done the copy.
            unsafe {
                result::event::synchronize(slot.done)
                    .map_err(|e| self.faults.refuse("waiting for a copy", e))?;
                let pinned = std::slice::from_raw_parts_mut(slot.memory, part.len());
                result::memcpy_dtoh_async(pinned, from + (i * SLOT) as u64, self.stream)
                    .map_err(|e| self.faults.refuse("copying from the device", e))?;
                self.wait()?;
                std::ptr::copy_nonoverlapping(slot.memory, part.as_mut_ptr(), part.len());
            }
        }
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: both are buffers of this device with as many bytes: the door checked that.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|e| self.faults.refuse("copying on the device", e))
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: a buffer of this device with as many bytes.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream) }
            .map_err(|e| self.faults.refuse("clearing memory", e))
    }

    fn launch(&self, entry: usize, grid: Grid, parameters: &[u8]) -> Result<()> {
        self.enter()?;
        let signature = &kernels::ENTRIES[entry];
        let [x, y, z] = grid.blocks;
        self.make_room(entry, grid)?;
        self.faults.launched(entry, grid, parameters);
        // SAFETY: the bytes are of the struct that the kernel takes, which `Entries` and `load`
        // checked; the driver copies them before this returns. Buffers outlive the launch: memory
        // freed earlier is only used again by later work of the same stream.
        unsafe {
            result::launch_kernel(
                self.kernels[entry],
                (x, y, z),
                (signature.threads, 1, 1),
                grid.shared as u32,
                self.stream,
                &mut [parameters.as_ptr().cast_mut().cast()],
            )
        }
        .map_err(|e| self.faults.refuse(&format!("launching {}, {grid:?}", signature.name), e))?;
        if self.synchronous {
            // SAFETY: the stream lives until `drop`.
            unsafe { result::stream::synchronize(self.stream) }
                .map_err(|e| self.faults.refuse_newest(e))?;
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        self.wait()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // What follows may fail where the context does; then it goes with the process.
        let _ = self.enter();
        if !self.stream.is_null() {
            let _ = self.wait();
        }
        let staging = self.staging.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: everything below was made by this value, is given back once, and nothing is under
        // way any more.
        unsafe {
            for slot in staging.slots.drain(..) {
                if !slot.done.is_null() {
                    let _ = result::event::destroy(slot.done);
                }
                let _ = result::free_host(slot.memory.cast());
            }
            for module in self.modules.drain(..) {
                let _ = result::module::unload(module);
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
