//! What is trained: one flat f32 range with names beside it; gradients and moments are ranges with
//! the same offsets.

use super::config::Role;
use crate::base::{Dtype, Shape};
use crate::device::{Device, Tensor, View, ViewMut};
use anyhow::Result;

/// One trained tensor inside the flat range.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub name: String,
    pub shape: Shape,
    /// In elements from the start of the range.
    pub offset: usize,
    pub role: SlotRole,
}

/// What a trained tensor is, for weight decay and for the files it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRole {
    Base(Role),
    LoraA,
    LoraB,
}

/// Names, shapes and offsets of everything that is trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    slots: Vec<Slot>,
    len: usize,
}

impl Layout {
    /// Adds a tensor at the end and returns its number.
    pub fn push(&mut self, name: String, shape: Shape, role: SlotRole) -> usize {
        self.slots.push(Slot { name, shape, offset: self.len, role });
        self.len += shape.count();
        self.slots.len() - 1
    }

    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Elements in the flat range.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// A flat f32 range in the shape of a [`Layout`]: values, gradients or a moment.
pub struct Flat {
    tensor: Tensor,
}

impl Flat {
    pub fn zeros(device: &Device, layout: &Layout) -> Result<Flat> {
        Ok(Flat { tensor: device.zeros(Shape::vector(layout.len().max(1)), Dtype::F32)? })
    }

    pub fn view(&self, slot: &Slot) -> View<'_> {
        self.tensor.view().part(slot.offset, slot.shape)
    }

    pub fn view_mut(&mut self, slot: &Slot) -> ViewMut<'_> {
        self.tensor.view_mut().part(slot.offset, slot.shape)
    }

    /// Two different slots at once.
    pub fn pair_mut(&mut self, a: &Slot, b: &Slot) -> (ViewMut<'_>, ViewMut<'_>) {
        self.tensor.view_mut().parts((a.offset, a.shape), (b.offset, b.shape))
    }

    pub fn all(&self) -> View<'_> {
        self.tensor.view()
    }

    pub fn all_mut(&mut self) -> ViewMut<'_> {
        self.tensor.view_mut()
    }

    /// Elements `offset..offset + len`.
    pub fn range_mut(&mut self, offset: usize, len: usize) -> ViewMut<'_> {
        self.tensor.view_mut().part(offset, Shape::vector(len))
    }

    pub fn range(&self, offset: usize, len: usize) -> View<'_> {
        self.tensor.view().part(offset, Shape::vector(len))
    }
}
