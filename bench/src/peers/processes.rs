//! What other servers' processes used, as the kernel counts.

use std::{collections::HashMap, fs};

use crate::{Outcome, server::cpu_with_children_s};

/// CPU time of a process and everything that descends from it, in seconds.
pub(crate) fn cpu_of_family_s(root: i32) -> Outcome<f64> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let parent = rest.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut all, mut open) = (cpu_with_children_s(root)?, vec![root]);
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            all += cpu_with_children_s(*child).unwrap_or_default();
            open.push(*child);
        }
    }
    Ok(all)
}
