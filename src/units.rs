//! Words that settings, plans and reports have in common: amounts of bytes and of CPUs, and who owns something.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of bytes, written as docker writes it: `512m`, `16g`, `1.5GiB`.
///
/// Docker's letters count in 1024s, whatever follows them: `1g` and `1gb` are 1 GiB. The `bytesize` crate reads both as
/// a billion bytes, which would make every limit smaller than the one docker sets for the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The most that can be set: the Engine counts in signed 64 bits.
    pub const MAX: u64 = i64::MAX as u64;
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "give bytes, or a number with k, m, g or t, such as 16g".to_owned();
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
        let (number, unit) = lower.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let factor: u64 = match unit.trim() {
            "" | "b" => 1,
            "k" | "kb" | "ki" | "kib" => 1 << 10,
            "m" | "mb" | "mi" | "mib" => 1 << 20,
            "g" | "gb" | "gi" | "gib" => 1 << 30,
            "t" | "tb" | "ti" | "tib" => 1 << 40,
            _ => return Err(wrong()),
        };
        let bytes = number * factor as f64;
        // As a float the bound is rounded up, to one byte more than it is.
        if bytes < Self::MAX as f64 {
            Ok(Self(bytes as u64))
        } else {
            Err(format!("give less than {}", Self(Self::MAX)))
        }
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that leaves at least 1, with one decimal where it isn't whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 >= 1 << shift {
                let number = self.0 as f64 / (1u64 << shift) as f64;
                return if number.fract() == 0.0 {
                    write!(f, "{number} {unit}")
                } else {
                    write!(f, "{number:.1} {unit}")
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A number of CPUs, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cpus(pub u32);

impl Cpus {
    /// So many whole CPUs.
    pub fn whole(cpus: u32) -> Self {
        Self(cpus.saturating_mul(1000))
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().parse::<f64>() {
            Ok(cpus) if (0.01..=4096.0).contains(&cpus) => Ok(Self((cpus * 1000.0).round() as u32)),
            _ => Err("give a number of CPUs, such as 4 or 1.5".to_owned()),
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

/// A user and a group, by their numbers: whom a process runs as, or who owns a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl User {
    /// Root, with root's group.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };

    /// Whom this process runs as.
    pub fn own() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// So many of them, in words: `1 file`, `3 files`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_as_docker_writes_them() {
        for (text, bytes) in
            [("512m", 512 << 20), ("1g", 1 << 30), ("1.5GiB", 3 << 29), ("4096", 4096), ("2 TB", 2 << 40)]
        {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["9223372036854775808", "8388608t", "99999999999999999999999999g"] {
            let refused = text.parse::<ByteSize>().expect_err("more than the Engine counts");
            assert!(refused.contains("less than 8388608 TiB"), "{text}: {refused}");
        }
        for text in ["banana", "", "-1", "16q", "1e400g", "g"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(3 << 29).to_string(), "1.5 GiB");
    }
}
