//! How large a tree HTML becomes: an estimate from above, made before the tree is.
//!
//! # Why
//! The parser makes whatever tree it is told to, and the layout calls itself for each level of it.
//! So what stands here is stricter than the parser, never milder: an element ends where its end
//! follows upon its own content and nowhere else, and where SVG, `MathML` or menus change what the
//! parser takes for an end, none counts.

use std::cell::{Cell, RefCell};

use html5ever::{
    LocalName, local_name,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};

/// Elements within elements. The time of the layout grows with the square of it: 2 000 take some
/// 20 ms, 50 000 eight seconds.
const MAX_DEPTH: usize = 2_000;
/// Elements that are made anew since nobody ended them: bold print goes on in the next paragraph
/// (HTML, section 13.2.4.3).
const MAX_REOPENED: usize = 200_000;

/// Whether the tree is one that a text can be made from.
pub(super) fn is_bounded(html: &str) -> bool {
    let lower = html.to_ascii_lowercase();
    let ends_count =
        !["<svg", "<math", "<select", "<frameset"].iter().any(|odd| lower.contains(odd));
    let shape = Shape {
        ends_count,
        open: RefCell::default(),
        formatting: Cell::new(0),
        reopened: Cell::new(0),
        unbounded: Cell::new(false),
    };
    let tokenizer = Tokenizer::new(shape, TokenizerOpts::default());
    let queue = BufferQueue::default();
    queue.push_back(html.into());
    // It stops after each script, to let it run.
    while !matches!(tokenizer.feed(&queue), html5ever::TokenizerResult::Done) {}
    tokenizer.end();
    !tokenizer.sink.unbounded.get()
}

struct Shape {
    ends_count: bool,
    open: RefCell<Vec<LocalName>>,
    /// How many of those that are open are made anew.
    formatting: Cell<usize>,
    reopened: Cell<usize>,
    unbounded: Cell<bool>,
}

impl TokenSink for Shape {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        if self.unbounded.get() {
            // Nothing more is looked at.
            return TokenSinkResult::Continue;
        }
        let reopened = self.reopened.get().saturating_add(self.formatting.get());
        self.reopened.set(reopened);
        let next = match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => self.start(&tag),
            Token::TagToken(tag) => {
                self.end(&tag);
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        };
        self.unbounded.set(self.open.borrow().len() > MAX_DEPTH || reopened > MAX_REOPENED);
        next
    }
}

impl Shape {
    fn start(&self, tag: &Tag) -> TokenSinkResult<()> {
        if !is_void(&tag.name, !self.ends_count) {
            self.open.borrow_mut().push(tag.name.clone());
            self.formatting.set(self.formatting.get() + usize::from(is_formatting(&tag.name)));
        }
        match tag.name {
            local_name!("title") | local_name!("textarea") => {
                TokenSinkResult::RawData(RawKind::Rcdata)
            }
            local_name!("style")
            | local_name!("xmp")
            | local_name!("iframe")
            | local_name!("noembed")
            | local_name!("noframes") => TokenSinkResult::RawData(RawKind::Rawtext),
            local_name!("script") => TokenSinkResult::RawData(RawKind::ScriptData),
            local_name!("plaintext") => TokenSinkResult::Plaintext,
            _ => TokenSinkResult::Continue,
        }
    }

    fn end(&self, tag: &Tag) {
        let mut open = self.open.borrow_mut();
        if self.ends_count && open.last() == Some(&tag.name) {
            open.pop();
            self.formatting.set(self.formatting.get() - usize::from(is_formatting(&tag.name)));
        }
    }
}

/// Elements that hold nothing, so that they need no end (HTML, section 13.1.2). Within SVG and
/// `MathML` only those hold nothing that end these (section 13.2.6.5).
fn is_void(name: &str, foreign: bool) -> bool {
    const ENDING_FOREIGN: [&str; 5] = ["br", "embed", "hr", "img", "meta"];
    const OTHERS: [&str; 8] = ["area", "base", "col", "input", "link", "source", "track", "wbr"];
    ENDING_FOREIGN.contains(&name) || !foreign && OTHERS.contains(&name)
}

/// Elements that are made anew in every paragraph until somebody ends them (HTML, section
/// 13.2.4.3).
fn is_formatting(name: &str) -> bool {
    const ALL: [&str; 14] = [
        "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt",
        "u",
    ];
    ALL.contains(&name)
}
