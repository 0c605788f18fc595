//! What can come of a request besides success.

use std::time::Duration;

use model::{domain, instance, message, routing::Label, suppression, template, tenant, user};
use templates::RenderFailure;

/// Why a message was not taken over, or is not known to have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A rule says no. Nothing was stored, and an idempotency key was not used up.
    #[error(transparent)]
    Refused(#[from] SendRefusal),
    /// Too much is under way. Nothing was stored.
    #[error("too much is under way")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The record cannot be written. Nothing was stored: the same request may be sent again.
    #[error("the record cannot be written now")]
    Unavailable,
    /// The record may have been written: only a request with an idempotency key may be sent again
    /// without sending twice.
    #[error("it is not known whether the message was recorded")]
    Unknown,
    /// A fault of ours. Nothing was stored.
    #[error("an internal fault")]
    Internal,
}

/// The rule that says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendRefusal {
    /// The request names no author, and the app has no default sender.
    #[error("there is no author and the app has no default sender")]
    NoDefaultSender,
    /// The key may not send as authors of this domain.
    #[error("the key may not send as authors of this domain")]
    SenderDomainNotAllowed,
    /// Neither the request nor its template has a subject.
    #[error("there is no subject")]
    NoSubject,
    /// The app has no such template, or no such version of it.
    #[error("there is no such template")]
    TemplateNotFound,
    /// The template became nothing with these variables.
    #[error("the template could not be rendered: {0}")]
    TemplateRender(RenderFailure),
    /// A rule of messages.
    #[error(transparent)]
    Message(#[from] message::Refusal),
}

impl From<message::Refusal> for SendError {
    fn from(refusal: message::Refusal) -> Self {
        Self::Refused(SendRefusal::Message(refusal))
    }
}

/// Why a message was not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// The app has no such message.
    #[error("there is no such message")]
    Unknown,
    /// It has ended, or is being sent.
    #[error("the message has ended or is being sent")]
    NotCancelable,
    /// Too much is under way.
    #[error("too much is under way")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The record cannot be written, or it is not known whether it was. Asking again does no harm.
    #[error("the record cannot be written now")]
    Unavailable,
    /// A fault of ours.
    #[error("an internal fault")]
    Internal,
}

/// Why something about a tenant, app, key or domain was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A rule of tenants says no.
    #[error(transparent)]
    Tenant(#[from] tenant::Refusal),
    /// A rule of domains says no.
    #[error(transparent)]
    Domain(#[from] domain::Refusal),
    /// A rule of templates says no.
    #[error(transparent)]
    Template(#[from] template::Refusal),
    /// A rule of users says no.
    #[error(transparent)]
    User(#[from] user::Refusal),
    /// A rule of suppression lists says no.
    #[error(transparent)]
    Suppression(#[from] suppression::Refusal),
    /// A rule of the instance says no.
    #[error(transparent)]
    Instance(#[from] instance::Refusal),
    /// Not a name of a tenant, an app or a key.
    #[error("not a name")]
    InvalidName,
    /// The record cannot be written, or it is not known whether it was.
    #[error("the record cannot be written now")]
    Unavailable,
    /// It was recorded, but the read models did not show it in time; they will.
    #[error("it was recorded and will show shortly")]
    NotYetVisible,
    /// A fault of ours.
    #[error("an internal fault")]
    Internal,
}

/// Why a template was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not compile: everything that is wrong with it.
    #[error("the template has faults")]
    Faulty(Vec<templates::Fault>),
    /// It was not recorded.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<template::Refusal> for TemplateError {
    fn from(refusal: template::Refusal) -> Self {
        Self::Change(refusal.into())
    }
}

/// Why a batch was not taken over: nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchError {
    /// These messages are refused, by their places in the batch.
    Refused(Vec<(usize, SendRefusal)>),
    /// The batch as a whole.
    Whole(SendError),
}

impl From<SendError> for BatchError {
    fn from(error: SendError) -> Self {
        Self::Whole(error)
    }
}

/// Why the platform did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A bound is zero or larger than can be counted.
    #[error("{0} is out of range")]
    Bound(&'static str),
    /// A route names a relay that is not there.
    #[error("there is no relay `{0}`")]
    UnknownRelay(Label),
    /// The trust roots cannot be read.
    #[error("the trust roots cannot be used: {0}")]
    Roots(String),
    /// An actor did not start.
    #[error("an actor did not start: {0}")]
    Actor(String),
}
