//! The TOML parser's complaints in the words of someone who fills in a configuration.

/// What to say about a complaint of the parser, whose mark covers the text `marked`, and what to advise.
///
/// Complaints that are not known here are passed on as they are, so that another version of the parser only
/// costs friendliness.
pub fn explain(complaint: &str, marked: &str) -> (String, Option<String>) {
    let complaint = complaint.strip_suffix(", expected nothing").unwrap_or(complaint);
    let marked_word = marked.trim();
    let plain = |c: char| c.is_alphanumeric() || "._-/:~".contains(c);
    if complaint.starts_with("string values must be quoted") {
        return if marked_word.is_empty() {
            ("the value is missing".into(), None)
        } else if marked_word.chars().all(plain) {
            (
                format!("`{marked_word}` must be in quotes"),
                Some(format!("write \"{marked_word}\"; only numbers, true and false go without")),
            )
        } else {
            ("this is no value".into(), Some("strings go in quotes".into()))
        };
    }
    if complaint.starts_with("invalid boolean") {
        return ("this is no value".into(), Some("write true or false, in small letters".into()));
    }
    if complaint == "duplicate key" {
        return (format!("`{marked_word}` is given a second time"), None);
    }
    if complaint.starts_with("key with no value") {
        return ("there is no `=` after the key".into(), None);
    }
    if complaint.starts_with("invalid basic string") || complaint.starts_with("invalid literal string") {
        return ("the string does not end on this line".into(), Some("add the closing quote".into()));
    }
    if complaint.contains("unicode value digits") || complaint.contains("escape") {
        return (
            format!("unknown escape in a string: {complaint}"),
            Some("between double quotes `\\` begins an escape; single quotes take it as it is".into()),
        );
    }
    (complaint.into(), None)
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn an_unknown_complaint_is_passed_on() {
        assert_eq!(explain("extra `=`, expected nothing", "="), ("extra `=`".into(), None));
        assert_eq!(explain("something new", ""), ("something new".into(), None));
    }
}
