//! The GPUs that the driver shows, asked without opening one: what they are, and whether the
//! kernels of this binary run there.

use super::faults::refuse;
use crate::base::Fault;
use anyhow::Result;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use kernels::Image;

/// Oldest compute capability that the kernels are written for.
pub const OLDEST: i32 = 8;

/// What to do where libcuda is there and does not start.
pub fn refuse_start(name: &str, error: DriverError) -> anyhow::Error {
    let what = format!(
        "device: {name}: expected a driver that starts, got none (is a GPU there and its kernel \
        module loaded, of the same version as libcuda? see nvidia-smi and CUDA_VISIBLE_DEVICES, or \
        use setting `device = cpu`)"
    );
    refuse(&what, error)
}

/// A GPU that the driver shows.
pub struct Found {
    /// As `Device::open` takes it.
    pub name: String,
    /// Model, compute capability, memory, and why it is not used if it is not.
    pub words: String,
    /// Whether the kernels run on it.
    pub usable: bool,
}

/// The GPUs that the driver shows. An error says why none can be asked.
pub fn gpus() -> Result<Vec<Found>> {
    // SAFETY: only asks the dynamic linker; without this cudarc would panic where the library is
    // missing.
    if !unsafe { sys::is_culib_present() } {
        return Err(Fault::Device.error("no libcuda.so.1"));
    }
    result::init().map_err(|e| refuse("the driver does not start", e))?;
    let count = result::device::get_count().map_err(|e| refuse("counting devices", e))?;
    let driver = driver_version()?;
    (0..count)
        .map(|ordinal| {
            let device = result::device::get(ordinal).map_err(|e| refuse("opening a device", e))?;
            let model =
                result::device::get_name(device).map_err(|e| refuse("asking a device", e))?;
            let (major, minor) = capability(device)?;
            // SAFETY: a handle that the driver just gave.
            let bytes = unsafe { result::device::total_mem(device) }
                .map_err(|e| refuse("asking a device", e))?;
            let name = format!("cuda:{ordinal}");
            let gib = bytes as f64 / (1u64 << 30) as f64;
            let mut words =
                format!("{name} {model}, compute capability {major}.{minor}, {gib:.1} GiB");
            let image = Image::for_capability(major, minor);
            let taken = image.is_none_or(|image| image.taken_by(driver));
            let usable = major >= OLDEST && taken;
            match image {
                _ if major < OLDEST => {
                    words += &format!("; not used: the kernels need compute capability {OLDEST}.0");
                }
                Some(_) if !taken => words += &format!("; not used: {}", old_driver(driver)),
                Some(image) if image.is_ptx() => words += &format!("; {AT_FIRST}"),
                _ => {}
            }
            Ok(Found { name, words, usable })
        })
        .collect()
}

/// Compute capability, (major, minor).
pub fn capability(device: sys::CUdevice) -> Result<(i32, i32)> {
    use sys::CUdevice_attribute_enum as Attribute;
    let ask = |attribute| {
        // SAFETY: `device` is a handle that the driver gave.
        unsafe { result::device::get_attribute(device, attribute) }
            .map_err(|e| refuse("asking the device", e))
    };
    Ok((
        ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// What the driver does once for a GPU that this binary has no machine code for.
const AT_FIRST: &str = "the driver compiles the kernels at the first start, which takes a minute; \
    later ones find them in its cache";

/// What a first start waits for on the GPU of that number, if it does.
pub fn at_first(ordinal: usize) -> Option<String> {
    // SAFETY: only asks the dynamic linker, as above.
    let there = unsafe { sys::is_culib_present() } && result::init().is_ok();
    let shown = if there { result::device::get_count().ok()? } else { 0 };
    let ordinal = i32::try_from(ordinal).ok().filter(|&ordinal| ordinal < shown)?;
    let device = result::device::get(ordinal).ok()?;
    let (major, minor) = capability(device).ok()?;
    let image = Image::for_capability(major, minor).filter(|_| major >= OLDEST)?;
    image.is_ptx().then(|| format!("cuda:{ordinal}: {AT_FIRST}"))
}

/// The CUDA that the driver is of, (major, minor).
pub fn driver_version() -> Result<(u8, u8)> {
    let mut version = 0;
    // SAFETY: writes one integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|e| refuse("asking the driver's version", e))?;
    Ok(((version / 1000) as u8, (version % 1000 / 10) as u8))
}

/// What is wrong with a driver that does not take the kernels.
pub fn old_driver(driver: (u8, u8)) -> String {
    let (major, minor) = kernels::NEEDS;
    let release =
        kernels::oldest_driver().map_or_else(String::new, |oldest| format!(" ({oldest})"));
    format!(
        "expected a driver of CUDA {major}.{minor}{release} or later, which takes the kernels made \
        by {}, got one of CUDA {}.{}; update the driver, or build with an older compiler",
        kernels::COMPILER,
        driver.0,
        driver.1
    )
}
