//! What people do, signed in to the portal: their account, apps, keys, domains, delivery and
//! audit.
//!
//! # Why
//! - **Small structs of operations instead of one**: poem-openapi wants all operations of a
//!   struct in one block, and nobody reads a block of a thousand lines.
//! - **A session is looked up anew for every request**: who was signed out is out.

pub(crate) mod accounts;
pub(crate) mod alerts;
pub(crate) mod apps;
pub(crate) mod audit;
mod cookie;
pub(crate) mod delivery;
pub(crate) mod domains;
pub(crate) mod erasures;
pub(crate) mod letters;
mod origin;
pub(crate) mod problems;
mod session;
mod text;

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::Tags;

use crate::parts::Shared;

/// The parts of the document, in reading order.
#[derive(Tags)]
pub(crate) enum Topic {
    /// Register, sign in and out of the portal.
    Account,
    /// Make apps and their API keys.
    Apps,
    /// Add the domains that you send from, and prove that they are yours.
    Domains,
    /// Pause the delivery of your mail, and resume it.
    Delivery,
    /// Forget a person in all that is yours.
    Erasures,
    /// Read what was recorded of all that is yours.
    Audit,
}

type SharedData<'a> = Data<&'a Arc<Shared>>;
