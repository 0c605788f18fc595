use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many connections each caller has: so that one alone does not take the room of all.
#[derive(Debug, Default)]
pub(super) struct Places {
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    of: IpAddr,
}

impl Places {
    /// A place for a connection from `network`, if it has fewer than `most`.
    pub(super) fn take(self: &Arc<Self>, network: IpAddr, most: usize) -> Option<Place> {
        let mut open = self.open();
        let count = open.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(self), of: network })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Counts are whole between any two statements.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        if let Some(count) = open.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.of);
            }
        }
    }
}
