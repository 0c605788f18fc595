//! A bounded number of places, of which no tenant can take all.

use std::{collections::HashMap, sync::Arc};

use model::TenantId;
use parking_lot::Mutex;

/// Places in a lane.
///
/// # Why
/// A tenant may take one more while it holds fewer than are free (the dynamic thresholds by which
/// switches share a buffer: Choudhury and Hahne, 1998). Alone it gets half of all, two get a third
/// each, and whoever comes new finds one as long as any is free. Nobody has to know beforehand how
/// many tenants there are.
pub(super) struct Places {
    depth: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<TenantId, usize>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    tenant: TenantId,
}

impl Places {
    pub(super) fn new(depth: usize) -> Arc<Self> {
        Arc::new(Self { depth, taken: Mutex::default() })
    }

    /// A place for this tenant, if it may have one more.
    pub(super) fn take(self: &Arc<Self>, tenant: TenantId) -> Option<Place> {
        let mut taken = self.taken.lock();
        let held = taken.by.get(&tenant).copied().unwrap_or(0);
        if held >= self.depth.saturating_sub(taken.all) {
            return None;
        }
        taken.all += 1;
        *taken.by.entry(tenant).or_default() += 1;
        drop(taken);
        Some(Place { places: Arc::clone(self), tenant })
    }

    /// Whether nobody has a place.
    pub(super) fn is_empty(&self) -> bool {
        self.taken.lock().all == 0
    }

    /// How many have a place.
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().all
    }

    /// How each of these stands, and how many places are free.
    pub(super) fn shares(&self, tenants: &[TenantId]) -> (usize, Vec<usize>) {
        let taken = self.taken.lock();
        let held = |tenant| taken.by.get(tenant).copied().unwrap_or(0);
        (self.depth.saturating_sub(taken.all), tenants.iter().map(held).collect())
    }
}

/// How many more a tenant may take that holds `held` of places of which `free` are free.
pub(super) const fn room(held: usize, free: usize) -> usize {
    free.saturating_sub(held).div_ceil(2)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(held) = taken.by.get_mut(&self.tenant) {
            *held -= 1;
            if *held == 0 {
                taken.by.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    fn fill(places: &Arc<Places>, tenant: TenantId) -> Vec<Place> {
        std::iter::from_fn(|| places.take(tenant)).collect()
    }

    #[test]
    fn one_alone_gets_a_half_and_who_comes_next_always_finds_a_place() {
        let places = Places::new(100);
        let first = fill(&places, tenant(1));
        assert_eq!(first.len(), 50);
        let mut others: Vec<Vec<Place>> = Vec::new();
        for number in 2..8 {
            let own = fill(&places, tenant(number));
            assert!(!own.is_empty(), "tenant {number} finds none");
            others.push(own);
        }
        drop((first, others));
        assert!(places.is_empty());
        assert!(places.taken.lock().by.is_empty(), "nobody is remembered for nothing");
    }

    #[test]
    fn the_room_told_is_the_room_there_is() {
        for depth in 1..40 {
            let places = Places::new(depth);
            let other = fill(&places, tenant(1)).into_iter().take(depth / 3).collect::<Vec<_>>();
            let (free, held) = places.shares(&[tenant(2)]);
            assert_eq!(held, [0]);
            let told = room(0, free);
            assert_eq!(fill(&places, tenant(2)).len(), told, "depth {depth}");
            drop(other);
        }
    }

    #[test]
    fn a_lane_of_one_place_is_a_lane() {
        let places = Places::new(1);
        let only = places.take(tenant(1)).unwrap();
        assert!(places.take(tenant(2)).is_none());
        drop(only);
        assert!(places.take(tenant(2)).is_some());
    }
}
