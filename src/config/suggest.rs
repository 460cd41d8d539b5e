//! "Did you mean …": the nearest of the words that would have done.

/// The word nearest to `text`, if it is near enough to be what was meant.
pub fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= allowed(text.chars().count().max(word.chars().count())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many slips of the fingers a word of this length may hold.
fn allowed(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// The sentence, if there is a nearest word.
pub fn did_you_mean<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(text, words).map(|word| format!("did you mean `{word}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["DOCKER_CPUS", "DOCKER_MEMORY", "GPU"];
        for (text, expected) in [
            ("DOCKER_CPU", Some("DOCKER_CPUS")),
            ("docker_cpus", Some("DOCKER_CPUS")),
            ("DOKCER_MEMROY", Some("DOCKER_MEMORY")),
            ("GPUS", Some("GPU")),
            ("CPUSET", None),
            ("OPENAI_API_KEY", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, words), expected, "{text}");
        }
    }
}
