//! What a line of shell runs, where that can be told without being a shell.

/// Words that a shell knows by itself: POSIX's, and those of bash and busybox.
const BUILTIN: &[&str] = &[
    ".",
    ":",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "continue",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

/// The program that a shell's line consists of: `exec web --port 80` of `/bin/sh -c`. None: it isn't one program, or only
/// a shell could tell.
pub fn program(command: &[String]) -> Option<&str> {
    let [shell, option, line] = command else { return None };
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-' | '/' | ':' | ',' | '@' | '%' | '+');
    if shell != "/bin/sh" || option != "-c" || !line.chars().all(plain) {
        return None;
    }
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let word = words.next().and_then(|first| if first == "exec" { words.next() } else { Some(first) })?;
    (!BUILTIN.contains(&word) && !word.starts_with('-')).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_told() {
        for (line, expected) in [
            ("web --port 80", Some("web")),
            ("  exec /opt/web/bin/web  serve", Some("/opt/web/bin/web")),
            ("exec", None),
            ("exec -a name web", None),
            ("cd web", None),
            ("true", None),
            ("web && other", None),
            ("A=b web", None),
            ("$WEB", None),
            ("web 'a b'", None),
            ("web\nother", None),
            ("~/web", None),
            ("", None),
        ] {
            let command = ["/bin/sh", "-c", line].map(str::to_owned);
            assert_eq!(program(&command), expected, "{line}");
        }
        assert_eq!(program(&["bash".into(), "-c".into(), "web".into()]), None);
        assert_eq!(program(&["web".into()]), None);
    }
}
