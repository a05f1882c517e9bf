//! Wires the layers of the host together; `host/ARCHITECTURE.md` describes them.

pub mod app;
