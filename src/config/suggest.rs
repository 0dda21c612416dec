//! The known name most like an unknown one, for messages.
//!
//! Invariant: cost is bounded, because names longer than [`MAX_NAME_BYTES`] are not compared.

/// Longest name that is compared, in bytes.
const MAX_NAME_BYTES: usize = 80;

/// The nearest of `known` by edit distance, if it differs in at most a third of its letters. A known name
/// whose last part is exactly `name`'s last part counts as near: the section alone was wrong.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let mut by_part = None;
    let mut by_distance = None;
    for candidate in known {
        let distance = edit_distance(name.as_bytes(), candidate.as_bytes());
        let limit = (candidate.len() / 3).max(1);
        if distance <= limit && by_distance.is_none_or(|(best, _)| distance < best) {
            by_distance = Some((distance, candidate));
        }
        if by_part.is_none() && last_part(name) == last_part(candidate) {
            by_part = Some(candidate);
        }
    }
    by_distance.map(|(_, candidate)| candidate).or(by_part)
}

fn last_part(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Levenshtein distance over bytes: insertions, deletions and substitutions cost 1 each.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_single_letter_edits() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
        {
            assert_eq!(edit_distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            assert_eq!(edit_distance(b.as_bytes(), a.as_bytes()), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_strange_one_suggests_nothing() {
        let known = ["cycle.period_ms", "kafka.mode", "kafka.brokers"];
        let find = |name| nearest(name, known.into_iter());
        assert_eq!(find("cycle.perid_ms"), Some("cycle.period_ms"));
        assert_eq!(find("kafka.modes"), Some("kafka.mode"));
        assert_eq!(find("clock.period_ms"), Some("cycle.period_ms"));
        assert_eq!(find("wallpaper"), None);
        assert_eq!(find(&"x".repeat(10_000)), None);
    }
}
