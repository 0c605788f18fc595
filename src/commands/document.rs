//! `lumora openapi`: the document is a pure function of the program.

use super::{Failure, print_line};

pub(super) fn print(yaml: bool) -> Result<(), Failure> {
    let document = api::document();
    let text = if yaml {
        serde_norway::to_string(&document).map_err(Failure::failed)?
    } else {
        serde_json::to_string_pretty(&document).map_err(Failure::failed)?
    };
    print_line(text.trim_end()).map(|_| ())
}
