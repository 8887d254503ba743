//! Lists of SHA-256 sums in the formats of coreutils' `sha256sum`, `<hex>  <name>` or `<hex> *<name>`, of `sha256sum --tag`
//! and BSD's `sha256`, `SHA256 (<name>) = <hex>`, and of `openssl sha256`, `SHA2-256(<name>)= <hex>`.

use std::fmt;

use crate::driver::Sha256;

/// A list of sums; lines that are no sums are kept as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SumList(Vec<Line>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Sum { sum: Sha256, name: String },
    Other(String),
}

/// Two lines of one list give a file different sums.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are two different sums for `{0}`")]
pub(super) struct Contradiction(String);

impl SumList {
    pub(super) fn parse(text: &str) -> Self {
        // Of a line that ends in two of them, one would be left, and be lost when the list is read again.
        Self(text.lines().map(|line| Line::parse(line.trim_end_matches('\r'))).collect())
    }

    /// The sum of a file of this name, in whatever directory the list puts it.
    pub(super) fn find(&self, name: &str) -> Result<Option<Sha256>, Contradiction> {
        let mut sums = self.0.iter().filter_map(|line| match line {
            Line::Sum { sum, name: listed } if file_name(listed) == name => Some(*sum),
            _ => None,
        });
        let first = sums.next();
        if sums.all(|other| Some(other) == first) { Ok(first) } else { Err(Contradiction(name.to_owned())) }
    }

    /// Replaces or adds the sum of a file.
    pub(super) fn set(&mut self, name: &str, sum: Sha256) {
        let new = Line::Sum { sum, name: name.to_owned() };
        let is_old = |line: &Line| matches!(line, Line::Sum { name: listed, .. } if file_name(listed) == name);
        match self.0.iter().position(is_old) {
            Some(place) => {
                self.0[place] = new;
                let mut index = 0;
                self.0.retain(|line| {
                    index += 1;
                    index <= place + 1 || !is_old(line)
                });
            }
            None => self.0.push(new),
        }
    }

    /// Takes every sum of a file out.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|line| !matches!(line, Line::Sum { name: listed, .. } if file_name(listed) == name));
    }

    /// Whether a line that is no sum mentions this name: then what was recorded for it has been damaged.
    pub(super) fn mentions_without_sum(&self, name: &str) -> bool {
        let mentions = |line: &Line| matches!(line, Line::Other(text) if !text.starts_with('#') && text.contains(name));
        self.0.iter().any(mentions)
    }
}

impl Line {
    fn parse(text: &str) -> Self {
        Self::sum(text).or_else(|| Self::tagged(text)).unwrap_or_else(|| Self::Other(text.to_owned()))
    }

    fn sum(text: &str) -> Option<Self> {
        let (sum, name) = text.split_at_checked(64)?;
        let name = name.strip_prefix("  ").or_else(|| name.strip_prefix(" *"))?;
        Some(Self::Sum { sum: sum.parse().ok()?, name: (!name.is_empty()).then(|| name.to_owned())? })
    }

    fn tagged(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("SHA256").or_else(|| text.trim().strip_prefix("SHA2-256"))?;
        let (name, sum) = rest.trim_start().strip_prefix('(')?.rsplit_once(')')?;
        let sum = sum.trim_start().strip_prefix('=')?.trim().parse().ok()?;
        let is_name = !name.is_empty() && !name.contains(char::is_control);
        is_name.then(|| Self::Sum { sum, name: name.to_owned() })
    }
}

impl fmt::Display for SumList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| match line {
            Line::Sum { sum, name } => writeln!(f, "{sum}  {name}"),
            Line::Other(text) => writeln!(f, "{text}"),
        })
    }
}

fn file_name(listed: &str) -> &str {
    listed.rsplit('/').next().unwrap_or(listed)
}

/// The sum in a file that a server publishes beside `name`: a list that holds the name, or the sum and nothing else.
///
/// None when it holds neither, as when the server answers with a web page.
pub(super) fn published(text: &str, name: &str) -> Result<Option<Sha256>, Contradiction> {
    let found = SumList::parse(text).find(name)?;
    Ok(found.or_else(|| text.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "219be636b60931b021b2e8c1e0eff887363c731f8a940caa87bcc054d05d97fd";
    const NAME: &str = "NVIDIA-Linux-x86_64-580.76.05.run";

    fn other() -> String {
        SUM.replace('2', "3")
    }

    #[test]
    fn lines_of_every_tool_and_directories_are_understood() {
        for line in [
            format!("{SUM}  {NAME}"),
            format!("{SUM} *{NAME}\n"),
            format!("x\n{SUM}  ./a/{NAME}\n"),
            format!("SHA256 ({NAME}) = {SUM}\r\n"),
            format!("SHA2-256(/srv/{NAME})= {SUM}\n"),
        ] {
            assert_eq!(SumList::parse(&line).find(NAME).unwrap().unwrap().to_string(), SUM, "{line}");
        }
        assert_eq!(SumList::parse(&format!("{SUM}  x{NAME}")).find(NAME), Ok(None));
    }

    #[test]
    fn other_lines_stay_when_a_sum_is_set() {
        let text = format!("# mine\n{SUM}  {NAME}\nnonsense\n{SUM}  {NAME}\n");
        let mut list = SumList::parse(&text);
        list.set(NAME, other().parse().unwrap());
        assert_eq!(list.to_string(), format!("# mine\n{}  {NAME}\nnonsense\n", other()));
        list.set("b.run", SUM.parse().unwrap());
        assert!(list.to_string().ends_with(&format!("nonsense\n{SUM}  b.run\n")));
    }

    #[test]
    fn contradicting_lines_are_no_answer() {
        let list = SumList::parse(&format!("{SUM}  {NAME}\n{}  {NAME}\n", other()));
        assert_eq!(list.find(NAME).unwrap_err().to_string(), format!("there are two different sums for `{NAME}`"));
    }

    #[test]
    fn a_published_sum_may_stand_alone() {
        assert_eq!(published(&format!("{SUM}\n"), NAME).unwrap().unwrap().to_string(), SUM);
        assert_eq!(published(&format!("{SUM}  {NAME}\n"), NAME).unwrap().unwrap().to_string(), SUM);
        assert_eq!(published(&format!("{SUM}  other.run\n"), NAME), Ok(None));
        assert_eq!(published("<html>404</html>", NAME), Ok(None));
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in [format!("{SUM}  {NAME}\r\r\n"), format!("SHA256 ({NAME}\r) = {SUM}\n")] {
            let list = SumList::parse(&text);
            assert_eq!(SumList::parse(&list.to_string()).find(NAME), list.find(NAME), "{text:?}");
        }
    }

    #[test]
    fn a_damaged_line_is_noticed() {
        let list = SumList::parse(&format!("{}  {NAME}\n", &SUM[1..]));
        assert_eq!(list.find(NAME), Ok(None));
        assert!(list.mentions_without_sum(NAME));
        assert!(!SumList::parse(&format!("# about {NAME}\n")).mentions_without_sum(NAME));
    }
}
