//! The configuration of a node for `kubeadm` (kubeadm.k8s.io/v1beta4, kubelet.config.k8s.io/v1beta1, kubeproxy.config.k8s.io/v1alpha1).

use serde_json::json;

use crate::cluster::API_PORT;

/// Addresses of pods: what the node image's own network wants.
pub const POD_SUBNET: &str = "10.244.0.0/16";
/// Addresses of services: kind's.
const SERVICE_SUBNET: &str = "10.96.0.0/16";
/// Where containerd of the node listens.
const RUNTIME: &str = "unix:///run/containerd/containerd.sock";

/// The configuration of the cluster `name`, whose node has `address`. Four documents of JSON, which is YAML.
pub fn configuration(name: &str, address: &str) -> String {
    let registration = json!({
        "criSocket": RUNTIME,
        "name": name,
        "kubeletExtraArgs": [{ "name": "node-ip", "value": address }],
    });
    let documents = [
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "localAPIEndpoint": { "advertiseAddress": address, "bindPort": API_PORT },
            "nodeRegistration": registration,
        }),
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "clusterName": name,
            // Clients of the host come by a published port.
            "apiServer": { "certSANs": ["localhost", "127.0.0.1", address, name] },
            "networking": { "podSubnet": POD_SUBNET, "serviceSubnet": SERVICE_SUBNET },
        }),
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "systemd",
            "failSwapOn": false,
            // The disk is as large as the host's is free: what it has is no reason to throw pods out.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": { "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%" },
        }),
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            // The machine's own limits hold.
            "conntrack": { "maxPerCore": 0 },
        }),
    ];
    let documents = documents.map(|document| format!("{document:#}\n"));
    documents.join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_has_its_kind_and_names_cannot_break_out() {
        let text = configuration("a\"b: c", "10.0.0.2");
        let documents: Vec<serde_json::Value> = text
            .split("---\n")
            .map(|document| serde_json::from_str(document).unwrap())
            .collect();
        let kinds: Vec<_> = documents
            .iter()
            .map(|document| document["kind"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "InitConfiguration",
                "ClusterConfiguration",
                "KubeletConfiguration",
                "KubeProxyConfiguration"
            ]
        );
        assert_eq!(documents[1]["clusterName"], "a\"b: c");
        assert_eq!(
            documents[0]["localAPIEndpoint"]["advertiseAddress"],
            "10.0.0.2"
        );
    }
}
