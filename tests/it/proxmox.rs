//! What is Proxmox VE's own: the calls of `pct`, sections of a container's file, locks, clusters, what a kill leaves.
