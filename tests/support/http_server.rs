//! An HTTP server that misbehaves as it is told to: on a bare socket, because libraries refuse to.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be prepared has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request, as far as tests care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path with the query.
    pub path: String,
    /// How many requests for this path came before it.
    pub earlier: usize,
    /// The first byte of the range that it asks for.
    pub from: Option<usize>,
    pub if_range: Option<String>,
    pub user_agent: String,
}

/// What happens to the connection after the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is closed, whether or not everything that was announced has been sent.
    Close,
    /// Nothing more is sent, and it stays open until the client goes.
    Stall,
    /// The body is sent again and again until the client goes.
    Endless,
}

/// One answer, byte for byte.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ending: Ending,
}

impl Answer {
    /// An answer with a body and no headers at all, so that only closing the connection ends it.
    pub fn bare(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), ending: Ending::Close }
    }

    /// An honest answer.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len().to_string();
        Self::bare(status, body).header("Content-Length", &length)
    }

    /// What a good server answers for a file in the state `etag`: all of it, or the range that is asked for.
    pub fn file(asked: &Asked, bytes: &[u8], etag: &str) -> Self {
        let same = asked.if_range.as_deref().is_none_or(|known| known == etag);
        match asked.from {
            Some(from) if same && from < bytes.len() => Self::part(bytes, from, from, etag),
            Some(_) if same => Self::new(416, "").header("Content-Range", &format!("bytes */{}", bytes.len())),
            _ => Self::new(200, bytes).header("ETag", etag),
        }
    }

    /// The end of a file from `from`, which the server says begins at `said`.
    pub fn part(bytes: &[u8], from: usize, said: usize, etag: &str) -> Self {
        let range = format!("bytes {said}-{}/{}", bytes.len() - 1, bytes.len());
        Self::new(206, &bytes[from..]).header("Content-Range", &range).header("ETag", etag)
    }

    pub fn redirect(to: &str) -> Self {
        Self::new(302, "").header("Location", to)
    }

    /// Sets a header, in place of an earlier one of this name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends only so many bytes of the body, and then closes the connection.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }

    /// Sends only so many bytes of the body, and then nothing more.
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self.ending = Ending::Stall;
        self
    }

    /// Sends the body again and again.
    pub fn endless(mut self) -> Self {
        self.ending = Ending::Endless;
        self
    }

    fn send(&self, stream: &mut dyn Connection) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n")?;
        stream.write_all(&self.body)?;
        stream.flush()?;
        match self.ending {
            Ending::Close => Ok(()),
            Ending::Stall => std::io::copy(stream, &mut std::io::sink()).map(drop),
            Ending::Endless => loop {
                stream.write_all(&self.body)?;
            },
        }
    }
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A server on a free port of the loopback, until it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<Mutex<bool>>,
}

impl HttpServer {
    /// Answers every request with what `handler` says.
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve("http", handler, |stream| Some(Box::new(stream)))
    }

    /// As [`HttpServer::start`], with TLS.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::serve("https", handler, move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            Some(Box::new(rustls::StreamOwned::new(connection, stream)))
        })
    }

    fn serve(
        scheme: &'static str,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Connection + Send>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        let (log, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let handler: Arc<Handler> = Arc::new(handler);
        let wrap = Arc::new(wrap);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *stopped.lock().unwrap() {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (log, handler, wrap) = (Arc::clone(&log), Arc::clone(&handler), Arc::clone(&wrap));
                std::thread::spawn(move || {
                    let raw = stream.try_clone().unwrap();
                    if let Some(mut stream) = wrap(stream) {
                        // The client may go at any time; that is what is tested.
                        let _ = converse(&mut *stream, &log, &*handler);
                    }
                    let _ = raw.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address, scheme, asked, stop }
    }

    /// The URL of a path on this server.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests for paths that end so.
    pub fn asked_for(&self, ending: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path.ends_with(ending)).collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn converse(stream: &mut dyn Connection, log: &Mutex<Vec<Asked>>, handler: &Handler) -> std::io::Result<()> {
    let mut lines = Vec::new();
    let mut reader = BufReader::with_capacity(1, &mut *stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    drop(reader);
    let header = |name: &str| {
        let lines = lines.iter().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let asked = {
        let mut log = log.lock().unwrap();
        let asked = Asked {
            earlier: log.iter().filter(|asked| asked.path == path).count(),
            path,
            from: header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()),
            if_range: header("if-range"),
            user_agent: header("user-agent").unwrap_or_default(),
        };
        log.push(asked.clone());
        asked
    };
    handler(&asked).send(stream)
}
