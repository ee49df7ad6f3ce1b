//! A Rust source file as the tidy rules read it: text, code without comments and strings, live
//! code without tests, and the paths that the code names.
//!
//! In scope: just enough of the language's surface (comments, literals, `use` trees, inline
//! modules, functions) to judge a file. Out of scope: macros that build paths out of pieces.

/// One source file with comments, literals and test items blanked out step by step.
///
/// Every view keeps the line breaks of the original, so that line numbers agree.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    pub(crate) live: String,
}

/// A path named by the code, made absolute where it starts with `crate`, `super` or `self`.
#[derive(Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
    pub(crate) own: bool,
}

/// A function's name, first line and length in lines.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    /// Reads `text` as the file at `path`, relative to the crate's root.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank_comments_and_literals(text);
        let live = if is_test_file(path) || code.contains("#![cfg(test)]") {
            code.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
        } else {
            blank_test_items(&code)
        };
        Self { path: path.to_owned(), text: text.to_owned(), code, live }
    }

    /// Whether the whole file is test code by its name.
    pub(crate) fn is_test(&self) -> bool {
        is_test_file(&self.path)
    }

    /// The module this file defines: `["log", "hash"]` for `src/log/hash.rs`.
    pub(crate) fn module(&self) -> Vec<String> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut segments: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if segments.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
            segments.pop();
        }
        segments
    }

    /// Every path of at least two segments in `code` (or in [`Source::live`]), grouped imports taken apart.
    pub(crate) fn named(&self, live: bool) -> Vec<Named> {
        let tokens = tokens(if live { &self.live } else { &self.code });
        let mut reader = PathReader { tokens: &tokens, at: 0, module: self.module(), out: Vec::new() };
        reader.run();
        reader.out
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let tokens = tokens(&self.code);
        let mut found = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let Some(name) = tokens.get(at + 1).filter(|next| token.text == "fn" && next.is_word())
            else {
                continue;
            };
            if let Some(end) = body_end(&tokens, at) {
                let lines = end + 1 - token.line;
                found.push(Function { name: name.text.clone(), line: token.line, lines });
            }
        }
        found
    }
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}

struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn tokens(code: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let length = match first {
                _ if word > 0 => word,
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            let (text, after) = rest.split_at(length);
            if !first.is_whitespace() {
                out.push(Token { text: text.to_owned(), line: number + 1 });
            }
            rest = after;
        }
    }
    out
}

/// Line of the brace that closes the function whose `fn` is token `at`; none if it has no body.
fn body_end(tokens: &[Token], at: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for token in tokens.get(at..)? {
        match token.text.as_str() {
            "(" | "[" => others += 1,
            ")" | "]" => others = others.saturating_sub(1),
            ";" if braces == 0 && others == 0 => return None,
            "{" => braces += 1,
            "}" if braces == 1 => return Some(token.line),
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

struct PathReader<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Vec<String>,
    out: Vec<Named>,
}

impl PathReader<'_> {
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text.as_str())
    }

    fn is_word(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(Token::is_word)
    }

    fn run(&mut self) {
        let mut braces = Vec::new();
        while self.at < self.tokens.len() {
            match self.text(0) {
                "mod" if self.is_word(1) && self.text(2) == "{" => {
                    self.module.push(self.text(1).to_owned());
                    braces.push(true);
                    self.at += 3;
                }
                "{" => {
                    braces.push(false);
                    self.at += 1;
                }
                "}" => {
                    if braces.pop() == Some(true) {
                        self.module.pop();
                    }
                    self.at += 1;
                }
                _ if self.is_word(0) => self.tree(&[]),
                _ => self.at += 1,
            }
        }
    }

    /// Reads one path, or one branch of a `use` tree below `prefix`.
    fn tree(&mut self, prefix: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut path = prefix.to_vec();
        loop {
            if !(self.is_word(0) || self.text(0) == "*") {
                break;
            }
            path.push(self.text(0).to_owned());
            self.at += 1;
            if self.text(0) != "::" {
                break;
            }
            self.at += 1;
            if self.text(0) == "{" {
                self.at += 1;
                self.group(&path);
                return;
            }
        }
        if path.len() > 1 {
            let named = self.resolve(line, &path);
            self.out.push(named);
        }
    }

    fn group(&mut self, path: &[String]) {
        while self.at < self.tokens.len() {
            match self.text(0) {
                "}" => {
                    self.at += 1;
                    return;
                }
                "," => self.at += 1,
                "as" => self.at += 2,
                _ if self.is_word(0) || self.text(0) == "*" => self.tree(path),
                _ => self.at += 1,
            }
        }
    }

    fn resolve(&self, line: usize, path: &[String]) -> Named {
        let mut base = self.module.clone();
        let mut rest = path;
        let mut own = false;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                _ => break,
            }
            own = true;
            rest = after;
        }
        let mut segments = if own { base } else { Vec::new() };
        segments.extend(rest.iter().cloned());
        Named { line, segments, own }
    }
}

/// Blanks items under `#[cfg(test)]`: up to the closing brace or the semicolon of the item.
fn blank_test_items(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        let end = item_end(item);
        out.push_str(before);
        let (gone, after) = item.split_at(end);
        out.extend(gone.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn item_end(item: &str) -> usize {
    let mut depth = 0_usize;
    let mut square = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '[' => square += 1,
            ']' => square = square.saturating_sub(1),
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 && square == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

fn blank_comments_and_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if after_word {
            0
        } else {
            literal(rest)
        };
        let (gone, after) = rest.split_at(length.max(first.len_utf8()));
        if length == 0 {
            out.push_str(gone);
        } else {
            out.extend(gone.chars().map(|c| if c == '\n' { c } else { ' ' }));
        }
        after_word = length == 0 && (first.is_alphanumeric() || first == '_');
        rest = after;
    }
    out
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in text.char_indices() {
        let here = text.get(at..).unwrap_or("");
        if here.starts_with("/*") {
            depth += 1;
        } else if here.starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

/// Length of the string or character literal that `text` starts with; 0 if it starts with neither.
fn literal(text: &str) -> usize {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|p| text.starts_with(p)).unwrap_or("");
    let body = text.get(prefix.len()..).unwrap_or("");
    let hashes = body.len() - body.trim_start_matches('#').len();
    if prefix.ends_with('r') && body.get(hashes..).is_some_and(|b| b.starts_with('"')) {
        let close = format!("\"{}", "#".repeat(hashes));
        let start = prefix.len() + hashes + 1;
        let found = text.get(start..).and_then(|inner| inner.find(&close));
        return found.map_or(text.len(), |at| start + at + close.len());
    }
    for prefix in [prefix, ""] {
        let body = text.get(prefix.len()..).unwrap_or("");
        if body.starts_with('"') {
            return prefix.len() + escaped(body, '"').unwrap_or(body.len());
        }
        if body.starts_with('\'') {
            return character(body).map_or(0, |length| prefix.len() + length);
        }
    }
    0
}

fn escaped(text: &str, close: char) -> Option<usize> {
    let mut skip = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if skip => skip = false,
            '\\' => skip = true,
            _ if c == close => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Length of a character literal; none for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.chars().skip(1);
    let (first, second) = (chars.next()?, chars.next()?);
    if first == '\\' || second == '\'' { escaped(text, '\'') } else { None }
}
