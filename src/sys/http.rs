//! The door to HTTP: every hop's scheme is checked, every wait has an end, and the operator can interrupt.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig};

use crate::error::Error;
use crate::sys::cancel::Cancel;

const MAX_REDIRECTS: usize = 10;
const PIECE: usize = 256 << 10;
// How many pieces may lie between the network and a slow disk.
const QUEUE: usize = 4;
// A wait for the network looks this often whether somebody has interrupted.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whom we talk to, and how long we wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Hosts (`mirror.lan`, any port) and hosts with ports (`mirror.lan:8080`) that may be asked without TLS.
    pub allow_http: Vec<String>,
    /// How long finding the host, and then connecting to it, TLS included, may take.
    pub connect_timeout: Duration,
    /// How long nothing may come before an answer counts as stalled. There is no limit for the whole of it.
    pub stall_timeout: Duration,
}

/// Asks servers; connections are kept between requests.
#[derive(Debug)]
pub struct Http {
    agent: ureq::Agent,
    limits: Limits,
    proxy: Option<Proxy>,
    /// Hosts, or proxies, whose name has not been found: a search can take long, and what is said would be the same.
    unknown: Mutex<BTreeSet<String>>,
}

/// The proxy that the environment names.
#[derive(Debug, Clone)]
struct Proxy {
    /// For people: its address without a password, and the variable.
    described: String,
    /// Nothing where it cannot be spoken to. Asking directly what was to go through a proxy is no way out.
    usable: Option<ureq::Proxy>,
}

impl Proxy {
    /// The variables in the order in which they are heeded.
    const VARIABLES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

    fn of_environment() -> Option<Self> {
        let value = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (name, value) = Self::VARIABLES.iter().find_map(|name| Some((*name, value(name)?)))?;
        let usable = ureq::Proxy::new(&value).ok().and(ureq::Proxy::try_from_env());
        Some(Self { described: format!("the proxy `{}` of `{name}`", without_password(&value)), usable })
    }

    /// What it does with a request to this address.
    fn is_for(&self, uri: &Uri) -> bool {
        !is_loopback(uri) && !self.usable.as_ref().is_some_and(|proxy| proxy.is_no_proxy(uri))
    }
}

/// An address without its user's name and password.
fn without_password(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
            format!("{scheme}…@{host}")
        }
        None => address.to_owned(),
    }
}

/// Why a server's answer did not come.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It may come when asked again: a cut, a timeout, a refused connection.
    #[error("{0}")]
    Passing(String),
    /// Asking again does not help: a wrong URL, a refused scheme, a certificate.
    #[error("{0}")]
    Lasting(String),
    /// The host's name cannot be resolved; it is not asked again.
    #[error("{0}")]
    Unknown(String),
    /// The operator interrupted.
    #[error(transparent)]
    Interrupted(Error),
}

impl Fault {
    /// The same, said of the proxy through which it came.
    fn through(self, proxy: Option<&str>) -> Self {
        let Some(proxy) = proxy else { return self };
        match self {
            Self::Passing(text) => Self::Passing(format!("{text} (through {proxy})")),
            Self::Lasting(text) => Self::Lasting(format!("{text} (through {proxy})")),
            Self::Unknown(text) => Self::Unknown(format!("{text} (through {proxy})")),
            interrupted @ Self::Interrupted(_) => interrupted,
        }
    }
}

