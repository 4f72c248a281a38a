//! A frame whose every window is checked when the program runs.
//!
//! The compiler leaves out a check that follows from an earlier one, such as for the link layer of a packet whose transport
//! header is there. The verifier does not follow that, so here the compiler is not told what it could conclude from.

use core::hint::black_box;

use crate::frame::Frame;

/// See the module.
pub(super) struct Checked<'a, F>(pub(super) &'a mut F);

impl<F: Frame> Frame for Checked<'_, F> {
    type Window<'a, const N: usize>
        = F::Window<'a, N>
    where
        Self: 'a;

    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn window<const N: usize>(&self, at: usize) -> Option<Self::Window<'_, N>> {
        self.0.window(black_box(at))
    }

    #[inline(always)]
    fn move_head(&mut self, by: i32) -> bool {
        self.0.move_head(by)
    }

    #[inline(always)]
    fn set_len(&mut self, len: usize) -> bool {
        self.0.set_len(len)
    }
}
