//! What the connections of a site are used for, counted while it is in memory.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{Lane, SiteKey, job::Hosts};
use crate::{figures::SiteFigures, node::Node};

/// Counters of one site.
#[derive(Debug, Default)]
pub(super) struct Usage {
    opened: AtomicU64,
    reused: AtomicU64,
    used: AtomicUsize,
}

/// A turn at a connection is taken, until this is dropped.
pub(super) struct Used(Arc<Lane>);

impl Usage {
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reused(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }
}

impl Used {
    pub(super) fn new(lane: &Arc<Lane>) -> Self {
        lane.usage.used.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(lane))
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.0.usage.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The sites in memory that sent most, at most so many, those first.
pub(crate) fn busiest(node: &Node, most: usize) -> Vec<SiteFigures> {
    let mut by_name: BTreeMap<String, SiteFigures> = BTreeMap::new();
    for (SiteKey { hosts, .. }, lane) in node.sites.desks() {
        let site = match hosts {
            Hosts::Mx(site) => site.to_string(),
            Hosts::Relay(name) => name.as_str().to_owned(),
        };
        // Domains with rules of their own share a name with others at their hosts.
        let figures = by_name.entry(site).or_insert_with_key(|site| SiteFigures {
            site: site.clone(),
            opened: 0,
            reused: 0,
            used: 0,
            kept: 0,
        });
        figures.opened += lane.usage.opened.load(Ordering::Relaxed);
        figures.reused += lane.usage.reused.load(Ordering::Relaxed);
        figures.used += lane.usage.used.load(Ordering::Relaxed);
        figures.kept += lane.gate.kept(lane.door);
    }
    let mut all: Vec<SiteFigures> = by_name.into_values().collect();
    // Stable: equals stay in the order of their names.
    all.sort_by_key(|site| std::cmp::Reverse(site.opened.saturating_add(site.reused)));
    all.truncate(most);
    all
}
