use std::fmt;

/// How an element is stored. Sums, softmax, statistics and losses are f32 whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32: 8 bits of exponent, 8 of significand.
    Bf16,
    /// Indices: token ids, positions, row numbers.
    U32,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Dtype::F32 | Dtype::U32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// The word for it in settings and files: "f32", "bf16" …
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::U32 => "u32",
        }
    }

    /// Whether its values are real numbers.
    pub const fn is_float(self) -> bool {
        !matches!(self, Dtype::U32)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