impl Http {
    /// A client with rustls, the operating system's root certificates (`SSL_CERT_FILE` is heeded) and the proxies of
    /// the environment (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`; never for loopback).
    pub fn new(limits: Limits) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // Redirects are followed here, so that each hop's scheme is seen.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("phoenix-nvidia/", env!("CARGO_PKG_VERSION")))
            // A packed answer has another length than the file, and ranges of it mean nothing.
            .accept_encoding("identity")
            .timeout_resolve(Some(limits.connect_timeout))
            .timeout_connect(Some(limits.connect_timeout))
            .timeout_recv_response(Some(limits.stall_timeout))
            .timeout_per_read(Some(limits.stall_timeout))
            .timeout_per_write(Some(limits.stall_timeout))
            .build();
        Self { agent: config.into(), limits, proxy: Proxy::of_environment(), unknown: Mutex::default() }
    }

    /// Asks for `url` with these headers, and follows up to ten redirects. Any status but a redirect is an answer.
    ///
    /// # Errors
    /// No answer came; [`Fault`] says whether it makes sense to ask again.
    pub fn get<'a>(&self, url: &str, headers: &[(&str, &str)], cancel: &'a Cancel) -> Result<Answer<'a>, Fault> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let uri = self.permitted(&url)?;
            let answer = self.exchange(&uri, headers, cancel)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let target = answer.header("location");
            url = target.and_then(|target| followed(&uri, target)).ok_or_else(|| {
                Fault::Lasting(format!("`{url}` redirects to `{}`, which is not a URL", target.unwrap_or_default()))
            })?;
        }
        Err(Fault::Lasting(format!("there were more than {MAX_REDIRECTS} redirects, the last one to `{url}`")))
    }

    /// Only TLS, unless the operator allows the host without.
    fn permitted(&self, url: &str) -> Result<Uri, Fault> {
        let uri: Uri = url.parse().map_err(|error| Fault::Lasting(format!("`{url}` is not a URL ({error})")))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(Fault::Lasting(format!("`{url}` is not a URL: scheme and host are needed, as in `https://…`")));
        };
        let with_port = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let is_allowed =
            |entry: &String| entry.eq_ignore_ascii_case(&with_port) || entry.eq_ignore_ascii_case(authority.host());
        match scheme {
            "https" => Ok(uri),
            "http" if self.limits.allow_http.iter().any(is_allowed) => Ok(uri),
            "http" => Err(Fault::Lasting(format!(
                "`{url}` is not `https`, and `{with_port}` is not listed in `nvidia_driver.allow_http`"
            ))),
            _ => Err(Fault::Lasting(format!("`{url}` is not `https`"))),
        }
    }

    fn unknown(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request and its answer. The network is read by a thread of its own: it may hang in name resolution, which
    /// nothing can interrupt, and it ends by the timeouts when nobody listens any more.
    fn exchange<'a>(&self, uri: &Uri, headers: &[(&str, &str)], cancel: &'a Cancel) -> Result<Answer<'a>, Fault> {
        let mut request = self.agent.get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.is_for(uri));
        if let Some(Proxy { described, usable: None }) = proxy {
            return Err(Fault::Lasting(format!(
                "{described} cannot be used: its scheme must be http, https or socks5"
            )));
        }
        let asked = proxy.map_or_else(|| uri.host().unwrap_or_default(), |proxy| &proxy.described).to_owned();
        if self.unknown().contains(&asked) {
            return Err(Fault::Unknown(format!("not asked, for `{asked}` has not been found")));
        }
        let used = proxy.and_then(|proxy| proxy.usable.clone());
        let request = request.config().proxy(used).build();
        let through = proxy.map(|proxy| proxy.described.clone());
        let (sender, messages) = sync_channel(QUEUE);
        let limits = self.limits.clone();
        std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || pump(request, &sender, &limits, through.as_deref()))
            .map_err(|error| Fault::Passing(format!("no thread could be started ({error})")))?;
        let head = received(&messages, cancel).inspect_err(|fault| {
            if matches!(fault, Fault::Unknown(_)) {
                self.unknown().insert(asked);
            }
        });
        match head? {
            Message::Head { status, headers } => Ok(Answer { status, headers, messages, cancel }),
            Message::Piece(_) | Message::End => Err(Fault::Passing("the answer has no head".to_owned())),
        }
    }
}

/// How std begins the error of a name that cannot be resolved; it has no kind of its own.
const NOT_RESOLVED: &str = "failed to lookup address information: ";

/// A server's answer, whose body is still to come.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The status, never a redirect.
    pub status: u16,
    headers: HeaderMap,
    messages: Receiver<Result<Message, Fault>>,
    cancel: &'a Cancel,
}

impl Answer<'_> {
    /// A header's value, where it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the body is said to be, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The next piece of the body, up to 256 KiB; none when it has ended as it was said to.
    ///
    /// # Errors
    /// It was cut off, stalled, or the operator interrupted.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        match received(&self.messages, self.cancel)? {
            Message::Piece(bytes) => Ok(Some(bytes)),
            Message::Head { .. } | Message::End => Ok(None),
        }
    }

    /// The whole body as text, if it is shorter than `limit` bytes.
    ///
    /// # Errors
    /// As [`Answer::piece`]; or it is longer, or no text.
    pub fn text(mut self, limit: usize) -> Result<String, Fault> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece()? {
            body.extend_from_slice(&piece);
            if body.len() > limit {
                return Err(Fault::Lasting(format!("the answer is longer than {limit} bytes")));
            }
        }
        String::from_utf8(body).map_err(|_| Fault::Lasting("the answer is not text".to_owned()))
    }
}

#[derive(Debug)]
enum Message {
    Head { status: u16, headers: HeaderMap },
    Piece(Vec<u8>),
    End,
}

fn received(messages: &Receiver<Result<Message, Fault>>, cancel: &Cancel) -> Result<Message, Fault> {
    loop {
        cancel.check().map_err(Fault::Interrupted)?;
        match messages.recv_timeout(LOOK_AGAIN) {
            Ok(message) => return message,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Fault::Passing("the answer ended early".to_owned())),
        }
    }
}

type Request = ureq::RequestBuilder<ureq::typestate::WithoutBody>;

/// Carries one answer from the network to whoever listens; ends when nobody does.
fn pump(request: Request, sender: &SyncSender<Result<Message, Fault>>, limits: &Limits, proxy: Option<&str>) {
    let response = match request.call() {
        Ok(response) => response,
        Err(error) => return drop(sender.send(Err(fault(error, limits).through(proxy)))),
    };
    let (head, body) = response.into_parts();
    let head = Message::Head { status: head.status.as_u16(), headers: head.headers };
    let mut listening = sender.send(Ok(head)).is_ok();
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    while listening {
        let mut piece = vec![0; PIECE];
        let message = match std::io::Read::read(&mut reader, &mut piece) {
            Ok(0) => return drop(sender.send(Ok(Message::End))),
            Ok(count) => {
                piece.truncate(count);
                Ok(Message::Piece(piece))
            }
            Err(error) => return drop(sender.send(Err(fault(error.into(), limits).through(proxy)))),
        };
        listening = sender.send(message).is_ok();
    }
}

