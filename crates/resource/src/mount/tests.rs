//! What the words of mounts mean.

use proptest::prelude::*;

use super::*;

#[test]
fn docker_s_and_apple_s_keys_mean_the_same() {
    let expected = tmpfs::mount("/t", ["size=65536", "mode=1777"].into_iter()).unwrap();
    for text in [
        "type=tmpfs,target=/t,tmpfs-size=64k,tmpfs-mode=1777",
        "type=tmpfs,destination=/t,size=64KiB,mode=1777",
        "TYPE=tmpfs,dst=/t,ro=false,source=,size=65536,mode=1777",
    ] {
        assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
    }
    assert_eq!(parse("type=tmpfs,dst=/t,readonly").unwrap().options, ["ro"]);
}

#[test]
fn the_host_s_files_are_named_in_two_ways() {
    let expected = bind::mount("/tmp/a=b", "/m", ["ro"]).unwrap();
    for text in [
        "type=bind,source=/tmp/a=b,target=/m,readonly",
        "type=virtiofs,src=/tmp/a=b,dst=/m,ro=true,bind-propagation=rprivate",
    ] {
        assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
    }
    for text in ["/tmp/a=b:/m:ro", "/tmp/a=b:/m:z,ro"] {
        assert_eq!(parse_short(text).as_ref(), Ok(&expected), "{text}");
    }
    assert_eq!(parse_short("./a b:/m").unwrap().source, "./a b");
    assert_eq!(parse_short("a/b:/m:").unwrap().source, "a/b");
    let expected = bind::mount("/s", "/m", ["idmap=uids=0-5-1;gids=0-6-1"]).unwrap();
    for text in [
        "type=bind,src=/s,dst=/m,idmap=uids=0-5-1;gids=0-6-1",
        "type=bind,src=/s,dst=/m,idmap,idmap=uids=0-5-1;gids=0-6-1",
    ] {
        assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
    }
    assert_eq!(
        parse_short("/s:/m:idmap=uids=0-5-1;gids=0-6-1").as_ref(),
        Ok(&expected)
    );
    for (text, words) in [
        (
            "",
            "invalid volume '': [<name>:]<path>[:<options>] is expected",
        ),
        (
            ":/m",
            "invalid volume ':/m': [<name>:]<path>[:<options>] is expected",
        ),
        (
            "/a:/b:ro:x",
            "'/a:/b:ro:x' has too many colons: a path with one is written as --mount type=bind,source=<path>,target=<path>",
        ),
        (
            "/a:b",
            "invalid mount point 'b': an absolute path below / is expected, without '..'",
        ),
        (
            "/a:/b:foo",
            "invalid option 'foo' of a bind mount: ro, rw, exec, noexec, suid, nosuid, nodev and noatime are known",
        ),
    ] {
        assert_eq!(parse_short(text).unwrap_err().to_string(), words, "{text}");
    }
    assert_eq!(parse_short("v:/m").unwrap().volume(), Some("v"));
    assert_eq!(parse_short("/m").unwrap().volume(), Some(""));
}

#[test]
fn volumes_are_docker_s_default() {
    let expected = volume::mount("v", "/m", vec!["ro".into(), "nocopy".into()]).unwrap();
    for text in [
        "type=volume,source=v,target=/m,ro,volume-nocopy",
        "src=v,dst=/m,readonly=true,volume-nocopy=1",
    ] {
        assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
    }
    assert_eq!(parse("type=volume,target=/m").unwrap().volume(), Some(""));
}

#[test]
fn mistakes_are_named() {
    for (text, words) in [
        ("", "unexpected key '' in ''"),
        ("=", "unexpected key '' in '='"),
        ("==", "unexpected key '' in '=='"),
        ("type=tmpfs", "target is required"),
        (
            "type=tmpfs,target=/a,idmap",
            "idmap is no option of this type of mount",
        ),
        (
            "type=volume,target=/a,idmap",
            "idmap is no option of this type of mount",
        ),
        (
            "type=bind,src=/s,dst=/m,idmap=uids=x",
            "invalid idmap 'uids=x': uids=<of the files>-<in the container>-<count>[#...][;gids=...] is expected",
        ),
        (
            "type=tmpfs,target=/a,foo=b",
            "unexpected key 'foo' in 'foo=b'",
        ),
        ("type=tmpfs,target=", "invalid value for target: ''"),
        (
            "type=tmpfs,target=a",
            "invalid mount point 'a': an absolute path below / is expected, without '..'",
        ),
        (
            "type=tmpfs,target=/a,tmpfs-size=1x",
            "invalid value for tmpfs-size: '1x'",
        ),
        (
            "type=tmpfs,target=/a,tmpfs-mode=9",
            "invalid value for tmpfs-mode: '9'",
        ),
        (
            "type=tmpfs,target=/a,ro=maybe",
            "invalid value for ro: 'maybe'",
        ),
        ("type=tmpfs,target=/a,src=/b", "a tmpfs has no source"),
        (
            "type=foo,target=/a",
            "invalid mount type 'foo': bind, virtiofs, volume or tmpfs is expected",
        ),
        ("type=bind,source=/a", "target is required"),
        (
            "type=bind,target=/m",
            "a bind mount needs a path of the host as its source",
        ),
        (
            "type=virtiofs,source=/a,target=m",
            "invalid mount point 'm': an absolute path below / is expected, without '..'",
        ),
        (
            "type=bind,source=/a,target=/m,size=1m",
            "size is no option of this type of mount",
        ),
        (
            "type=bind,source=/a,target=/m,bind-recursive=disabled",
            "'bind-recursive=disabled' is not available here: mounts below the source are there, too, and read-only with it",
        ),
        (
            "type=volume,source=v,target=/m,size=1m",
            "size is no option of this type of mount",
        ),
        (
            "type=tmpfs,target=/m,volume-nocopy",
            "volume-nocopy is no option of this type of mount",
        ),
        ("source=v", "target is required"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), words, "{text}");
    }
}

