//! Several processes and threads on one cache, one of them killed; and TLS, whose roots a process reads once.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use phoenix_nvidia::cache::{Cache, Presence};
use phoenix_nvidia::config::{Context, Layout};
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::sys::cancel::Cancel;

use super::{PATH, World, driver, request, settings, sha256, well};
use crate::http_server::{Answer, HttpServer};

const BASE: &str = "PHOENIX_NVIDIA_TEST_BASE";
// How often a test looks whether what it waits for has happened.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const URL: &str = "PHOENIX_NVIDIA_TEST_URL";

#[test]
#[ignore = "the body of the processes that the other tests start"]
fn a_process_that_wants_a_run_file() {
    let layout = Layout::new(std::env::var(BASE).unwrap());
    let cancel = Cancel::new().unwrap();
    let got = Cache::new(Context::new(&layout, &NoListener, &cancel), settings())
        .ensure(&request(&[&std::env::var(URL).unwrap()]));
    got.unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the process is to be killed, which the library's command never does first"
)]
fn start(world: &World, url: &str, environment: &[(&str, &str)]) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "cache::processes::a_process_that_wants_a_run_file"])
        .env(BASE, world.layout.base())
        .env(URL, url)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether it got its file, and what it said.
fn ended(process: Child) -> (bool, String) {
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("running 1 test"), "{said}");
    (output.status.success(), said)
}

#[test]
fn a_killed_download_is_never_trusted() {
    let bytes = driver("580.76.05").build();
    let (world, file) = (World::new(), bytes.clone());
    let server = HttpServer::start(move |asked| match asked.earlier {
        0 => well(asked, &file).stall_after(100_000),
        _ => well(asked, &file),
    });
    let mut killed = start(&world, &server.url(PATH), &[]);
    let request = request(&[&server.url(PATH)]);
    while world.cache().look(&request).unwrap() != (Presence::Partial { bytes: 100_000 }) {
        assert_eq!(killed.try_wait().unwrap(), None, "it ended before it was killed");
        world.cancel.wait(LOOK_AGAIN).unwrap();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!world.path().exists());
    let got = world.cache().ensure(&request).unwrap();
    assert_eq!(got.sha256(), sha256(&bytes));
    assert_eq!(server.asked_for(".run")[1].from, Some(100_000));
}

#[test]
fn parallel_requests_share_one_download() {
    let bytes = driver("580.76.05").build();
    let world = World::new();
    let (arrived, first) = channel();
    let (release, released) = channel::<()>();
    let released = std::sync::Mutex::new(released);
    let server = HttpServer::start(move |asked| {
        if asked.path.ends_with(".run") {
            arrived.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        }
        well(asked, &bytes)
    });
    let (url, request) = (server.url(PATH), request(&[&server.url(PATH)]));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| world.cache().ensure(&request).map(drop))).collect();
        first.recv().unwrap();
        let processes: Vec<_> = (0..16).map(|_| start(&world, &url, &[])).collect();
        // The download does not end before every other thread waits for it.
        while world.heard.waits() < 3 {
            world.cancel.wait(LOOK_AGAIN).unwrap();
        }
        release.send(()).unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        for process in processes {
            let (success, said) = ended(process);
            assert!(success, "{said}");
        }
    });
    assert_eq!(server.asked_for(".run").len(), 1);
}

#[test]
fn a_proxy_of_the_environment_is_asked_for_what_is_not_on_this_host() {
    let world = World::new();
    let proxy = HttpServer::start(|_| Answer::new(403, "not through here"));
    let url = format!("https://driver.invalid{PATH}");
    let (success, said) = ended(start(&world, &url, &[("https_proxy", &proxy.url(""))]));
    assert!(!success, "{said}");
    let asked = proxy.asked();
    assert!(asked.iter().any(|asked| asked.path == "driver.invalid:443"), "{asked:?}\n{said}");
}

#[test]
fn what_a_proxy_refuses_is_reported_as_its_refusal_and_without_its_password() {
    let world = World::new();
    let proxy = HttpServer::start(|_| Answer::new(403, "not through here"));
    let address = proxy.url("").replace("http://", "http://me:secret@");
    let url = format!("https://driver.invalid{PATH}");
    let (success, said) = ended(start(&world, &url, &[("https_proxy", &address)]));
    assert!(!success && said.contains("(through the proxy `http://…@127.0.0.1:"), "{said}");
    assert!(said.contains("of `https_proxy`)") && !said.contains("secret"), "{said}");
}

#[test]
fn a_proxy_that_cannot_be_spoken_to_is_never_passed_by() {
    let world = World::new();
    let url = format!("https://driver.invalid{PATH}");
    for address in ["gopher://proxy.invalid:70", "http://", "::"] {
        let (success, said) = ended(start(&world, &url, &[("https_proxy", address)]));
        let told = format!("the proxy `{address}` of `https_proxy` cannot be used");
        assert!(!success && said.contains(&told), "{said}");
        assert!(!said.contains("cannot be resolved"), "it has asked for the host itself: {said}");
    }
}

#[test]
fn tls_is_checked_with_the_roots_of_the_operating_system() {
    let bytes = driver("580.76.05").build();
    let world = World::new();
    let (root, config) = certificates();
    let server = HttpServer::start_tls(config, move |asked| well(asked, &bytes));
    let (trusted, other) = (world.layout.base().join("root.pem"), world.layout.base().join("other.pem"));
    fs_err::write(&trusted, root).unwrap();
    fs_err::write(&other, certificates().0).unwrap();
    let with =
        |roots: &std::path::Path| start(&world, &server.url(PATH), &[("SSL_CERT_FILE", roots.to_str().unwrap())]);
    let (success, said) = ended(with(&other));
    assert!(!success && said.contains("TLS failed: invalid peer certificate"), "{said}");
    assert!(!world.path().exists());
    let (success, said) = ended(with(&trusted));
    assert!(success, "{said}");
    assert!(world.path().exists());
}

/// A root in PEM, and a server on the loopback that it vouches for.
fn certificates() -> (String, Arc<rustls::ServerConfig>) {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "a root made for this test");
    let root = parameters.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, root_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    parameters.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (root.pem(), Arc::new(config))
}
