//! The one request that starts a container in its guest.

use bytes::Bytes;
use container_api::guest::{Device, Interface, Root, StartRequest};
use container_api::{Error, Kind};
use container_engine::DiskRole;
use container_resource::bundle;
use container_resource::container::ContainerConfiguration;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::files::files;
use crate::machine::Volume;
use crate::oci;
use crate::stdio::TerminalSize;

/// Bytes of entropy given to a guest: twice the seed of the kernel's generator.
const ENTROPY: usize = 64;

/// Everything that the guest needs to know of the container, now, which has `interfaces` to its networks. With `stdin` its first process has a standard input; a
/// terminal of it has `size`.
pub fn start_request(
    configuration: &ContainerConfiguration,
    interfaces: &[bundle::Interface],
    stdin: bool,
    size: Option<TerminalSize>,
) -> Result<StartRequest, Error> {
    let spec = oci::spec(configuration, size)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    Ok(StartRequest {
        hostname: configuration
            .hostname
            .clone()
            .unwrap_or_else(|| configuration.id.clone()),
        user: oci::user(&configuration.init_process),
        files: files(configuration, interfaces),
        init: configuration.use_init,
        stdin,
        sysctls: configuration.sysctls.clone().into_iter().collect(),
        devices: configuration
            .devices
            .iter()
            .map(|device| Device {
                path: device.path.clone(),
                destination: device.destination.clone(),
                access: device.access.clone(),
            })
            .collect(),
        interfaces: interfaces.iter().map(interface).collect(),
        published_sockets: configuration
            .published_sockets
            .iter()
            .map(|socket| socket.container_path.clone())
            .collect(),
        ..basis(configuration, &spec)?
    })
}

/// The same for a container that came with its specification, and so with all that its guest is to do.
pub fn given_start_request(
    configuration: &ContainerConfiguration,
    given: &Value,
    stdin: bool,
    size: Option<TerminalSize>,
) -> Result<StartRequest, Error> {
    let mut spec = given.clone();
    if let Some(TerminalSize { rows, columns }) = size.filter(|_| spec["process"].is_object()) {
        spec["process"]["consoleSize"] = json!({ "height": rows, "width": columns });
    }
    Ok(StartRequest {
        hostname: configuration
            .hostname
            .clone()
            .unwrap_or_else(|| configuration.id.clone()),
        stdin,
        ..basis(configuration, &spec)?
    })
}

/// What the guest needs to know of a container of which nothing is to run. Its empty volumes stay so, unless this `fills` them.
pub fn idle_request(
    configuration: &ContainerConfiguration,
    fills: bool,
) -> Result<StartRequest, Error> {
    let spec = oci::idle_spec(configuration)
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    let mut request = StartRequest {
        idle: true,
        ..basis(configuration, &spec)?
    };
    if !fills {
        for volume in &mut request.volumes {
            volume.fill_from.clear();
        }
    }
    Ok(request)
}

/// What every start needs.
fn basis(
    configuration: &ContainerConfiguration,
    spec: &impl Serialize,
) -> Result<StartRequest, Error> {
    let spec = serde_json::to_vec(spec).map_err(|error| Error::caused(Kind::Internal, error))?;
    let mut entropy = vec![0; ENTROPY];
    rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::caused(Kind::Internal, error))?;
    Ok(StartRequest {
        id: configuration.id.clone(),
        realtime_ns: u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0),
        entropy: Bytes::from(entropy),
        volumes: Volume::all(configuration)
            .into_iter()
            .enumerate()
            .map(|(number, volume)| container_api::guest::Volume {
                disk: Volume::role(number).serial(),
                read_only: volume.read_only,
                fill_from: volume.fill_from,
            })
            .collect(),
        root: Some(Root {
            image_disk: DiskRole::Root.serial(),
            upper_disk: Some(DiskRole::Upper.serial()),
            read_only: configuration.read_only,
        }),
        oci_spec: Bytes::from(spec),
        ..StartRequest::default()
    })
}

/// An interface as the guest is told of it.
pub fn interface(interface: &bundle::Interface) -> Interface {
    let addresses = [&interface.ipv4_address, &interface.ipv6_address];
    let gateways = [&interface.ipv4_gateway, &interface.ipv6_gateway];
    Interface {
        device_mac: interface.device_mac.clone(),
        mac: interface.mac.clone(),
        mtu: interface.mtu,
        addresses: addresses.into_iter().flatten().cloned().collect(),
        gateways: gateways
            .into_iter()
            .flatten()
            .filter(|_| interface.default_route)
            .cloned()
            .collect(),
    }
}
