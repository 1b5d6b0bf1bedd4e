//! `key=value,key=value`, as Docker's flags have it: a line of CSV (RFC 4180), whose fields are pairs.

/// The pairs of `text`, in their order; a field without `=` has an empty value and is marked by `None`.
///
/// # Errors
/// A quote that is not closed.
pub fn parse(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let fields = fields(text)?;
    let pairs = fields.into_iter().filter(|field| !field.is_empty());
    Ok(pairs
        .map(|field| match field.split_once('=') {
            Some((key, value)) => (key.trim().to_lowercase(), Some(value.to_owned())),
            None => (field.clone(), None),
        })
        .collect())
}

fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut rest = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(character) = rest.next() {
        // There is one field at the least.
        let Some(field) = fields.last_mut() else {
            break;
        };
        match character {
            '"' if is_quoted && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if is_quoted {
        return Err(format!("a quote in '{text}' is not closed"));
    }
    Ok(fields)
}

/// `KEY=VALUE`.
///
/// # Errors
/// Without a key.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("<key>=<value> is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_csv() {
        let pairs = |text: &str| {
            let pairs = parse(text).unwrap().into_iter();
            pairs
                .map(|(key, value)| value.map_or(key.clone(), |value| format!("{key}:{value}")))
                .collect::<Vec<_>>()
        };
        assert_eq!(pairs("type=local,dest=out"), ["type:local", "dest:out"]);
        assert_eq!(pairs("id=a,\"src=x,y\""), ["id:a", "src:x,y"]);
        assert_eq!(pairs("\"a=say \"\"x\"\"\""), ["a:say \"x\""]);
        assert_eq!(pairs("out"), ["out"]);
        assert_eq!(pairs("Type=tar,,"), ["type:tar"]);
        assert!(parse("\"a").is_err());
        assert!(pair("=x").is_err() && pair("x").is_err());
    }
}
