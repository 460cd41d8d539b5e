//! Git's settings that run nothing and lead nowhere. A list of these, and not of the others: what a later git can be told to
//! run is told without being known here.

/// Settings by the first word of their names, and the last ones.
const HARMLESS: &[(&str, &[&str])] = &[
    ("branch", &["autosetuprebase", "description", "merge", "pushremote", "rebase", "remote", "vscode-merge-base"]),
    (
        "core",
        &[
            "abbrev",
            "autocrlf",
            "bare",
            "compression",
            "eol",
            "filemode",
            "fscache",
            "ignorecase",
            "logallrefupdates",
            "precomposeunicode",
            "quotepath",
            "repositoryformatversion",
            "safecrlf",
            "sparsecheckout",
            "sparsecheckoutcone",
            "symlinks",
            "untrackedcache",
            "whitespace",
        ],
    ),
    ("extensions", &["objectformat", "partialclone", "preciousobjects", "refstorage", "worktreeconfig"]),
    ("fetch", &["prune", "prunetags", "recursesubmodules"]),
    ("gc", &["auto"]),
    ("index", &["version"]),
    ("init", &["defaultbranch"]),
    ("lfs", &["access", "locksverify", "repositoryformatversion"]),
    ("maintenance", &["auto", "strategy"]),
    ("merge", &["conflictstyle", "ff"]),
    ("pull", &["ff", "rebase"]),
    ("push", &["autosetupremote", "default", "followtags"]),
    ("rebase", &["autosquash", "autostash"]),
    (
        "remote",
        &["fetch", "gh-resolved", "partialclonefilter", "promisor", "prune", "push", "pushurl", "tagopt", "url"],
    ),
    ("rerere", &["autoupdate", "enabled"]),
    ("submodule", &["active", "url"]),
    ("user", &["email", "name"]),
];

/// Whether this setting, named as git lists it, runs nothing with this value.
pub(super) fn is(key: &str, value: &str) -> bool {
    let (Some((section, _)), Some((_, name))) = (key.split_once('.'), key.rsplit_once('.')) else { return false };
    let listed = HARMLESS.iter().any(|(known, names)| *known == section && names.contains(&name));
    // `ext::command` as a URL is a command, and any other such helper a program.
    let helper = name.ends_with("url") && value.contains("::");
    listed && !helper
}

#[cfg(test)]
mod tests {
    use super::is;

    #[test]
    fn what_runs_programs_is_not_harmless() {
        for (key, value) in [
            ("alias.st", "!run"),
            ("core.editor", "run"),
            ("core.fsmonitor", "run"),
            ("core.gitproxy", "run"),
            ("core.hookspath", "hooks"),
            ("core.pager", "run"),
            ("core.sshcommand", "run"),
            ("core.worktree", "../.."),
            ("credential.helper", "!run"),
            ("credential.https://host.example.helper", "run"),
            ("diff.x.textconv", "run"),
            ("filter.x.process", "run"),
            ("gpg.program", "run"),
            ("gpg.ssh.program", "run"),
            ("include.path", "other"),
            ("includeif.gitdir:/.path", "other"),
            ("merge.x.driver", "run"),
            ("remote.origin.uploadpack", "run"),
            ("remote.origin.url", "ext::run"),
            ("submodule.lib.update", "!run"),
            ("url.ext::run.insteadof", "https://"),
        ] {
            assert!(!is(key, value), "{key}");
        }
        assert!(is("remote.origin.url", "https://host.example/a") && is("branch.a.b.remote", "origin"));
    }
}
