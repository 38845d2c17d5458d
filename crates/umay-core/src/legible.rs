//! Which characters are shown to people as they are, and which mislead them.

/// True for what does something else in a text than to show itself: control characters, what some readers take for the
/// end of a line, what changes the direction of text (`Bidi_Control`), and what does not show
/// (`Default_Ignorable_Code_Point` of Unicode 16, and the marks of annotations).
pub fn misleads(char: char) -> bool {
    if char.is_ascii() {
        return char.is_ascii_control();
    }
    matches!(
        char,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_itself_does_not_mislead() {
        for char in " ~\u{a0}\u{ac}\u{ae}ü漢🎉\u{200a}\u{2010}\u{2027}\u{202f}\u{fdff}\u{fe10}\u{fffc}\u{fffd}\u{e1000}".chars() {
            assert!(!misleads(char), "{char:?}");
        }
    }

    #[test]
    fn what_does_something_else_does() {
        let ends = "\0\n\r\u{1f}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{2028}\u{2029}";
        let turns = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}";
        // The last ones are ASCII that nobody sees, and what any bytes can be written with behind a letter.
        let unseen = "\u{ad}\u{180e}\u{200b}\u{2060}\u{3164}\u{feff}\u{fe0f}\u{e0041}\u{e01ef}";
        for char in ends.chars().chain(turns.chars()).chain(unseen.chars()) {
            assert!(misleads(char), "{char:?}");
        }
    }
}
