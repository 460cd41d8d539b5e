//! Files as text.

use std::path::Path;

use crate::failure::Failure;

/// The file's bytes as text, without a byte order mark.
///
/// # Errors
/// A usage [`Failure`] naming file, line and the byte that is no UTF-8.
pub fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Failure> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let (before, after) = bytes.split_at(error.valid_up_to());
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = before.len() - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
            let byte = after.first().copied().unwrap_or_default();
            let failure =
                Failure::usage(format!("{}:{line}: not UTF-8: byte {byte:#04x} in column {column}", path.display()));
            Err(failure.hint("save the file as UTF-8"))
        }
    }
}