#[test]
fn a_source_with_a_comma_stands_in_quotation_marks() {
    let mount = parse(r#"type=bind,"source=/a,b",target=/m"#).unwrap();
    assert_eq!(mount.source, "/a,b");
}

#[test]
fn a_volume_s_mount_says_what_part_and_what_volume() {
    let options = |text: &str| parse(text).unwrap().options;
    for text in [
        "type=volume,src=v,dst=/m,volume-subpath=a/b",
        "source=v,target=/m,subpath=a/b,volume-driver=local",
    ] {
        assert_eq!(options(text), ["volume-subpath=a/b"], "{text}");
    }
    assert_eq!(
        options("src=v,dst=/m,volume-opt=size=1g,volume-label=a=b=c,volume-nocopy=false,noexec"),
        ["volume-opt=size=1g", "volume-label=a=b=c", "noexec"]
    );
    assert_eq!(options("type=tmpfs,dst=/t,exec,nosuid"), ["exec", "nosuid"]);
    for (text, words) in [
        (
            "src=v,dst=/m,volume-subpath=../x",
            "invalid volume-subpath '../x': a relative path is expected, without '..'",
        ),
        (
            "dst=/m,volume-subpath=x",
            "a volume without a name is empty: there is no volume-subpath in it",
        ),
        (
            "src=v,dst=/m,volume-driver=nfs",
            "volume-driver=nfs is not available here: volumes have the driver local",
        ),
        (
            "src=v,dst=/m,volume-opt=type=nfs",
            "unknown volume option 'type': size and journal are known",
        ),
        (
            "src=v,dst=/m,volume-opt=size",
            "invalid value for volume-opt: 'size'",
        ),
        ("src=v,dst=/m,volume-label==x", "invalid volume-label"),
        (
            "type=bind,src=/v,dst=/m,volume-subpath=x",
            "volume-subpath is no option of this type of mount",
        ),
        (
            "type=tmpfs,dst=/m,bind-propagation=private",
            "bind-propagation is no option of this type of mount",
        ),
        (
            "type=tmpfs,dst=/m,U",
            "option U is not available here: uid= and gid= say whose a tmpfs is",
        ),
        (
            "type=tmpfs,dst=/m,tmpfs-size=101%",
            "invalid value for size: '101%'",
        ),
        (
            "type=bind,src=/v,dst=/m,uid=3",
            "uid is no option of this type of mount",
        ),
        (
            "src=v,taget=/m",
            "unexpected key 'taget' in 'taget=/m': did you mean target?",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), words, "{text}");
    }
}

#[test]
fn what_is_podman_s_is_understood() {
    let options = |text: &str| parse(text).unwrap().options.join(",");
    assert_eq!(options("type=bind,src=/a,dst=/m,rw"), "rw");
    assert_eq!(options("type=volume,dst=/m,rw=false"), "ro");
    assert_eq!(
        options("type=tmpfs,dst=/m,tmpfs-size=10%,uid=3,notmpcopyup"),
        "size=10%,uid=3"
    );
    assert_eq!(options("type=tmpfs,dst=/m,ro,rw=true"), "ro,rw");
}

proptest! {
    #[test]
    fn whatever_passes_has_a_place_in_the_container(text in "type=(tmpfs|bind,src=a),dst=\\PC{0,20}") {
        if let Ok(mount) = parse(&text) {
            let place = mount_point::parse(&mount.destination);
            prop_assert_eq!(place, Ok(mount.destination));
        }
    }
}

#[test]
fn what_docker_has_and_this_has_not_is_told_with_its_reason() {
    let mount = |fields: &str| parse(&format!("type=bind,src=/a,dst=/b,{fields}")).map(drop);
    for fields in [
        "bind-create-src=false",
        "relabel=shared",
        "relabel=private",
        "bind-recursive=enabled",
        "bind-nonrecursive=false",
    ] {
        assert_eq!(mount(fields), Ok(()), "{fields}");
    }
    for (fields, words) in [
        ("bind-create-src", "the source of a bind mount must exist"),
        (
            "bind-create-src=x",
            "invalid value for bind-create-src: 'x'",
        ),
        ("relabel=x", "invalid value for relabel"),
        (
            "bind-recursive=disabled",
            "mounts below the source are there",
        ),
        (
            "bind-recursive=writable",
            "mounts below the source are there",
        ),
        ("bind-recursive=x", "invalid value for bind-recursive: 'x'"),
        ("bind-nonrecursive", "mounts below the source are there"),
    ] {
        let error = mount(fields).unwrap_err().to_string();
        assert!(error.contains(words), "{fields}: {error}");
    }
    for text in ["/tmp/a:b:/m", "/tmp/a:b:/m:ro", "/a:/b:/c", "./a:b:/c"] {
        let error = parse_short(text).unwrap_err().to_string();
        assert!(error.contains("--mount type=bind"), "{text}: {error}");
    }
}
