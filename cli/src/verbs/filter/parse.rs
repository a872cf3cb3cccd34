//! Text to a [`Condition`], by recursive descent.

use super::{Condition, Literal, Operator};

/// Parentheses and `not`s within each other at most.
const DEEPEST: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name or a word with a meaning.
    Word(String),
    /// A name in double quotes.
    Name(String),
    Number(String),
    Text(String),
    Operator(Operator),
    Open,
    Close,
}

pub(super) fn parse(text: &str) -> Result<Condition, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, depth: 0 };
    let condition = parser.either()?;
    match parser.tokens.first() {
        None => Ok(condition),
        Some(token) => Err(format!("{} after the end of the condition", describe(Some(token)))),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, used) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '\'' => quoted(rest, '\'').map(|(text, used)| (Token::Text(text), used))?,
            '"' => quoted(rest, '"').map(|(text, used)| (Token::Name(text), used))?,
            '=' | '!' | '<' | '>' => operator(rest)?,
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                let used = number_length(rest);
                let number = &rest[..used];
                if number.parse::<f64>().is_err() {
                    return Err(format!("'{number}' is not a number"));
                }
                (Token::Number(number.trim_start_matches('+').to_owned()), used)
            }
            c if c.is_alphabetic() || c == '_' => {
                let used = rest
                    .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')))
                    .unwrap_or(rest.len());
                (Token::Word(rest[..used].to_owned()), used)
            }
            other => return Err(format!("'{other}' means nothing in a condition")),
        };
        tokens.push(token);
        rest = rest[used..].trim_start();
    }
    Ok(tokens)
}

fn operator(rest: &str) -> Result<(Token, usize), String> {
    const OPERATORS: [(&str, Operator); 9] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<>", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("!", Operator::NotEqual),
    ];
    let found = OPERATORS.iter().find(|(text, _)| rest.starts_with(text));
    match found {
        Some((text, operator)) if *text != "!" => Ok((Token::Operator(*operator), text.len())),
        _ => Err("'!' means nothing in a condition; write != or not".to_owned()),
    }
}

/// Bytes of a number: digits, a point, an exponent with its sign.
fn number_length(rest: &str) -> usize {
    let mut before = ' ';
    for (at, c) in rest.char_indices() {
        let sign = matches!(c, '-' | '+') && (at == 0 || matches!(before, 'e' | 'E'));
        if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
            return at;
        }
        before = c;
    }
    rest.len()
}

/// What is in quotes (two of them stand for one), and how many bytes that takes.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            text.push(quote);
        } else {
            return Ok((text, at + 1));
        }
    }
    Err(format!("a {quote} is not closed"))
}

struct Parser<'t> {
    tokens: &'t [Token],
    depth: usize,
}

impl Parser<'_> {
    fn either(&mut self) -> Result<Condition, String> {
        let first = self.both()?;
        let mut all = vec![first];
        while self.take_word("or") {
            all.push(self.both()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::Or(all) })
    }

    fn both(&mut self) -> Result<Condition, String> {
        let first = self.one()?;
        let mut all = vec![first];
        while self.take_word("and") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::And(all) })
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("the condition is nested too deeply".to_owned());
        }
        let condition = if self.take_word("not") {
            Condition::Not(Box::new(self.one()?))
        } else if self.take(&Token::Open) {
            let inner = self.either()?;
            if !self.take(&Token::Close) {
                return Err(format!("')' expected, not {}", describe(self.tokens.first())));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        let column = match self.next() {
            Some(Token::Word(name) | Token::Name(name)) => name,
            other => return Err(format!("a column expected, not {}", describe(other.as_ref()))),
        };
        if self.take_word("is") {
            let negated = self.take_word("not");
            if !self.take_word("null") {
                return Err(format!("'null' expected, not {}", describe(self.tokens.first())));
            }
            return Ok(Condition::IsNull { column, negated });
        }
        let operator = match self.next() {
            Some(Token::Operator(operator)) => operator,
            other => {
                let found = describe(other.as_ref());
                return Err(format!(
                    "after '{column}' one of = != < <= > >= or 'is' expected, not {found}"
                ));
            }
        };
        let literal = match self.next() {
            Some(Token::Number(number)) => Literal::Number(number),
            Some(Token::Text(text)) => Literal::Text(text),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Literal::Boolean(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => {
                Literal::Boolean(false)
            }
            other => {
                let found = describe(other.as_ref());
                return Err(format!(
                    "a number, 'text' in single quotes, true or false expected, not {found}"
                ));
            }
        };
        Ok(Condition::Compare { column, operator, literal })
    }

    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn take(&mut self, token: &Token) -> bool {
        let is_there = self.tokens.first() == Some(token);
        if is_there {
            self.tokens = &self.tokens[1..];
        }
        is_there
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.tokens.first();
        let is_there =
            matches!(found, Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        if is_there {
            self.tokens = &self.tokens[1..];
        }
        is_there
    }
}

fn describe(token: Option<&Token>) -> String {
    match token {
        None => "the end".to_owned(),
        Some(Token::Word(word)) => format!("'{word}'"),
        Some(Token::Name(name)) => format!("\"{name}\""),
        Some(Token::Number(number)) => number.clone(),
        Some(Token::Text(text)) => format!("the text '{text}'"),
        Some(Token::Operator(_)) => "an operator".to_owned(),
        Some(Token::Open) => "'('".to_owned(),
        Some(Token::Close) => "')'".to_owned(),
    }
}
