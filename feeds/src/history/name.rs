//! What the name of a file tells that its rows leave out: the symbol, the date, the file beside it.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::{HistoryError, calendar};

/// Endings that say how a file is stored, not what it holds.
const STORAGE_ENDINGS: [&str; 5] = [".gz", ".zst", ".csv", ".log", ".txt"];

/// What cryptocurrencies are quoted in, longest first.
const QUOTES: [&str; 6] = ["usdt", "usdc", "usd", "eur", "gbp", "btc"];

/// The file's name without endings such as `.csv.gz`; empty when it is not UTF-8.
pub(super) fn stem(path: &Path) -> &str {
    let mut stem = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    while let Some(shorter) = STORAGE_ENDINGS.iter().find_map(|ending| stem.strip_suffix(ending)) {
        stem = shorter;
    }
    stem
}

/// The date that is part `index` of the stem, parts being separated by `_`.
pub(super) fn date_part(path: &Path, index: usize) -> Option<Date> {
    calendar::date(stem(path).split('_').nth(index)?)
}

/// The error that the name does not tell something.
pub(super) fn lacks(path: &Path, missing: &'static str, expected: &'static str) -> HistoryError {
    HistoryError::Name { path: path.to_owned(), missing, expected }
}

/// The pair of currencies named by the file or else by its folder: `("btc", "usd")` of
/// `gdax_btcusd_l2/l2update_15min_1.csv`.
pub(super) fn pair(path: &Path) -> Option<(String, String)> {
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    [Some(stem(path)), folder].into_iter().flatten().find_map(|name| {
        let name = name.to_ascii_lowercase();
        let mut parts = name.split(|character: char| !character.is_ascii_alphanumeric());
        parts.find_map(|part| {
            let base = QUOTES.iter().find_map(|quote| part.strip_suffix(quote))?;
            let is_base =
                (3..=5).contains(&base.len()) && base.bytes().all(|b| b.is_ascii_lowercase());
            is_base.then(|| (base.to_owned(), part[base.len()..].to_owned()))
        })
    })
}

/// The existing file beside `path` with this stem and whatever compression.
pub(super) fn beside(path: &Path, stem: &str) -> Option<PathBuf> {
    ["csv.gz", "csv", "csv.zst"]
        .iter()
        .map(|ending| path.with_file_name(format!("{stem}.{ending}")))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_of_storage_are_no_part_of_the_stem() {
        assert_eq!(stem(Path::new("/a/2015-05-01.00h-16h.log.gz")), "2015-05-01.00h-16h");
        assert_eq!(stem(Path::new("x.csv.zst")), "x");
        assert_eq!(stem(Path::new("..")), "");
    }

    #[test]
    fn a_pair_is_told_by_the_file_or_its_folder() {
        let of = |path| pair(Path::new(path));
        let btcusd = Some(("btc".to_owned(), "usd".to_owned()));
        assert_eq!(of("gdax_btcusd_l2/l2update_15min_1.csv.gz"), btcusd);
        assert_eq!(of("x/BTCUSD-2015.log"), btcusd);
        assert_eq!(of("x/ethusdt_1.csv"), Some(("eth".to_owned(), "usdt".to_owned())));
        assert_eq!(of("x/l2update_15min_1.csv.gz"), None);
        assert_eq!(of("/usd.csv"), None);
    }
}
