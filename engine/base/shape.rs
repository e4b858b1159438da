use super::Dtype;
use std::fmt;

/// One or two dimensions, row-major. A vector `[n]` counts as one row of `n` columns.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; 2],
}

impl Shape {
    /// `[n]`.
    pub const fn vector(n: usize) -> Shape {
        Shape { rank: 1, dims: [1, n] }
    }

    /// `[rows, cols]`.
    pub const fn matrix(rows: usize, cols: usize) -> Shape {
        Shape { rank: 2, dims: [rows, cols] }
    }

    /// The shape as stored in a file; `None` for more than two dimensions.
    pub fn from_dims(dims: &[usize]) -> Option<Shape> {
        match *dims {
            [] => Some(Shape { rank: 0, dims: [1, 1] }),
            [n] => Some(Shape::vector(n)),
            [rows, cols] => Some(Shape::matrix(rows, cols)),
            _ => None,
        }
    }

    /// The first of two dimensions; 1 for a vector.
    pub const fn rows(self) -> usize {
        self.dims[0]
    }

    /// The last dimension.
    pub const fn cols(self) -> usize {
        self.dims[1]
    }

    /// Number of elements; `usize::MAX` where there are more than can be counted, which no memory
    /// holds.
    pub const fn count(self) -> usize {
        self.dims[0].saturating_mul(self.dims[1])
    }

    /// Bytes of its elements stored as `dtype`; `usize::MAX` where there are more than can be
    /// counted.
    pub const fn bytes(self, dtype: Dtype) -> usize {
        self.count().saturating_mul(dtype.size())
    }

    /// The dimensions as a file lists them: one for a vector, two for a matrix.
    pub fn dims(&self) -> &[usize] {
        match self.rank {
            0 => &[],
            1 => &self.dims[1..],
            _ => &self.dims,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}
