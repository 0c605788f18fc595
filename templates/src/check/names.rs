//! What a template may give a name to: what it was given, a constant, a text or a number.
//!
//! # Why
//! A list that a template makes may hold another one, and a name can be made to hold itself anew.
//! Forty times `{% set x = [x, x] %}` is a tree of 2⁴⁰ leaves, which is compared and printed leaf by
//! leaf, and a few thousand times `[x]` is one so deep that walking or freeing it overflows the
//! stack, which ends the process. Fuel counts what is made, not how deep it is. So a list, an
//! object, a part of a list and a sum that may be a list are for the place where they stand: they
//! can be printed, asked and looped over, and have no name by which they could grow.

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, Filter, Macro, Stmt, UnaryOpKind};

/// Filters whose result is a text, a number, or true or false, whatever they are given.
const PLAIN_FILTERS: &[&str] = &[
    "abs",
    "bool",
    "capitalize",
    "count",
    "e",
    "escape",
    "format",
    "indent",
    "join",
    "length",
    "lower",
    "replace",
    "round",
    "safe",
    "string",
    "sum",
    "times",
    "title",
    "trim",
    "upper",
    "urlencode",
];

/// The other filters that there are.
const FILTERS: &[&str] = &[
    "attr",
    "batch",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "last",
    "lines",
    "list",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "unique",
];

/// Those that make lists of lists.
const DIVIDING: &[&str] = &["batch", "groupby", "slice"];

const UNNAMED: &str = "a list or an object that is made here cannot be given a name: use it where \
                       it is made, join it, or add `|list` to a part of a list and `|string` to a \
                       part of a text";
const SUM: &str = "`+` may join lists here: to add numbers, say so as in `price + tax|float`";

/// What is wrong, and in which line, from 1.
pub(super) type Wrong = (usize, String);

/// Looks through a template; the first thing that is wrong.
pub(super) fn check(template: &Stmt<'_>) -> Result<(), Wrong> {
    match template {
        Stmt::Template(template) => statements(&template.children),
        Stmt::EmitRaw(_) => Ok(()),
        Stmt::EmitExpr(emit) => expression(&emit.expr),
        Stmt::ForLoop(each) => {
            expression(&each.iter)?;
            entries_named(&each.iter)?;
            each.filter_expr.iter().try_for_each(expression)?;
            statements(&each.body)?;
            statements(&each.else_body)
        }
        Stmt::IfCond(either) => {
            expression(&either.expr)?;
            statements(&either.true_body)?;
            statements(&either.false_body)
        }
        Stmt::WithBlock(with) => {
            with.assignments.iter().try_for_each(|(_, value)| named(value))?;
            statements(&with.body)
        }
        Stmt::Set(set) => named(&set.expr),
        Stmt::SetBlock(set) => {
            set.filter.iter().try_for_each(named)?;
            statements(&set.body)
        }
        Stmt::AutoEscape(escape) => {
            expression(&escape.enabled)?;
            statements(&escape.body)
        }
        Stmt::FilterBlock(block) => {
            expression(&block.filter)?;
            statements(&block.body)
        }
        Stmt::Macro(declared) => macro_(declared),
        Stmt::CallBlock(block) => {
            call(&block.call)?;
            macro_(&block.macro_decl)
        }
        Stmt::Do(done) => call(&done.call),
    }
}

