//! A connection to Redis, with the two commands that are needed.
//!
//! This module must not know what keys and values mean, or what is done when
//! Redis fails.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::{ClusterConnection, Connect};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisFuture, RedisResult, Value, cmd,
};
use rustls::RootCertStore;
use tokio::task::AbortHandle;

use super::address::{Address, Kind};
use super::fault::Fault;
use super::stream;

/// The longest time to connect, with TLS, authentication and, for Cluster, discovery of the
/// nodes. No request waits for it.
const CONNECT: Duration = Duration::from_secs(5);

/// How often the Cluster client may look for another node during one command.
const CLUSTER_RETRIES: u32 = 2;

/// An open connection, which any number of commands can use at a time.
#[derive(Clone)]
pub(super) enum Connection {
    Single(Node),
    Cluster(ClusterConnection<Node>),
}

impl Connection {
    /// Connects. `timeout` is that of commands.
    pub(super) async fn open(address: &Address, timeout: Duration) -> Result<Self, Fault> {
        let opening = async {
            match address.kind() {
                Kind::Single { info, roots } => {
                    // `within` adds the time-outs.
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(None)
                        .set_response_timeout(None);
                    let node = Node::connect(info, roots.as_ref(), config);
                    Ok(Self::Single(node.await?))
                }
                Kind::Cluster(builder) => {
                    let client = builder()
                        .connection_timeout(CONNECT)
                        .response_timeout(timeout)
                        .overall_response_timeout(None)
                        .retries(CLUSTER_RETRIES)
                        .build()?;
                    Ok(Self::Cluster(client.get_async_generic_connection().await?))
                }
            }
        };
        match tokio::time::timeout(CONNECT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Fault::timed_out(CONNECT)),
        }
    }

    /// The values of keys, in their order, nil for those that are missing. The Cluster
    /// client asks each node for its own keys.
    pub(super) async fn get(
        &self,
        keys: &[String],
        timeout: Duration,
    ) -> Result<Vec<Value>, Fault> {
        let mut command = cmd("MGET");
        for key in keys {
            command.arg(key);
        }
        match within(timeout, self.query(&command)).await? {
            Value::Array(values) if values.len() == keys.len() => Ok(values),
            _ => Err(Fault::protocol("it answers MGET with something else")),
        }
    }

    /// Sets keys, pipelined. Returns the first fault.
    pub(super) async fn set(
        &self,
        entries: &[(String, Vec<u8>)],
        ttl: Duration,
        timeout: Duration,
    ) -> Result<(), Fault> {
        let seconds = ttl.as_secs().max(1);
        let set = |(key, value): &(String, Vec<u8>)| {
            let mut command = cmd("SET");
            command.arg(key).arg(&value[..]).arg("EX").arg(seconds);
            command
        };
        match self {
            Self::Single(connection) => {
                let mut pipeline = redis::pipe();
                for entry in entries {
                    pipeline.add_command(set(entry));
                }
                // So that the first error keeps its kind.
                pipeline.ignore_errors();
                let mut connection = connection.clone();
                let query = pipeline.query_async::<Vec<RedisResult<Value>>>(&mut connection);
                let all = async { query.await?.into_iter().collect::<RedisResult<Vec<_>>>() };
                within(timeout, all).await.map(drop)
            }
            // A pipeline goes to one node. These commands are sent without waiting for
            // each other's replies too, each to its own node.
            Self::Cluster(_) => {
                let commands: Vec<Cmd> = entries.iter().map(set).collect();
                let queries = join_all(commands.iter().map(|command| self.query(command)));
                let all = async { queries.await.into_iter().collect::<RedisResult<Vec<_>>>() };
                within(timeout, all).await.map(drop)
            }
        }
    }

    async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }
}

/// A connection to one server, whose replies are bounded.
#[derive(Clone)]
pub(super) struct Node {
    connection: MultiplexedConnection,
    /// Reads and writes for as long as there is a clone.
    _driver: Option<Arc<Driver>>,
}

struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Node {
    async fn connect(
        info: &ConnectionInfo,
        roots: Option<&RootCertStore>,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self> {
        let stream = stream::open(info.addr(), roots).await?;
        let settings = info.redis_settings();
        let (connection, driver) =
            MultiplexedConnection::new_with_config(settings, stream, config).await?;
        let driver = Driver(tokio::spawn(driver).abort_handle());
        Ok(Self {
            connection,
            _driver: Some(Arc::new(driver)),
        })
    }
}

impl ConnectionLike for Node {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.connection.req_packed_command(command)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let connection = &mut self.connection;
        connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// How the Cluster client connects to each node.
impl Connect for Node {
    fn connect_with_config<'a, T>(info: T, config: AsyncConnectionConfig) -> RedisFuture<'a, Self>
    where
        T: IntoConnectionInfo + Send + 'a,
    {
        Box::pin(async move {
            let info = info.into_connection_info()?;
            let certified = matches!(
                info.addr(),
                ConnectionAddr::TcpTls {
                    tls_params: Some(_),
                    ..
                }
            );
            if certified {
                // The client does not say which certificates it was given, and has to use
                // them itself. So these replies are not bounded, and come only from who
                // was certified.
                let connection = MultiplexedConnection::connect_with_config(info, config).await?;
                return Ok(Self {
                    connection,
                    _driver: None,
                });
            }
            let node = Self::connect(&info, None, config);
            match tokio::time::timeout(CONNECT, node).await {
                Ok(node) => node,
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

async fn within<T>(
    timeout: Duration,
    query: impl Future<Output = RedisResult<T>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(timeout, query).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Fault::timed_out(timeout)),
    }
}
