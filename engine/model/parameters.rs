//! One tensor of a model: what it is called, what it is for, and, where it is trained, its place in
//! one flat f32 range. Gradients and moments are ranges with the same offsets.

use crate::base::{Dtype, Shape};
use crate::device::{Device, Tensor, View, ViewMut};
use anyhow::Result;

/// What a tensor is for: decides how it starts, how it is held, whether weight decay acts on it by
/// default, and whether it is trained beside an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The word embedding, and the output matrix: `[V, h]`.
    Embedding,
    /// One of the two tables of positions: `[P, h]`.
    Position,
    /// The weight of query_key_value or dense_h_to_4h: `[out, in]`.
    Linear,
    /// The weight of dense or dense_4h_to_h, which write into the residual: `[out, in]`.
    LinearOut,
    /// The bias of a linear: `[out]`.
    Bias,
    /// The weight of a layer norm: `[h]`.
    NormWeight,
    /// The bias of a layer norm: `[h]`.
    NormBias,
}

impl Role {
    /// Whether a tensor of this role is a table or a matrix; otherwise it is a vector.
    pub fn is_matrix(self) -> bool {
        match self {
            Role::Embedding | Role::Position | Role::Linear | Role::LinearOut => true,
            Role::Bias | Role::NormWeight | Role::NormBias => false,
        }
    }

    /// How a frozen tensor of this role, stored as `stored`, is held beside activations of
    /// `dtype`: vectors as f32; matrices as they are stored or, where activations are narrower than
    /// f32, as those. What is held as it is stored stays in the memory map where a device reads
    /// maps.
    pub fn held(self, stored: Dtype, dtype: Dtype) -> Dtype {
        match (self.is_matrix(), dtype) {
            (false, _) => Dtype::F32,
            (true, Dtype::F32) => stored,
            (true, narrow) => narrow,
        }
    }
}

/// A tensor that a checkpoint of a config must have.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// The published name, without the `glm.` prefix.
    pub name: String,
    /// One dimension or two, as [`Role`] says.
    pub shape: Shape,
    /// What the tensor is for.
    pub role: Role,
}

/// One trained tensor inside the flat range.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The published name of a base tensor; PEFT's name of a factor.
    pub name: String,
    /// The tensor's shape; it takes `shape.count()` elements of the range.
    pub shape: Shape,
    /// In elements from the start of the range.
    pub offset: usize,
    /// What the tensor is.
    pub role: SlotRole,
}

/// What a trained tensor is, for weight decay and for the files it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRole {
    /// A tensor of the model itself.
    Base(Role),
    /// The factor A of an adapted linear: `[r, in]`.
    LoraA,
    /// The factor B of an adapted linear: `[out, r]`.
    LoraB,
}

impl SlotRole {
    /// Whether the tensor is a table or a matrix, on which weight decay acts by default.
    pub fn is_matrix(self) -> bool {
        match self {
            SlotRole::Base(role) => role.is_matrix(),
            SlotRole::LoraA | SlotRole::LoraB => true,
        }
    }
}

/// Names, shapes and offsets of everything that is trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    slots: Vec<Slot>,
    len: usize,
}

impl Layout {
    /// Adds a tensor at the end of the range and returns its place.
    pub fn push(&mut self, name: String, shape: Shape, role: SlotRole) -> Slot {
        let slot = Slot { name, shape, offset: self.len, role };
        self.len += shape.count();
        self.slots.push(slot.clone());
        slot
    }

    /// All places in the order of the range.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Elements in the flat range.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// A flat f32 range in the shape of a [`Layout`]: values, gradients or a moment.
pub struct Flat {
    tensor: Tensor,
}

impl Flat {
    /// A range of zeros for `layout`, `[layout.len()]`; of one element where nothing is trained.
    pub fn zeros(device: &Device, layout: &Layout) -> Result<Flat> {
        Ok(Flat { tensor: device.zeros(Shape::vector(layout.len().max(1)), Dtype::F32)? })
    }

    /// The tensor at `slot`, in its shape. Panics where the range has no such elements.
    pub fn view(&self, slot: &Slot) -> View<'_> {
        self.tensor.view().part(slot.offset, slot.shape)
    }

    /// As [`Flat::view`], to be written.
    pub fn view_mut(&mut self, slot: &Slot) -> ViewMut<'_> {
        self.tensor.view_mut().part(slot.offset, slot.shape)
    }

    /// Two different slots at once. Panics where they overlap.
    pub fn pair_mut(&mut self, a: &Slot, b: &Slot) -> (ViewMut<'_>, ViewMut<'_>) {
        self.tensor.view_mut().parts((a.offset, a.shape), (b.offset, b.shape))
    }

    /// The whole range: `[len]`.
    pub fn all(&self) -> View<'_> {
        self.tensor.view()
    }

    /// As [`Flat::all`], to be written.
    pub fn all_mut(&mut self) -> ViewMut<'_> {
        self.tensor.view_mut()
    }

    /// Elements `offset..offset + len`: `[len]`. Panics where the range is shorter.
    pub fn range(&self, offset: usize, len: usize) -> View<'_> {
        self.tensor.view().part(offset, Shape::vector(len))
    }

    /// As [`Flat::range`], to be written.
    pub fn range_mut(&mut self, offset: usize, len: usize) -> ViewMut<'_> {
        self.tensor.view_mut().part(offset, Shape::vector(len))
    }
}
