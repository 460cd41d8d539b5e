//! Passwords in addresses: `http://me:secret@proxy:3128`.

use std::sync::LazyLock;

use regex::Regex;

/// What stands where a secret was.
const HIDDEN: &str = "***";

/// `text`, with `***` for user and password of every address in it.
pub fn without_passwords(text: &str) -> String {
    // A password may hold an `@` that nobody escaped: the last one before the host counts.
    static USER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/"'@]*(?:@[^\s/"'@]*)*@"#).expect("valid")
    });
    USER.replace_all(text, format!("${{scheme}}{HIDDEN}@")).into_owned()
}

/// What must not be shown: addresses that hold a password. `Debug` shows none of them.
#[derive(Clone, Default)]
pub struct Hidden(Vec<String>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} hidden", self.0.len())
    }
}

impl Hidden {
    /// Hides user and password of those values that are addresses with one.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a String>) -> Self {
        let user = |value: &'a String| {
            let (_, rest) = value.split_once("://")?;
            let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
            (!user.is_empty()).then(|| user.to_owned())
        };
        let users: Vec<String> = values.into_iter().filter_map(user).collect();
        let passwords = users.iter().filter_map(|user| user.split_once(':')).map(|(_, password)| password.to_owned());
        let passwords: Vec<String> = passwords.filter(|password| password.len() > 3).collect();
        let mut hidden: Vec<String> = users.into_iter().chain(passwords).collect();
        // The longest first: what is part of another one would leave the rest of that one standing.
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(hidden)
    }

    /// These and others.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self
    }

    /// `text`, with `***` for each of them, wherever it stands.
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_user_and_password() {
        for (text, expected) in [
            ("http://me:hush@proxy:3128/", "http://***@proxy:3128/"),
            ("a http://me:hu@sh@proxy b https://x/y@z", "a http://***@proxy b https://x/y@z"),
            ("Get \"https://me:hush@x/v2/\": no", "Get \"https://***@x/v2/\": no"),
            ("http://proxy:3128 me@there", "http://proxy:3128 me@there"),
        ] {
            assert_eq!(without_passwords(text), expected);
        }
    }

    #[test]
    fn what_is_hidden_is_found_anywhere() {
        let values = ["http://me:hush@proxy:3128", "localhost,.corp", "http://proxy"].map(str::to_owned);
        let hidden = Hidden::of(&values);
        assert_eq!(hidden.redact("curl -x http://me:hush@proxy: hush, me"), "curl -x http://***@proxy: ***, me");
        assert!(!format!("{hidden:?}").contains("hush"));
        let one_in_the_other = ["http://me:hush@a", "http://me:hush-hush@b"].map(str::to_owned);
        assert_eq!(Hidden::of(&one_in_the_other).redact("http://me:hush-hush@b"), "http://***@b");
    }
}
