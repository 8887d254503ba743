//! Which GPUs a container gets: `gpu_assignment`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::finding::{Finding, Severity, quoted};
use super::json_value::Node;
use super::on_host::{ALL_GPUS, OnHost};
use crate::driver::mig::MigInstance;

/// One GPU, by one of its three names, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GpuSelector {
    /// N of the device node `/dev/nvidiaN`.
    Minor(u32),
    /// The PCI address as sysfs writes it, `0000:01:00.0`; it stays when the numbers of the nodes move.
    Pci(String),
    /// NVIDIA's UUID, `GPU-` and 32 hexadecimal digits in five groups; it never changes.
    Uuid(String),
    /// An instance of a GPU that the host has divided (MIG): `GPU:GI:CI`.
    Instance(Box<Self>, MigInstance),
    /// The same by NVIDIA's UUID of the instance, `MIG-` and five groups: with its GPU and its numbers, where the host that
    /// the file is read on knows it.
    Named(String, Option<Box<(Self, MigInstance)>>),
}

/// Why a text names no GPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no GPU")]
pub struct NotAGpu(pub String);

impl GpuSelector {
    /// The highest N of a GPU's node: minor 254 is `nvidia-modeset` and 255 `nvidiactl` (`nv-chardev-numbers.h` of
    /// NVIDIA's open kernel modules).
    pub const HIGHEST_MINOR: u32 = 253;

    /// The GPU, where it is one or a part of one; an instance that nobody knows is its own.
    pub fn gpu(&self) -> &Self {
        match self {
            Self::Instance(gpu, _) => gpu,
            Self::Named(_, Some(place)) => &place.0,
            gpu => gpu,
        }
    }

    /// The numbers of the instance, where it is a part of a GPU and they are known.
    pub fn instance(&self) -> Option<MigInstance> {
        match self {
            Self::Instance(_, instance) => Some(*instance),
            Self::Named(_, place) => place.as_ref().map(|place| place.1),
            _ => None,
        }
    }

    /// Whether it is a part of a GPU.
    pub fn is_part(&self) -> bool {
        matches!(self, Self::Instance(..) | Self::Named(..))
    }

    /// The same with what this host knows of it.
    fn on(self, host: Option<OnHost<'_>>) -> Self {
        let Self::Named(uuid, _) = self else { return self };
        let named = host.and_then(|host| (host.instance)(&uuid));
        let place = named.and_then(|named| Some(Box::new((pci(&named.pci_address)?, named.instance))));
        Self::Named(uuid, place)
    }
}

impl FromStr for GpuSelector {
    type Err = NotAGpu;

    fn from_str(text: &str) -> Result<Self, NotAGpu> {
        whole(text)
            .or_else(|| instance(text))
            .or_else(|| named(text))
            .ok_or_else(|| NotAGpu(text.chars().take(80).collect()))
    }
}

fn whole(text: &str) -> Option<GpuSelector> {
    minor(text).or_else(|| uuid(text)).or_else(|| pci(text))
}

/// `GPU:GI:CI` or, for the first compute instance, `GPU:GI`; drivers up to 460 call it `MIG-GPU-…/GI/CI`.
fn instance(text: &str) -> Option<GpuSelector> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() <= 2 && !text.starts_with('+'));
    let of = |gpu: &str, gpu_instance: &str, compute_instance: &str| {
        let (gpu_instance, compute_instance) = (number(gpu_instance)?, number(compute_instance)?);
        let instance = MigInstance { gpu_instance, compute_instance };
        Some(GpuSelector::Instance(Box::new(whole(gpu)?), instance))
    };
    let separator = if text.starts_with("MIG-") { '/' } else { ':' };
    let mut parts = text.strip_prefix("MIG-").unwrap_or(text).rsplitn(3, separator);
    let (last, middle, first) = (parts.next()?, parts.next()?, parts.next());
    let with_both = first.and_then(|gpu| of(gpu, middle, last));
    with_both.or_else(|| text.rsplit_once(':').and_then(|(gpu, gpu_instance)| of(gpu, gpu_instance, "0")))
}

fn minor(text: &str) -> Option<GpuSelector> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
    (number <= GpuSelector::HIGHEST_MINOR).then_some(GpuSelector::Minor(number))
}

fn uuid(text: &str) -> Option<GpuSelector> {
    uuid_behind(text, "GPU-").map(GpuSelector::Uuid)
}

fn named(text: &str) -> Option<GpuSelector> {
    uuid_behind(text, "MIG-").map(|uuid| GpuSelector::Named(uuid, None))
}

