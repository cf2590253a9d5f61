//! Where a service answers.

use crate::Address;

/// Names one endpoint of a channel for as long as the channel lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// One address at which a service answers, with what is known of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Its name within the channel.
    pub id: EndpointId,
    /// Where to connect to.
    pub address: Address,
    /// Its share of the calls, relative to its neighbours'. 100 is usual.
    pub weight: u32,
    /// What routing may look at: zone, version, set.
    pub labels: Vec<(String, String)>,
}

impl Endpoint {
    /// An endpoint of usual weight without labels.
    pub fn new(id: EndpointId, address: impl Into<Address>) -> Self {
        Self {
            id,
            address: address.into(),
            weight: 100,
            labels: Vec::new(),
        }
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}
