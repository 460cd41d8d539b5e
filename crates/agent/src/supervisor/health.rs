//! The environment's health, from its services' states.

use powerdev_protocol::{Health, HealthState, ServiceState};

/// Every state with what there is to complain about, into one word and one line each.
pub fn of<F: FnOnce() -> String>(broken: Option<&str>, services: impl Iterator<Item = (ServiceState, F)>) -> Health {
    let mut state = HealthState::Healthy;
    let mut lines = Vec::new();
    if let Some(reason) = broken {
        state = HealthState::Unhealthy;
        lines.push(reason.to_string());
    }
    for (service, complaint) in services {
        let this = match service {
            ServiceState::Ready | ServiceState::Completed | ServiceState::Stopped => continue,
            ServiceState::Waiting | ServiceState::Starting | ServiceState::Stopping => HealthState::Starting,
            ServiceState::Unhealthy | ServiceState::Backoff | ServiceState::Failed => HealthState::Unhealthy,
        };
        lines.push(complaint());
        if state != HealthState::Unhealthy {
            state = this;
        }
    }
    Health { state, detail: lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(states: &[ServiceState], broken: Option<&str>) -> (HealthState, usize) {
        let health = of(broken, states.iter().map(|state| (*state, move || format!("{state:?}"))));
        (health.state, health.detail.lines().count())
    }

    #[test]
    fn the_worst_decides_and_each_that_is_not_well_is_told() {
        use ServiceState::*;
        assert_eq!(health(&[], None), (HealthState::Healthy, 0));
        assert_eq!(health(&[Ready, Completed, Stopped], None), (HealthState::Healthy, 0));
        assert_eq!(health(&[Ready, Waiting, Starting], None), (HealthState::Starting, 2));
        assert_eq!(health(&[Backoff, Starting], None), (HealthState::Unhealthy, 2));
        assert_eq!(health(&[Starting, Unhealthy, Failed], None), (HealthState::Unhealthy, 3));
        assert_eq!(health(&[Ready], Some("no services")), (HealthState::Unhealthy, 1));
    }
}
