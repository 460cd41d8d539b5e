//! How every part tells an error: with its causes, on one line.

/// An error and its causes on one line, each told once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn each_cause_is_told_once() {
        let last = Told("no such file", None);
        let same = Told("can't read a: no such file", Some(Box::new(last)));
        assert_eq!(chain(&Told("can't start", Some(Box::new(same)))), "can't start: can't read a: no such file");
    }
}
