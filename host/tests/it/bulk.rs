//! Bulk scoring: requests of lines to a server, and files on the command line.

mod files;
mod interrupted;
mod outputs;
mod quotes;
mod server;
mod sources;
mod tables;
