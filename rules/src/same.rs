//! A shared value that equals only itself.
//!
//! For keys: a policy that is parsed again is another version of it, even if nothing in it changed, and comparing two is
//! one comparison of pointers. A key keeps its value alive, so no other can come to stand where it stood.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

/// Equal to clones of itself, and to nothing else.
#[derive(Debug)]
pub(crate) struct Same<T: ?Sized>(pub(crate) Arc<T>);

impl<T: ?Sized> Clone for Same<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: ?Sized> Eq for Same<T> {}

impl<T: ?Sized> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).cast::<()>().hash(state);
    }
}
