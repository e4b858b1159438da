//! Products of which only few elements count: those of a dense product that are asked for, and sums
//! of few rows.

use super::*;
use crate::device::ops::Sparse;

impl Sparse for Cuda {
    fn sampled_product(&self, _: ViewMut, _: View, _: View, _: View, _: View) -> Result<()> {
        anyhow::bail!("sampled_product: {}: expected a device with this op", self.name())
    }

    fn sparse_product(
        &self,
        _: ViewMut,
        _: View,
        _: View,
        _: View,
        _: View,
        _: View,
    ) -> Result<()> {
        anyhow::bail!("sparse_product: {}: expected a device with this op", self.name())
    }
}
