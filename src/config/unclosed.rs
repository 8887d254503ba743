//! Which bracket of a malformed JSON text was forgotten to close, as far as the indentation gives that away.

/// A bracket that is open, and how its line is indented.
struct Open {
    at: usize,
    indentation: usize,
    line: usize,
}

/// The bracket whose end is missing: the first that is closed by one further left than the line on which it begins. To a
/// parser every end belongs to the innermost bracket, so that it finds the outermost one open at the end of the text.
///
/// Nothing where the indentation is consistent, as in a text that was cut off.
pub(super) fn unclosed(text: &str) -> Option<usize> {
    let mut open: Vec<Open> = Vec::new();
    let (mut indentation, mut line, mut line_start, mut is_first) = (0, 0, 0, true);
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\n' => (line, line_start, is_first) = (line + 1, at + 1, true),
            character if character.is_whitespace() => {}
            character => {
                if is_first {
                    indentation = at - line_start;
                }
                match character {
                    '{' | '[' => open.push(Open { at, indentation, line }),
                    '}' | ']' => {
                        let closed = open.pop()?;
                        if is_first && closed.line != line && indentation < closed.indentation {
                            return Some(closed.at);
                        }
                    }
                    '"' => skip_string(&mut characters),
                    _ => {}
                }
                is_first = false;
            }
        }
    }
    None
}

/// A bracket in a string is none.
fn skip_string(characters: &mut std::iter::Peekable<std::str::CharIndices<'_>>) {
    while let Some((_, character)) = characters.next_if(|(_, character)| *character != '\n') {
        match character {
            '"' => return,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of_unclosed(text: &str) -> Option<&str> {
        unclosed(text).map(|at| text[..at].rsplit('\n').next().unwrap().trim())
    }

    #[test]
    fn a_forgotten_bracket_is_found_by_the_next_one_further_left() {
        let text = "{\n  \"lxc_configs\": {\n    \"901\": {\n      \"name\": \"a\",\n    \"902\": {\n    }\n  }\n}\n";
        assert_eq!(line_of_unclosed(text), Some("\"901\":"));
        let text = "{\n  \"lxc_configs\": {\n    \"901\": { },\n    \"902\": { \"features\": [ ] }\n}\n";
        assert_eq!(line_of_unclosed(text), Some("\"lxc_configs\":"));
        let text = "{\n\t\"a\": {\n\t\t\"features\": [\n\t\t\t\"}\"\n\t}\n}\n";
        assert_eq!(line_of_unclosed(text), Some("\"features\":"));
    }

    #[test]
    fn where_the_indentation_says_nothing_none_is_named() {
        for text in ["", "{", "{\n  \"a\": {\n", "{ \"a\": { }", "{\n\"a\": {\n}\n", "}}", "\"\\", "{\n  \"a\": \"}\n}"]
        {
            assert_eq!(unclosed(text), None, "{text:?}");
        }
    }
}
