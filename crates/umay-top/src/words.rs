//! Numbers and names as people read them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Shown where nothing is known.
pub(crate) const NOTHING: &str = "–";

/// A text without what could command a terminal or turn the order of its letters around.
pub(crate) fn clean(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let shown = |c| if harmful(c) { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// How many columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text in so many columns at most; the end of a longer one is `…`.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = most.saturating_sub(1);
    for c in text.chars() {
        let takes = c.width().unwrap_or(0);
        if takes > left {
            break;
        }
        left -= takes;
        out.push(c);
    }
    if most > 0 {
        out.push('…');
    }
    out
}

/// Words in lines of so many columns. A word that is longer is broken.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word;
        if !line.is_empty() && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        while width(&line) + width(word) > columns {
            let mut room = columns - width(&line);
            let fits = |(_, c): &(usize, char)| {
                let takes = c.width().unwrap_or(0);
                let fits = takes <= room;
                room = room.saturating_sub(takes);
                fits
            };
            let end = word.char_indices().take_while(fits).last();
            // A line takes one character at least, or there would be no end.
            let first = word.chars().next().map_or(0, char::len_utf8);
            let end = end.map_or(first, |(at, c)| at + c.len_utf8());
            let (head, rest) = word.split_at(end);
            line.push_str(head);
            lines.push(std::mem::take(&mut line));
            word = rest;
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A number of things per second: `0`, `0.25`, `12.3`, `1,234`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        _ if !per_second.is_finite() => NOTHING.to_owned(),
        ..0.005 => "0".to_owned(),
        ..1.0 => format!("{per_second:.2}"),
        ..99.95 => format!("{per_second:.1}"),
        _ => count(per_second.round() as u64),
    }
}

/// A number with its thousands apart; from ten million on in millions.
pub(crate) fn count(count: u64) -> String {
    match count {
        ..10_000_000 => apart(count),
        10_000_000..10_000_000_000 => format!("{} M", one_place(count as f64 / 1e6)),
        _ => format!("{} G", one_place(count as f64 / 1e9)),
    }
}

fn one_place(number: f64) -> String {
    match number {
        ..100.0 => format!("{number:.1}"),
        _ => apart(number.round() as u64),
    }
}

fn apart(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time: `340 µs`, `1.2 ms`, `45 ms`, `2.5 s`; infinity is said to be more than the last bound that is told.
pub(crate) fn latency(ms: Option<f64>, last_bound_ms: f64) -> String {
    match ms {
        None => NOTHING.to_owned(),
        Some(ms) if ms.is_infinite() => format!(">{}", time(last_bound_ms)),
        Some(ms) => time(ms),
    }
}

fn time(ms: f64) -> String {
    match ms {
        ..1.0 => format!("{:.0} µs", ms * 1000.0),
        ..9.95 => format!("{ms:.1} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        ..9_950.0 => format!("{:.1} s", ms / 1000.0),
        _ => format!("{:.0} s", ms / 1000.0),
    }
}

/// Bytes: `312 B`, `1.5 KiB`, `23 MiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    let mut left = bytes;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if left < 999.5 {
            return match unit {
                "B" => format!("{left:.0} B"),
                _ if left < 9.95 => format!("{left:.1} {unit}"),
                _ => format!("{left:.0} {unit}"),
            };
        }
        left /= 1024.0;
    }
    format!("{left:.1} PiB")
}

/// The two largest units of a time: `3 d 4 h`, `5 min 12 s`, `9 s`.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A share in per cent: `0 %`, `0.2 %`, `12 %`.
pub(crate) fn share(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 {
        part / whole * 100.0
    } else {
        0.0
    };
    match percent {
        ..0.005 => "0 %".to_owned(),
        ..0.095 => format!("{percent:.2} %"),
        ..9.95 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.004, "0"),
            (0.25, "0.25"),
            (12.34, "12.3"),
            (99.94, "99.9"),
            (99.96, "100"),
            (1_234.5, "1,235"),
            (12_345_678.0, "12.3 M"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(rate(number), text, "{number}");
        }
        assert_eq!(count(9_999_999), "9,999,999");
        assert_eq!(count(123_456_789_012), "123 G");
        for (ms, text) in [
            (0.34, "340 µs"),
            (1.24, "1.2 ms"),
            (45.4, "45 ms"),
            (2_500.0, "2.5 s"),
            (12_000.0, "12 s"),
            (f64::INFINITY, ">10 s"),
        ] {
            assert_eq!(latency(Some(ms), 10_000.0), text, "{ms}");
        }
        assert_eq!(latency(None, 1.0), "–");
        for (number, text) in [
            (0.0, "0 B"),
            (1_000.0, "1.0 KiB"),
            (1_536.0, "1.5 KiB"),
            (24_000_000.0, "23 MiB"),
            (1e18, "888.2 PiB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
        for (part, text) in [
            (0.0, "0 %"),
            (0.05, "0.05 %"),
            (0.2, "0.2 %"),
            (99.6, "100 %"),
        ] {
            assert_eq!(share(part, 100.0), text);
        }
        assert_eq!(share(1.0, 0.0), "0 %");
        assert_eq!(duration(273_600), "3 d 4 h");
    }

    #[test]
    fn texts_keep_to_their_columns() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("abc", 0), "");
        for columns in 1..20 {
            for text in ["a bb ccc dddddddddddd e", "日本語 日本語", "", "  x"] {
                let lines = wrapped(text, columns);
                for line in &lines {
                    assert!(width(line) <= columns.max(2), "{columns}: {lines:?}");
                }
                let joined: String = lines.concat().replace(' ', "");
                assert_eq!(joined, text.replace(' ', ""));
            }
        }
    }
}
