//! Values that are joined by commas.

use super::MountError;

/// The fields of a line of values that are joined by commas. One in quotation marks may have commas, and doubled quotation marks for one
/// (RFC 4180, which Docker's reader follows).
pub(super) fn fields(text: &str) -> Result<Vec<String>, MountError> {
    let wrong = || MountError::Quotes(text.to_owned());
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, more) = match rest.split_once(',') {
                Some((field, more)) => (field, Some(more)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err(wrong());
            }
            fields.push(field.to_owned());
            match more {
                Some(more) => rest = more,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut left = quoted;
        loop {
            let (part, more) = left.split_once('"').ok_or_else(wrong)?;
            field.push_str(part);
            let Some(more) = more.strip_prefix('"') else {
                left = more;
                break;
            };
            field.push('"');
            left = more;
        }
        fields.push(field);
        match left.strip_prefix(',') {
            Some(more) => rest = more,
            None if left.is_empty() => return Ok(fields),
            None => return Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_in_quotation_marks() {
        let split = |text: &str| fields(text).ok().map(|fields| fields.join("|"));
        for (text, expected) in [
            ("a,b", Some("a|b")),
            ("", Some("")),
            ("a,", Some("a|")),
            (r#""a,b",c"#, Some("a,b|c")),
            (r#"c,"a ""b"",",d"#, Some(r#"c|a "b",|d"#)),
            (r#""","#, Some("|")),
            (r#""a"#, None),
            (r#"a"b"#, None),
            (r#""a"b,c"#, None),
        ] {
            assert_eq!(split(text).as_deref(), expected, "{text}");
        }
    }
}
