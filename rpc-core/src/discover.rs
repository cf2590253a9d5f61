//! Who says where a service answers.

use crate::{Address, Status};

/// Finds the addresses of a service and goes on telling when they change.
pub trait Resolve: Send + 'static {
    /// Starts to watch. The first list is delivered before this returns; later ones whenever the set changes, always
    /// as a whole.
    ///
    /// # Errors
    ///
    /// When there is no first list: the status names the address or registry at fault.
    fn watch(self: Box<Self>, deliver: Deliver) -> Result<(), Status>;
}

/// Receives whole lists of addresses.
pub type Deliver = Box<dyn FnMut(Vec<Address>) + Send>;
