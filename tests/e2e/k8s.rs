//! `container k8s` with a node image whose programs are pretended ones: all that is the plugin's own, and the node is a real container.

use crate::system::System;

/// What a node image of kind has, as far as the plugin asks for it.
const NODE: &str = r#"
mkdir -p /kind/manifests
echo 'podSubnet: {{ .PodSubnet }}' > /kind/manifests/default-cni.yaml
echo storage > /kind/manifests/default-storage.yaml
cat > /bin/kubeadm <<'END'
#!/bin/sh
mkdir -p /etc/kubernetes
cp "$3" /etc/kubernetes/told
printf 'clusters: [{cluster: {certificate-authority-data: YQ==}}]\nusers: [{user: {client-certificate-data: Yg==, client-key-data: Yw==}}]\n' \
    > /etc/kubernetes/admin.conf
END
printf '#!/bin/sh\ncase "$*" in *"apply -f -") cat >> /etc/kubernetes/applied ;; esac\n' > /bin/kubectl
printf '#!/bin/sh\ncat > /var/loaded.tar\n' > /bin/ctr
printf '#!/bin/sh\n' > /bin/crictl
chmod +x /bin/kubeadm /bin/kubectl /bin/ctr /bin/crictl
"#;

#[test]
fn a_cluster_is_made_listed_fed_started_again_and_deleted() {
    let system = System::start();
    system
        .run(["run", "--name", "node", "busybox", "sh", "-c", NODE])
        .ok();
    let change = r#"CMD ["sleep", "100000"]"#;
    system
        .run(["commit", "--change", change, "node", "node"])
        .ok();
    system.run(["delete", "node"]).ok();
    let config = system.scratch().join("kubeconfig");
    std::fs::write(&config, "kind: Config\nusers: [{name: mine, user: {}}]\n").unwrap();
    let kubeconfig = ["--kubeconfig", config.to_str().unwrap()];
    let k8s = |words: &[&str]| system.run(["k8s"].iter().chain(words));
    let create = ["create", "--name", "dev", "--node-image", "node"];
    let create = [&create[..], &kubeconfig].concat();
    assert_eq!(k8s(&create).ok().stdout, "dev\n");
    let told = |path: &str| system.run(["exec", "dev", "cat", path]).ok().stdout;
    assert!(told("/etc/kubernetes/told").contains("advertiseAddress"));
    assert!(told("/etc/kubernetes/applied").contains("podSubnet: 10.244.0.0/16"));
    let merged = || std::fs::read_to_string(&config).unwrap();
    let written = merged();
    assert!(
        written.contains("https://127.0.0.1:") && written.contains("mine"),
        "{written}"
    );
    k8s(&create).code(1).says("cluster already exists: dev");
    k8s(&["create", "--name", "BAD_NAME"])
        .code(64)
        .says("Error: invalid value 'BAD_NAME'");
    assert_eq!(k8s(&["list", "-q"]).ok().stdout, "dev\n");
    let table = k8s(&["list"]).ok().stdout;
    assert!(
        table.contains("control-plane") && table.contains("running"),
        "{table}"
    );
    k8s(&["load-image", "--name", "dev", "busybox"]).ok();
    let members = ["exec", "dev", "tar", "-tf", "/var/loaded.tar"];
    assert!(system.run(members).ok().stdout.contains("index.json"));
    // A cluster that was stopped is there again, with what it had.
    system.run(["stop", "--time", "1", "dev"]).ok();
    assert_eq!(k8s(&["start", "--name", "dev"]).ok().stdout, "dev\n");
    assert!(system.run(members).ok().stdout.contains("index.json"));
    std::fs::remove_file(&config).unwrap();
    k8s(&[&["write-config", "--name", "dev"], &kubeconfig[..]].concat()).ok();
    assert!(merged().contains("client-key-data: Yw=="), "{}", merged());
    k8s(&[&["delete", "--name", "dev"], &kubeconfig[..]].concat()).ok();
    assert!(!merged().contains("Yw=="), "{}", merged());
    assert_eq!(k8s(&["list", "-q"]).ok().stdout, "");
    assert_eq!(system.run(["volume", "list", "-q"]).ok().stdout, "");
}
