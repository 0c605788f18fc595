//! The errors of the portal's operations, which are asked with a session.

use crate::problem::Code;

pub(super) const REGISTER_ERRORS: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::CrossSiteRequest,
    Code::RegistrationClosed,
    Code::AlreadyExists,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::TooManyAttempts,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const LOGIN_ERRORS: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::InvalidCredentials,
    Code::CrossSiteRequest,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::TooManyAttempts,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_PASSWORD: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::NoSession,
    Code::InvalidCredentials,
    Code::CrossSiteRequest,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::TooManyAttempts,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_READ: &[Code] = &[Code::NoSession, Code::InternalError];

pub(super) const PORTAL_OPEN: &[Code] = &[Code::NoSession, Code::InternalError, Code::Overloaded];

pub(super) const PORTAL_OPEN_ONE: &[Code] =
    &[Code::NoSession, Code::NotFound, Code::InternalError, Code::Overloaded];

pub(super) const PORTAL_COUNT_ONE: &[Code] = &[
    Code::NoSession,
    Code::NotFound,
    Code::ValidationFailed,
    Code::InternalError,
    Code::Overloaded,
];

/// Content is shown only once it is on record that it was.
pub(super) const PORTAL_LETTER: &[Code] =
    &[Code::NoSession, Code::NotFound, Code::InternalError, Code::Overloaded, Code::Unavailable];

pub(super) const PORTAL_LETTERS: &[Code] = &[
    Code::NoSession,
    Code::NotFound,
    Code::ValidationFailed,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_CHANGE: &[Code] = &[
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_CHANGE_ONE: &[Code] = &[
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::NotFound,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_ROTATE: &[Code] = &[
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::NotFound,
    Code::KeyNotPublished,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_MAKE: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::LimitReached,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_MAKE_BELOW: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::NotFound,
    Code::LimitReached,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_ADD: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::AlreadyExists,
    Code::LimitReached,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_UPDATE: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::NotFound,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_QUERY: &[Code] =
    &[Code::NoSession, Code::ValidationFailed, Code::InternalError, Code::Overloaded];

pub(super) const PORTAL_PAUSE: &[Code] = &[
    Code::BadRequest,
    Code::InvalidJson,
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::ValidationFailed,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_RESUME: &[Code] = &[
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::PausedByOperator,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];

pub(super) const PORTAL_RESUME_ONE: &[Code] = &[
    Code::NoSession,
    Code::CrossSiteRequest,
    Code::NotFound,
    Code::PausedByOperator,
    Code::InternalError,
    Code::Overloaded,
    Code::Unavailable,
];
