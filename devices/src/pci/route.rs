//! Where a message-signalled vector's events go, and what is said when they cannot.

use std::io;
use std::sync::Arc;

use crate::interrupt::{MsiMessage, MsiVector};

use super::msix::event;

/// What one entry of a table, or one vector of MSI, drives.
pub(crate) trait Routed {
    /// Delivers the vector's signals as `message`, those that wait included; `None` keeps them waiting. After an error
    /// the vector is unrouted. Errors are reported by [`Route`], and so name what they concern.
    fn route(&mut self, message: Option<MsiMessage>) -> io::Result<()>;
    /// Whether a signal waits. Asked only while the vector is unrouted.
    fn pending(&self) -> bool;
}

impl Routed for Arc<dyn MsiVector> {
    fn route(&mut self, message: Option<MsiMessage>) -> io::Result<()> {
        MsiVector::route(self.as_ref(), message)
    }

    fn pending(&self) -> bool {
        event::is_signalled(self.event())
    }
}

/// A vector and where it is routed.
pub(crate) struct Route<V> {
    vector: V,
    now: Option<MsiMessage>,
}

impl<V: Routed> Route<V> {
    /// A vector that is not routed.
    pub(crate) fn new(vector: V) -> Self {
        Self { vector, now: None }
    }

    pub(crate) fn vector(&mut self) -> &mut V {
        &mut self.vector
    }

    /// Routes it to `wanted`; `None` while it cannot be delivered. `kind` and `index` are what reports call it.
    pub(crate) fn set(&mut self, kind: &str, index: usize, wanted: Option<MsiMessage>) {
        if wanted == self.now {
            return;
        }
        let result = self.vector.route(wanted);
        self.now = wanted.filter(|_| result.is_ok());
        let Err(error) = result else { return };
        if wanted.is_some() {
            // The old message must not go on being delivered in place of the new one. What is signalled from here on
            // waits until a later change of the entry succeeds.
            let _ = self.vector.route(None);
        }
        crate::limited_warn!("{kind} vector {index} cannot interrupt the guest: {error}");
    }

    /// Whether a signal waits for a route.
    pub(crate) fn pending(&self) -> bool {
        self.now.is_none() && self.vector.pending()
    }
}