fn uuid_behind(text: &str, prefix: &str) -> Option<String> {
    let groups: Vec<&str> = text.strip_prefix(prefix)?.split('-').collect();
    let lengths = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]);
    let digits = groups.iter().all(|group| hexadecimal(group));
    (lengths && digits).then(|| format!("{prefix}{}", groups.join("-").to_ascii_lowercase()))
}

/// `0000:01:00.0`, with NVIDIA's eight-digit domain, or `lspci`'s short form without one.
fn pci(text: &str) -> Option<GpuSelector> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let (device, bus, domain) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    let hexadecimal = [device, bus, domain, function].into_iter().all(hexadecimal);
    let lengths = parts.next().is_none() && device.len() == 2 && bus.len() == 2 && domain.len() <= 8;
    let device_number = u32::from_str_radix(device, 16).ok().filter(|number| *number < 32);
    let function_number = u32::from_str_radix(function, 16).ok().filter(|number| *number < 8 && function.len() == 1);
    let domain = u32::from_str_radix(domain, 16).ok()?;
    (hexadecimal && lengths).then_some(())?;
    let (device, function) = (device_number?, function_number?);
    Some(GpuSelector::Pci(format!("{domain:04x}:{}:{device:02x}.{function}", bus.to_ascii_lowercase())))
}

fn hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for GpuSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor(number) => write!(f, "{number}"),
            Self::Pci(text) | Self::Uuid(text) | Self::Named(text, _) => f.write_str(text),
            Self::Instance(gpu, instance) => write!(f, "{gpu}:{instance}"),
        }
    }
}

impl serde::Serialize for GpuSelector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The GPUs that a container gets; all others are taken from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GpuAssignment {
    /// No GPU.
    #[default]
    None,
    /// These, at least one.
    Of(BTreeSet<GpuSelector>),
    /// All that the host has: those that it drives now. None while it drives none, or where nobody has asked.
    All(BTreeSet<GpuSelector>),
}

impl GpuAssignment {
    /// Whether the container gets any GPU.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether it is every GPU of the host, also one that the host has lost for the moment.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All(_))
    }

    /// The GPUs, in the order of their names; of all of a host, those that it drives now.
    pub fn iter(&self) -> impl Iterator<Item = &GpuSelector> {
        match self {
            Self::None => None,
            Self::Of(gpus) | Self::All(gpus) => Some(gpus.iter()),
        }
        .into_iter()
        .flatten()
    }

    /// The number of GPUs: instances of one GPU count once.
    pub fn count(&self) -> usize {
        self.iter().map(GpuSelector::gpu).collect::<BTreeSet<_>>().len()
    }

    /// How many GPUs CUDA shows: of a GPU that is divided it takes one instance, and no other GPU beside that (NVIDIA's
    /// Multi-Instance GPU User Guide, "CUDA Device Enumeration").
    pub fn seen_by_cuda(&self) -> usize {
        if self.iter().any(GpuSelector::is_part) { 1 } else { self.count() }
    }

    const EXPECTED: &str = "`none`, `all`, or GPUs separated by commas: `0`, `0,1`, `0000:01:00.0`, `GPU-…`, or instances of a \
                            divided GPU (MIG): `0:1:0`, `MIG-…`";

    /// Reads the value of `gpu_assignment`.
    pub(super) fn read(node: &Node<'_>, host: Option<OnHost<'_>>, findings: &mut Vec<Finding>) -> Self {
        let Some(text) = node.as_text_or_number() else {
            findings.push(node.wrong_type(Self::EXPECTED));
            return Self::None;
        };
        if text.trim() == "none" {
            return Self::None;
        }
        if text.trim() == ALL_GPUS {
            return Self::All(host.iter().flat_map(|host| host.gpus).map(|it| GpuSelector::Minor(*it)).collect());
        }
        let mut gpus = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            match part.parse::<GpuSelector>() {
                Ok(gpu) => {
                    if !gpus.insert(gpu.on(host)) {
                        let message = format!("`gpu_assignment` names GPU {} twice", quoted(part));
                        findings.push(node.finding(Severity::Warning, message));
                    }
                }
                Err(_) => {
                    findings.push(match part == text {
                        true => node.wrong_value(Self::EXPECTED),
                        false => {
                            let message = format!("{} in `gpu_assignment` names no GPU", quoted(part));
                            node.finding(Severity::Error, message).expected(Self::EXPECTED)
                        }
                    });
                    return Self::None;
                }
            }
        }
        if gpus.is_empty() { Self::None } else { Self::Of(gpus) }
    }
}