fn statements(all: &[Stmt<'_>]) -> Result<(), Wrong> {
    all.iter().try_for_each(check)
}

fn macro_(declared: &Macro<'_>) -> Result<(), Wrong> {
    declared.defaults.iter().try_for_each(named)?;
    statements(&declared.body)
}

fn call(call: &Call<'_>) -> Result<(), Wrong> {
    expression(&call.expr)?;
    call.args.iter().map(argument).try_for_each(named)
}

const fn argument<'a, 'b>(given: &'b CallArg<'a>) -> &'b Expr<'a> {
    match given {
        CallArg::Pos(value)
        | CallArg::Kwarg(_, value)
        | CallArg::PosSplat(value)
        | CallArg::KwargSplat(value) => value,
    }
}

/// An expression that becomes the value of a name.
fn named(value: &Expr<'_>) -> Result<(), Wrong> {
    expression(value)?;
    makes(value)
}

/// An expression of which each entry becomes the value of a name.
fn entries_named(list: &Expr<'_>) -> Result<(), Wrong> {
    match list {
        Expr::List(list) => list.items.iter().try_for_each(makes),
        Expr::Tuple(tuple) => tuple.items.iter().try_for_each(makes),
        Expr::Slice(part) => entries_named(&part.expr),
        Expr::BinOp(sum) if matches!(sum.op, BinOpKind::Add) => {
            entries_named(&sum.left)?;
            entries_named(&sum.right)
        }
        Expr::IfExpr(either) => {
            entries_named(&either.true_expr)?;
            either.false_expr.iter().try_for_each(entries_named)
        }
        // Each entry is a list of entries that are not.
        Expr::Filter(filter) if DIVIDING.contains(&filter.name) => {
            filter.expr.iter().try_for_each(makes)?;
            filter.args.iter().map(argument).try_for_each(makes)
        }
        other => makes(other),
    }
}

/// Everything inside of an expression: its filters exist, and its calls name nothing that is made.
fn expression(whole: &Expr<'_>) -> Result<(), Wrong> {
    match whole {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::Slice(part) => {
            expression(&part.expr)?;
            [&part.start, &part.stop, &part.step].into_iter().flatten().try_for_each(expression)
        }
        Expr::UnaryOp(operation) => expression(&operation.expr),
        Expr::BinOp(operation) => {
            expression(&operation.left)?;
            expression(&operation.right)
        }
        Expr::Compare(compared) => {
            expression(&compared.expr)?;
            compared.ops.iter().try_for_each(|next| expression(&next.expr))
        }
        Expr::IfExpr(either) => {
            expression(&either.test_expr)?;
            expression(&either.true_expr)?;
            either.false_expr.iter().try_for_each(expression)
        }
        Expr::Filter(filter) => {
            if !PLAIN_FILTERS.contains(&filter.name) && !FILTERS.contains(&filter.name) {
                return Err((line(whole), format!("there is no filter `{}`", filter.name)));
            }
            filter.expr.iter().try_for_each(expression)?;
            filter.args.iter().map(argument).try_for_each(expression)
        }
        Expr::Test(test) => {
            expression(&test.expr)?;
            test.args.iter().map(argument).try_for_each(expression)
        }
        Expr::GetAttr(of) => expression(&of.expr),
        Expr::GetItem(of) => {
            expression(&of.expr)?;
            expression(&of.subscript_expr)
        }
        Expr::Call(made) => call(made),
        Expr::List(list) => list.items.iter().try_for_each(expression),
        Expr::Tuple(tuple) => tuple.items.iter().try_for_each(expression),
        Expr::Map(map) => map.keys.iter().chain(&map.values).try_for_each(expression),
    }
}

/// Fails when the value may be a list or an object that is made here.
fn makes(value: &Expr<'_>) -> Result<(), Wrong> {
    match value {
        Expr::Var(_) | Expr::Const(_) | Expr::Test(_) | Expr::Compare(_) | Expr::Call(_) => Ok(()),
        Expr::UnaryOp(operation) => match operation.op {
            UnaryOpKind::Not | UnaryOpKind::Neg => Ok(()),
        },
        Expr::BinOp(operation) => match operation.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => {
                makes(&operation.left)?;
                makes(&operation.right)
            }
            // A list is not added to anything but a list.
            BinOpKind::Add if !plain(&operation.left) && !plain(&operation.right) => {
                Err((line(value), SUM.to_owned()))
            }
            _ => Ok(()),
        },
        Expr::IfExpr(either) => {
            makes(&either.true_expr)?;
            either.false_expr.iter().try_for_each(makes)
        }
        Expr::Filter(filter) => filtered(filter, line(value)),
        Expr::GetAttr(of) => makes(&of.expr),
        Expr::GetItem(of) => makes(&of.expr),
        _ if constant(value) => Ok(()),
        Expr::Slice(_) | Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => {
            Err((line(value), UNNAMED.to_owned()))
        }
    }
}

/// Filters make lists of the entries of other lists, and take care themselves that none is of
/// lists that they made.
fn filtered(filter: &Filter<'_>, line: usize) -> Result<(), Wrong> {
    if PLAIN_FILTERS.contains(&filter.name) {
        return Ok(());
    }
    if DIVIDING.contains(&filter.name) {
        return Err((line, UNNAMED.to_owned()));
    }
    filter.args.iter().map(argument).try_for_each(makes)?;
    match &filter.expr {
        // A part of a list refers to the list; as a list of its own it does not.
        Some(Expr::Slice(part)) if filter.name == "list" => makes(&part.expr),
        Some(of) => makes(of),
        None => Ok(()),
    }
}

/// Whether there is no variable in it.
fn constant(value: &Expr<'_>) -> bool {
    match value {
        Expr::Const(_) => true,
        Expr::UnaryOp(operation) => constant(&operation.expr),
        Expr::List(list) => list.items.iter().all(constant),
        Expr::Tuple(tuple) => tuple.items.iter().all(constant),
        Expr::Map(map) => map.keys.iter().chain(&map.values).all(constant),
        _ => false,
    }
}

/// Whether the value is no list for sure.
fn plain(value: &Expr<'_>) -> bool {
    match value {
        Expr::Const(constant) => constant.value.as_object().is_none(),
        Expr::Test(_) | Expr::Compare(_) | Expr::UnaryOp(_) => true,
        Expr::BinOp(operation) => match operation.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => plain(&operation.left) && plain(&operation.right),
            BinOpKind::Add => plain(&operation.left) || plain(&operation.right),
            _ => true,
        },
        // These give back what they are told to give where there is no number.
        Expr::Filter(filter) if matches!(filter.name, "int" | "float") => filter.args.is_empty(),
        Expr::Filter(filter) => PLAIN_FILTERS.contains(&filter.name),
        _ => false,
    }
}

fn line(of: &Expr<'_>) -> usize {
    usize::from(of.span().start_line)
}
