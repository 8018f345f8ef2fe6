//! Path patterns: `/files/{room}/{id:int}/{rest:path}`.
//!
//! A pattern is literal segments and captures, one capture a segment. Kinds of captures are checked after the path
//! matched by shape, so that `/x/{id:int}` and `/x/{name}` can stand side by side.
//! Invariant: literals are kept in the same canonical form as the paths of requests.

use std::fmt;

use crate::path;

/// What a capture takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A whole number that fits 64 bits.
    Int,
    /// 8-4-4-4-12 hexadecimal digits.
    Uuid,
    /// A number.
    Float,
    /// ASCII letters, digits, '-' and '_'.
    Slug,
    /// One segment, not empty.
    Any,
    /// All the rest, slashes included; only at the end.
    Path,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Segment {
    Literal(String),
    Capture(String, Kind),
}

/// A parsed pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    written: String,
    segments: Vec<Segment>,
}

impl Pattern {
    /// Parses a pattern; the error is a sentence for whoever wrote it.
    pub fn parse(written: &str) -> Result<Self, String> {
        let rest = written.strip_prefix('/').ok_or_else(|| format!("`{written}` must begin with '/'"))?;
        let segments: Vec<_> = rest.split('/').map(segment).collect::<Result<_, _>>()?;
        let open = segments.iter().rev().skip(1).any(|s| matches!(s, Segment::Capture(_, Kind::Path)));
        if open {
            return Err("a capture of kind `path` takes all the rest, so it must be the last segment".into());
        }
        let names: Vec<_> = segments.iter().filter_map(Segment::capture).map(|(name, _)| name).collect();
        if let Some(twice) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            return Err(format!("the capture `{}` is there twice", twice.1));
        }
        Ok(Self { written: written.to_owned(), segments })
    }

    /// The form that the path matcher knows, with captures named by their place.
    pub fn matcher(&self) -> String {
        let mut text = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Literal(literal) => {
                    text.push_str(&format!("/{}", literal.replace('{', "{{").replace('}', "}}")))
                }
                Segment::Capture(_, Kind::Path) => text.push_str(&format!("/{{*p{index}}}")),
                Segment::Capture(..) => text.push_str(&format!("/{{p{index}}}")),
            }
        }
        text
    }

    /// Equal for two patterns that take the same paths; the names of captures do not count.
    pub fn shape(&self) -> String {
        let shape = |segment: &Segment| match segment {
            Segment::Literal(literal) => format!("/{literal}"),
            Segment::Capture(_, kind) => format!("/{{{kind:?}}}"),
        };
        self.segments.iter().map(shape).collect()
    }

    /// Where each capture stands: all that is before it, with captures of any kind and name as one. And whether it takes all
    /// the rest, which excludes that another pattern captures one segment there, and the other way round.
    pub fn forks(&self) -> Vec<(String, bool)> {
        let (mut before, mut forks) = (String::new(), Vec::new());
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => before.push_str(&format!("/{literal}")),
                Segment::Capture(_, kind) => {
                    forks.push((before.clone(), *kind == Kind::Path));
                    before.push_str("/{}");
                }
            }
        }
        forks
    }

    /// The kinds of its captures, in order: of two patterns of one form, the one with the lesser list is tried first.
    pub fn kinds(&self) -> Vec<Kind> {
        self.segments.iter().filter_map(Segment::capture).map(|(_, kind)| kind).collect()
    }

    /// Decodes and checks what was captured; none where a kind does not fit.
    pub fn captures<'a>(&self, raw: impl Iterator<Item = &'a str>) -> Option<Vec<(String, String)>> {
        let captures = self.segments.iter().filter_map(Segment::capture);
        captures.zip(raw).map(|((name, kind), raw)| Some((name.to_owned(), take(kind, raw)?))).collect()
    }
}

impl Segment {
    fn capture(&self) -> Option<(&str, Kind)> {
        match self {
            Self::Literal(_) => None,
            Self::Capture(name, kind) => Some((name, *kind)),
        }
    }
}

fn segment(written: &str) -> Result<Segment, String> {
    let Some(inner) = written.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return literal(written);
    };
    let (name, kind) = inner.split_once(':').unwrap_or((inner, "str"));
    let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        return Err(format!("`{written}`: a capture's name has letters, digits and '_' only"));
    }
    let kind = match kind {
        "str" => Kind::Any,
        "int" => Kind::Int,
        "float" => Kind::Float,
        "uuid" => Kind::Uuid,
        "slug" => Kind::Slug,
        "path" => Kind::Path,
        other => {
            return Err(format!("`{other}` is not a kind of capture; there are str, int, float, uuid, slug, path"));
        }
    };
    Ok(Segment::Capture(name.to_owned(), kind))
}

fn literal(written: &str) -> Result<Segment, String> {
    if written.contains(['{', '}']) {
        return Err(format!("`{written}`: a capture is a whole segment, like `{{name}}` or `{{id:int}}`"));
    }
    let canonical = path::canonical_segment(written);
    canonical.map(Segment::Literal).ok_or_else(|| format!("`{written}` is not a segment of a path"))
}

fn take(kind: Kind, raw: &str) -> Option<String> {
    let text = path::decode(raw)?;
    let fits = match kind {
        Kind::Int => text.parse::<i64>().is_ok() && !text.starts_with('+'),
        Kind::Float => is_float(&text),
        Kind::Uuid => is_uuid(&text),
        Kind::Slug => text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
        Kind::Any | Kind::Path => true,
    };
    (fits && !text.is_empty()).then_some(text)
}

/// Rust's parser also takes "inf" and "nan", which nobody means in a path.
fn is_float(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'e' | b'E'));
    plain && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_patterns_say_why() {
        for (pattern, reason) in [
            ("ws", "must begin with '/'"),
            ("/{x", "a capture is a whole segment"),
            ("/a{x}", "a capture is a whole segment"),
            ("/{}", "letters, digits and '_' only"),
            ("/{a:number}", "not a kind of capture"),
            ("/{a:path}/b", "must be the last segment"),
            ("/{a}/{a}", "is there twice"),
            ("/../a", "not a segment"),
        ] {
            let error = Pattern::parse(pattern).expect_err(pattern);
            assert!(error.contains(reason), "{pattern}: {error}");
        }
    }

    #[test]
    fn kinds_take_what_they_say() {
        let uuid = "123e4567-e89b-12d3-a456-426614174000";
        for (kind, good, bad) in [
            (Kind::Int, "-42", "4.2"),
            (Kind::Int, "0", "99999999999999999999"),
            (Kind::Float, "4.2e1", "nan"),
            (Kind::Uuid, uuid, "123e4567"),
            (Kind::Slug, "a-b_1", "a%20b"),
            (Kind::Any, "caf%C3%A9", "%FF"),
        ] {
            assert!(take(kind, good).is_some(), "{kind:?} {good}");
            assert!(take(kind, bad).is_none(), "{kind:?} {bad}");
        }
    }
}