/// As it can stand in the file: `none`, `0,1`.
impl fmt::Display for GpuAssignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => return f.write_str("none"),
            Self::All(gpus) if gpus.is_empty() => return f.write_str(ALL_GPUS),
            Self::All(_) | Self::Of(_) => {}
        }
        let names: Vec<String> = self.iter().map(GpuSelector::to_string).collect();
        f.write_str(&names.join(","))
    }
}

impl serde::Serialize for GpuAssignment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::source::Source;
    use crate::driver::mig::NamedInstance;

    fn read(value: &str) -> (String, Vec<Severity>) {
        let text = format!(r#"{{ "gpu_assignment": {value} }}"#);
        let document = Document::parse(Source::new("x", text)).map_err(|finding| finding.render()).unwrap();
        let mut findings = Vec::new();
        let gpus = GpuAssignment::read(&document.root().member("gpu_assignment").unwrap(), None, &mut findings);
        (gpus.to_string(), findings.into_iter().map(|finding| finding.severity).collect())
    }

    #[test]
    fn every_form_that_operators_write_is_read() {
        for (value, gpus) in [
            (r#""none""#, "none"),
            (r#""all""#, "all"),
            (r#""0""#, "0"),
            (r#""0,1""#, "0,1"),
            (r#""0, 1""#, "0,1"),
            (r#""1,0""#, "0,1"),
            ("0", "0"),
            (r#""10,9""#, "9,10"),
            (r#""01:00.0""#, "0000:01:00.0"),
            (r#""00000000:C1:00.0""#, "0000:c1:00.0"),
            (r#""GPU-8932F937-D72C-4106-C12F-20bd9faed9f6""#, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"),
            (r#""0:1""#, "0:1:0"),
            (r#""0:1:0, 0:2:1""#, "0:1:0,0:2:1"),
            (r#""01:00.0:7:0""#, "0000:01:00.0:7:0"),
            (r#""MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/3/0""#, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6:3:0"),
            (r#""MIG-E07A497D-1bb6-5a42-b670-1c33bf55ab6e""#, "MIG-e07a497d-1bb6-5a42-b670-1c33bf55ab6e"),
        ] {
            assert_eq!(read(value), (gpus.to_owned(), vec![]), "{value}");
        }
    }

    #[test]
    fn an_instance_that_is_called_by_its_uuid_is_the_one_that_the_host_says() {
        let named = || "MIG-e07a497d-1bb6-5a42-b670-1c33bf55ab6e".parse::<GpuSelector>().unwrap();
        let unknown = named().on(None);
        assert_eq!((unknown.gpu(), unknown.instance(), unknown.is_part()), (&unknown, None, true));
        let instance = MigInstance { gpu_instance: 5, compute_instance: 0 };
        let answer = |uuid: &str| {
            let pci_address = "00000000:C1:00.0".to_owned();
            Some(NamedInstance { uuid: uuid.to_owned(), pci_address, instance })
        };
        let host = OnHost { driver: &|| None, gpus: &BTreeSet::new(), only: None, instance: &answer };
        let known = named().on(Some(host));
        assert_eq!((known.gpu().to_string().as_str(), known.instance()), ("0000:c1:00.0", Some(instance)));
        assert_eq!(known.to_string(), named().to_string());
        let both = [known, "0000:c1:00.0:6:0".parse().unwrap()].into();
        assert_eq!(GpuAssignment::Of(both).count(), 1);
    }

    #[test]
    fn a_gpu_named_twice_is_given_once_and_reported() {
        assert_eq!(read(r#""0,0""#), ("0".to_owned(), vec![Severity::Warning]));
    }

    #[test]
    fn anything_else_is_refused() {
        for value in [
            r#""0;1""#,
            r#""0,,1""#,
            r#""0,""#,
            r#""all,0""#,
            "-1",
            "1.0",
            "true",
            "[0, 1]",
            r#""254""#,
            r#""nvidia0""#,
            r#""none,0""#,
            r#""0000:01:20.0""#,
            r#""0000:01:00.8""#,
            r#""GPU-1""#,
            r#""1:0000:01:00.0""#,
            r#"" ""#,
            r#""0:""#,
            r#""0:1:""#,
            r#""0:100:0""#,
            r#""0:-1""#,
            r#""MIG-8932f937-d72c-4106-c12f""#,
            r#""MIG-8932f937-d72c-4106-c12f-20bd9faed9f6:0""#,
        ] {
            assert_eq!(read(value), ("none".to_owned(), vec![Severity::Error]), "{value}");
        }
    }
}
