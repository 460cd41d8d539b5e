//! How full a file system is.

use std::path::Path;

/// A file system on which less than the rest is left is nearly full, in hundredths.
const NEARLY: u64 = 90;

/// A file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// What is taken.
    pub used: u64,
    /// What can still be written by a user: some may be kept for root.
    pub available: u64,
    /// All of it.
    pub total: u64,
    /// What no other one has.
    pub id: u64,
}

impl FileSystem {
    /// The one that `path` lies on. May block for as long as that is a network drive that is gone.
    ///
    /// # Errors
    /// Those of `statvfs`.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Self { used: bytes(used), available: bytes(stat.f_bavail), total: bytes(stat.f_blocks), id: stat.f_fsid })
    }

    /// How full it is for a user, in hundredths, as `df` tells it.
    pub fn percent(&self) -> u64 {
        let usable = u128::from(self.used) + u128::from(self.available);
        let percent = (u128::from(self.used) * 100).div_ceil(usable.max(1));
        u64::try_from(percent).unwrap_or(100)
    }

    /// Whether that is so much that it should be known: nothing limits what is written inside.
    pub fn is_nearly_full(&self) -> bool {
        self.percent() >= NEARLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_as_df_says() {
        let percent = |used, available, total| FileSystem { used, available, total, id: 0 }.percent();
        assert_eq!(percent(0, 0, 0), 0);
        assert_eq!(percent(89, 11, 100), 89);
        assert_eq!(percent(85, 5, 100), 95, "ten are kept for root");
        assert_eq!(percent(u64::MAX, u64::MAX, u64::MAX), 50);
        assert!(FileSystem { used: 895, available: 105, total: 1000, id: 0 }.is_nearly_full(), "rounded up");
        let here = FileSystem::of(Path::new("/")).expect("there is a root");
        assert!(here.total >= here.used && here.total > 0, "{here:?}");
    }
}
