//! Files and folders that somebody else can change while they are looked at.
//!
//! Whoever works in a container can swap a folder for a symbolic link, or a file for a device, between two of our looks;
//! so can whoever shares a folder with the user. So what lies below a folder is reached from a descriptor of that folder,
//! follows no link, and is opened as a bare handle first and read only once it is known to be a plain file. Owner and mode
//! are set on descriptors, never by a path.
//!
//! Straight on system calls, one a method. cap-std keeps a path inside of its root by following links as far as they stay
//! there, and each link is refused here: a link inside of a project can do harm, too. Nor has it bare handles, renames that
//! exchange or never replace, owners, free space and `syncfs`: most of what is here would stay.

mod beneath;
mod dir;
mod plain;

pub use beneath::{leads_astray, read_within};
#[cfg(test)]
pub use dir::make_pipe;
pub use dir::{Dir, MAX_DEPTH, give, join, kind, permissions};
pub use plain::{FileError, FileProblem, read, read_if_there, text};