fn fault(error: ureq::Error, limits: &Limits) -> Fault {
    use ureq::Error as E;
    let seconds = |duration: Duration| duration.as_secs_f32();
    match error {
        E::Timeout(ureq::Timeout::Resolve) => {
            Fault::Unknown(format!("the host's name was not resolved within {} s", seconds(limits.connect_timeout)))
        }
        E::Timeout(ureq::Timeout::Connect) => {
            Fault::Passing(format!("no connection within {} s", seconds(limits.connect_timeout)))
        }
        E::Timeout(_) => Fault::Passing(format!("no data for {} s", seconds(limits.stall_timeout))),
        E::HostNotFound => Fault::Unknown("the host's name cannot be resolved".to_owned()),
        E::Io(error) => io_fault(&error),
        E::Rustls(error) => Fault::Lasting(format!("TLS failed: {error}")),
        E::ConnectionFailed | E::ConnectProxyFailed(_) | E::Protocol(_) | E::BodyStalled => {
            Fault::Passing(error.to_string())
        }
        other => Fault::Lasting(other.to_string()),
    }
}

fn io_fault(error: &std::io::Error) -> Fault {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(reason) = error.to_string().strip_prefix(NOT_RESOLVED) {
        return Fault::Unknown(format!("the host's name cannot be resolved ({reason})"));
    }
    match (tls, error.kind()) {
        (Some(tls), _) => Fault::Lasting(format!("TLS failed: {tls}")),
        (None, std::io::ErrorKind::UnexpectedEof) => Fault::Passing("the connection was cut".to_owned()),
        (None, std::io::ErrorKind::ConnectionRefused) => Fault::Passing("the connection was refused".to_owned()),
        (None, _) => Fault::Passing(error.to_string()),
    }
}

/// The address that a `Location` header means, seen from the one that answered with it.
fn followed(base: &Uri, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let target = if location.is_empty() {
        return None;
    } else if location.split(['/', '?']).next().is_some_and(|first| first.ends_with(':')) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    target.parse::<Uri>().is_ok().then_some(target)
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(allowed: &[&str]) -> Http {
        let allow_http = allowed.iter().map(|host| (*host).to_owned()).collect();
        let second = Duration::from_secs(1);
        Http::new(Limits { allow_http, connect_timeout: second, stall_timeout: second })
    }

    #[test]
    fn without_tls_only_allowed_hosts_are_asked() {
        let http = http(&["Mirror.lan", "127.0.0.1:8080"]);
        for good in ["https://a/b", "http://mirror.lan/x", "http://mirror.lan:81/x", "http://127.0.0.1:8080/x"] {
            http.permitted(good).unwrap();
        }
        for bad in ["http://a/b", "http://127.0.0.1:8081/", "http://mirror.lan.evil/", "http://mirror.lan@evil/"] {
            let fault = http.permitted(bad).unwrap_err().to_string();
            assert!(fault.contains("is not listed in `nvidia_driver.allow_http`"), "{fault}");
        }
        for bad in ["ftp://mirror.lan/x", "file:///etc/passwd", "/x", "mirror.lan/x", "", "https://"] {
            assert!(matches!(http.permitted(bad), Err(Fault::Lasting(_))), "{bad}");
        }
    }

    #[test]
    fn redirects_are_seen_from_where_they_came() {
        let base: Uri = "https://host:8443/a/b?c".parse().unwrap();
        let from = |location| followed(&base, location);
        assert_eq!(from("http://other/x").as_deref(), Some("http://other/x"));
        assert_eq!(from("//other/x").as_deref(), Some("https://other/x"));
        assert_eq!(from("/x?y#z").as_deref(), Some("https://host:8443/x?y"));
        assert_eq!(from("x").as_deref(), Some("https://host:8443/a/x"));
        assert_eq!(from("x?u=http://y").as_deref(), Some("https://host:8443/a/x?u=http://y"));
        assert_eq!(from(""), None);
    }

    #[test]
    fn a_refused_connection_may_pass() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let cancel = Cancel::new().unwrap();
        let fault = http(&["127.0.0.1"]).get(&format!("http://{address}/"), &[], &cancel).unwrap_err();
        assert!(matches!(&fault, Fault::Passing(text) if text == "the connection was refused"), "{fault}");
    }

    #[test]
    fn an_interruption_ends_a_wait_for_a_silent_server() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let cancel = Cancel::new().unwrap();
        let http = Http::new(Limits {
            allow_http: vec!["127.0.0.1".into()],
            connect_timeout: Duration::from_secs(3600),
            stall_timeout: Duration::from_secs(3600),
        });
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| http.get(&url, &[], &cancel).map(drop));
            let _connection = listener.accept().unwrap();
            cancel.request();
            assert!(matches!(asking.join().unwrap(), Err(Fault::Interrupted(_))));
        });
    }
}
