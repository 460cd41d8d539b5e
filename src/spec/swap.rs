//! What containers are called while one takes another's place. No environment's name has capitals: nothing else is
//! called so.

/// What follows the name of the one that is to take the place.
pub const INCOMING: &str = "NEW";
/// What follows the name of the one whose place is taken.
pub const OUTGOING: &str = "OLD";

/// What the container that is to have this name is called until it gets it.
pub fn incoming(name: &str) -> String {
    format!("{name}.{INCOMING}")
}

/// What the container that had this name is called until the other one runs.
pub fn outgoing(name: &str) -> String {
    format!("{name}.{OUTGOING}")
}
