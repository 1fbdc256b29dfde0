//! `landfall explain`: the page of an error code.

use clap::Args;
use landfall_recovery::codes::{self, Page};
use serde_json::{Value, json};

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::table::table;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The code, such as LF0106; none: all
    code: Option<String>,
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Some(code) = self.code else {
            let all: Vec<Value> = codes::PAGES.iter().map(value).collect();
            context.out.many(&all, "", list)?;
            return Ok(Exit::Ok);
        };
        let unknown = || Failure::Usage(format!("there is no code `{code}`; `landfall explain` lists them all"));
        let page = codes::explain(&code).ok_or_else(unknown)?;
        context.out.one(&value(page), || text(page))?;
        Ok(Exit::Ok)
    }
}

fn value(page: &Page) -> Value {
    json!({"code": page.code, "title": page.title, "cause": page.cause, "cure": page.cure})
}

fn list() -> String {
    table(
        ["code", "meaning"],
        codes::PAGES
            .iter()
            .map(|page| [page.code.to_owned(), page.title.to_owned()]),
    )
}

fn text(page: &Page) -> String {
    format!(
        "{}: {}\n\n{}\n\nWhat to do: {}\n",
        page.code, page.title, page.cause, page.cure
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        insta::assert_snapshot!(text(codes::explain("lf0106").unwrap()));
    }
}
