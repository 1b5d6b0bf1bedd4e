//! Downloads that break, lie or stall.

use super::image::Image;
use super::puller::Puller;
use super::support::hostile::{Answer, Hostile, Request, answer, lying};

/// Pulls from a registry that answers requests for the layer in its own way.
async fn pull_with_layer(
    misbehave: impl Fn(&Image, &Request) -> Option<Answer> + Send + Sync + 'static,
) -> (Result<(), String>, usize, Puller) {
    let image = Image::new();
    let path = format!("/v2/x/blobs/{}", image.layer);
    let served = path.clone();
    let registry = Hostile::start("127.0.0.1", move |request| {
        let own = if request.path == served {
            misbehave(&image, request)
        } else {
            None
        };
        own.unwrap_or_else(|| image.honest(request))
    })
    .await;
    let puller = Puller::new();
    let result = puller.pull(&registry.address).await;
    (result, registry.count(&path), puller)
}

#[tokio::test]
async fn broken_downloads_are_resumed() {
    let cut = |image: &Image| {
        lying(
            "200 OK",
            "",
            image.layer_bytes().len(),
            &image.layer_bytes()[..290_000],
        )
    };
    // Cut off near the end, then resumed by range.
    let (result, asked, _) =
        pull_with_layer(move |image, request| (request.before == 0).then(|| cut(image).into()))
            .await;
    assert_eq!((result, asked), (Ok(()), 2));
    // The range is ignored: what is known already is skipped.
    let (result, asked, _) = pull_with_layer(move |image, request| {
        Some(
            if request.before == 0 {
                cut(image)
            } else {
                answer("200 OK", "", image.layer_bytes())
            }
            .into(),
        )
    })
    .await;
    assert_eq!((result, asked), (Ok(()), 2));
    // It stalls, then goes on.
    let (result, asked, _) = pull_with_layer(move |image, request| {
        (request.before == 0).then(|| Answer {
            bytes: cut(image),
            stall: true,
        })
    })
    .await;
    assert_eq!((result, asked), (Ok(()), 2));
    // A few bytes each time are progress, but not for ever.
    let (result, asked, puller) = pull_with_layer(|image, request| {
        let start = request.range_start().unwrap_or(0);
        let bytes = image.layer_bytes();
        let range = format!(
            "content-range: bytes {start}-{}/{}\r\n",
            bytes.len() - 1,
            bytes.len()
        );
        let status = if start == 0 {
            "200 OK"
        } else {
            "206 Partial Content"
        };
        Some(
            lying(
                status,
                &range,
                bytes.len() - start,
                &bytes[start..start + 10],
            )
            .into(),
        )
    })
    .await;
    assert!(result.unwrap_err().contains("given up"));
    assert!((10..100).contains(&asked), "{asked}");
    assert_eq!(puller.layers(), 0);
}

#[tokio::test]
async fn passing_failures_are_repeated_a_few_times() {
    let busy = || answer("503 Service Unavailable", "retry-after: 0\r\n", b"");
    let (result, asked, _) =
        pull_with_layer(move |_, request| (request.before < 2).then(|| busy().into())).await;
    assert_eq!((result, asked), (Ok(()), 3));
    let limit = || answer("429 Too Many Requests", "retry-after: 86400\r\n", b"");
    let (result, asked, _) = pull_with_layer(move |_, _| Some(limit().into())).await;
    assert!(result.unwrap_err().contains("429"));
    assert_eq!(asked, 5);
    let (result, asked, _) =
        pull_with_layer(|_, _| Some(answer("403 Forbidden", "", b"").into())).await;
    assert!(result.unwrap_err().contains("denies access"));
    assert_eq!(asked, 1, "a refusal is final");
}

#[tokio::test]
async fn wrong_content_is_refused_and_not_kept() {
    type Misbehave = Box<dyn Fn(&Image, &Request) -> Vec<u8> + Send + Sync>;
    let cases: Vec<(&str, Misbehave, &str)> = vec![
        (
            "flipped bit",
            Box::new(|image, _| {
                let mut bytes = image.layer_bytes().to_vec();
                bytes[200_000] ^= 1;
                answer("200 OK", "", &bytes)
            }),
            "",
        ),
        (
            "longer than announced by the manifest",
            Box::new(|image, _| answer("200 OK", "", &[image.layer_bytes(), b"more"].concat())),
            "another length",
        ),
        (
            "longer, without a length",
            Box::new(|image, _| {
                let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                [head.as_slice(), image.layer_bytes(), b"more"].concat()
            }),
            "is longer than",
        ),
        (
            "another range",
            Box::new(|image, request| match request.range_start() {
                None => lying(
                    "200 OK",
                    "",
                    image.layer_bytes().len(),
                    &image.layer_bytes()[..1000],
                ),
                Some(_) => answer(
                    "206 Partial Content",
                    "content-range: bytes 5000-9999/10000\r\n",
                    &[0; 5000],
                ),
            }),
            "another range",
        ),
    ];
    for (what, misbehave, text) in cases {
        let (result, _, puller) =
            pull_with_layer(move |image, request| Some(misbehave(image, request).into())).await;
        let error = result.expect_err(what);
        assert!(error.contains(text), "{what}: {error}");
        assert_eq!(puller.layers(), 0, "{what}");
        let names = puller.pulls.store.names().unwrap();
        assert_eq!(names.iter().count(), 0, "{what}");
        let guard = puller.pulls.store.lock();
        puller.pulls.store.collect(&guard).unwrap();
        let blobs = puller.scratch.path().join("content/blobs/sha256");
        assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "{what}");
    }
}
