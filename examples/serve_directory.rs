//! Serves the files of a directory on the loopback interface, for demonstrations: `serve_directory DIR [--port N]`.
//!
//! It knows `Range`, `ETag` and `If-Range`, so an interrupted download can go on. `--cut-after BYTES` closes the first
//! connection of every file after that many bytes. The first line on standard output is the port.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// What is served
    directory: PathBuf,
    /// The port; any free one unless given
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How many bytes the first connection of every file gets
    #[arg(long)]
    cut_after: Option<u64>,
}

struct Server {
    directory: PathBuf,
    cut_after: Option<u64>,
    /// The files whose first connection has been.
    served: Mutex<BTreeSet<PathBuf>>,
}

struct Request {
    method: String,
    path: PathBuf,
    range_start: Option<u64>,
    if_range: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))?;
    println!("{}", listener.local_addr()?.port());
    let Arguments { directory, cut_after, .. } = arguments;
    let server = Arc::new(Server { directory, cut_after, served: Mutex::default() });
    for connection in listener.incoming() {
        let (server, connection) = (Arc::clone(&server), connection?);
        std::thread::spawn(move || {
            if let Err(error) = server.answer(&connection) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

impl Server {
    fn answer(&self, connection: &TcpStream) -> Result<()> {
        let Some(request) = Request::read(connection) else {
            return refuse(connection, "400 Bad Request");
        };
        if request.method != "GET" && request.method != "HEAD" {
            return refuse(connection, "405 Method Not Allowed");
        }
        match fs_err::File::open(self.directory.join(&request.path)) {
            Ok(file) if file.metadata()?.is_file() => self.send(connection, &request, file),
            Ok(_) => refuse(connection, "404 Not Found"),
            Err(error) if error.kind() == ErrorKind::NotFound => refuse(connection, "404 Not Found"),
            Err(error) => Err(error),
        }
    }

    fn send(&self, mut connection: &TcpStream, request: &Request, mut file: fs_err::File) -> Result<()> {
        let metadata = file.metadata()?;
        let size = metadata.len();
        let etag = format!("\"{size:x}-{:x}-{:x}\"", metadata.ino(), metadata.mtime());
        let unchanged = request.if_range.as_ref().is_none_or(|expected| *expected == etag);
        let start = request.range_start.filter(|_| unchanged).unwrap_or(0);
        if start >= size && start > 0 {
            return refuse(connection, "416 Range Not Satisfiable");
        }
        let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
        eprintln!("{} {} from byte {start}: {status}", request.method, request.path.display());
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n",
            size - start
        );
        if start > 0 {
            head += &format!("Content-Range: bytes {start}-{}/{size}\r\n", size - 1);
        }
        connection.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method == "GET" {
            file.seek(SeekFrom::Start(start))?;
            std::io::copy(&mut file.take(self.allowance(&request.path)), &mut connection)?;
        }
        Ok(())
    }

    /// How many bytes this connection gets.
    fn allowance(&self, path: &Path) -> u64 {
        let is_first = self.served.lock().is_ok_and(|mut served| served.insert(path.to_owned()));
        self.cut_after.filter(|_| is_first).unwrap_or(u64::MAX)
    }
}

impl Request {
    /// Reads the head of a request; none where it is not one that can be answered.
    fn read(connection: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(connection.take(16 << 10)).lines();
        let first = lines.next()?.ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let mut request = Self { method, path: path_of(target)?, range_start: None, if_range: None };
        for line in lines {
            let line = line.ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                // Other forms of a range than `bytes=N-` may be ignored: RFC 9110, section 14.2.
                "range" => {
                    let start = value.trim().strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
                    request.range_start = start.and_then(|start| start.parse().ok());
                }
                "if-range" => request.if_range = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        Some(request)
    }
}

/// The path below the served directory; none where it would leave it.
fn path_of(target: &str) -> Option<PathBuf> {
    let path = Path::new(target.split('?').next()?.trim_start_matches('/'));
    path.components().all(|component| matches!(component, Component::Normal(_))).then(|| path.to_owned())
}

fn refuse(mut connection: &TcpStream, status: &str) -> Result<()> {
    connection.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())?;
    Err(Error::other(status.to_owned()))
}
