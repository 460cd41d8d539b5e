//! Networks: a bridge of its own for each environment.

use serde_json::json;

use super::{Engine, EngineError, Operation, create};
use crate::spec::{NetworkSpec, label};

impl Engine {
    /// Makes a bridge unless it is there. Returns whether it was made.
    ///
    /// # Errors
    /// Among others: one that isn't ours has the name ([`EngineError::Foreign`]).
    pub async fn ensure_network(&self, network: &NetworkSpec) -> Result<bool, EngineError> {
        let NetworkSpec { name, project } = network;
        if self.has_network(name).await? {
            return Ok(false);
        }
        // bollard can't say CheckDuplicate, without which Engines before API 1.44 make a second one of that name.
        let body = json!({ "Name": name, "CheckDuplicate": true, "Driver": "bridge", "Labels": create::own_labels(project, env!("CARGO_PKG_VERSION")) });
        let call = self.transport.post("/networks/create", &body);
        match self.call(Operation::CreateNetwork(name.clone()), call).await {
            Ok(_) => Ok(true),
            // Another powerdev was quicker.
            Err(error) if error.is_conflict() && self.has_network(name).await? => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a network of this name.
    ///
    /// # Errors
    /// Among others: one that isn't ours has the name ([`EngineError::Foreign`]).
    pub async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        let call = self.docker.inspect_network(name, None);
        match self.call(Operation::InspectNetwork(name.into()), call).await {
            // The Engine also finds networks by the beginning of their IDs.
            Ok(network) if network.name.as_deref() != Some(name) => Ok(false),
            Ok(network) if network.labels.as_ref().is_some_and(|labels| labels.contains_key(label::PROJECT)) => {
                Ok(true)
            }
            Ok(_) => Err(EngineError::Foreign { what: "a network", name: name.into() }),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a network. One that is gone already is fine.
    ///
    /// # Errors
    /// Among others: a container uses it.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        match self.call(Operation::RemoveNetwork(name.into()), self.docker.remove_network(name)).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}
