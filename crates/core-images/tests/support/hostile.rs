//! A registry that does what it likes: a function answers each request with raw bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    /// How often this method and path were asked before.
    pub before: usize,
}

impl Request {
    /// Where the wanted range starts.
    pub fn range_start(&self) -> Option<usize> {
        self.headers
            .get("range")?
            .strip_prefix("bytes=")?
            .trim_end_matches('-')
            .parse()
            .ok()
    }
}

/// What is written, and what happens then.
pub struct Answer {
    pub bytes: Vec<u8>,
    /// The connection stays open without another byte.
    pub stall: bool,
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            stall: false,
        }
    }
}

pub struct Hostile {
    pub address: String,
    pub requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Hostile {
    /// Listens on an address of the loopback network.
    pub async fn start(
        host: &str,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move { serve(stream, &seen, &*answer).await });
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    pub fn count(&self, path: &str) -> usize {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| request.path == path)
            .count()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request per connection.
async fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request) -> Answer + Send + Sync),
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    // TLS is not spoken here.
    if stream.fill_buf().await.ok()?.first() == Some(&22) {
        return None;
    }
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        // Values of one name in one line, as HTTP allows.
        let value = value.trim();
        headers
            .entry(name.to_lowercase())
            .and_modify(|all: &mut String| *all = format!("{all}, {value}"))
            .or_insert_with(|| value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink())
        .await
        .ok()?;
    let request = {
        let mut seen = seen.lock().unwrap();
        let same = |other: &&Request| other.method == method && other.path == path;
        let before = seen.iter().filter(same).count();
        let request = Request {
            method,
            path,
            headers,
            before,
        };
        seen.push(request.clone());
        request
    };
    let answer = answer(&request);
    stream.write_all(&answer.bytes).await.ok()?;
    stream.flush().await.ok()?;
    if answer.stall {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
    Some(())
}

/// An answer with these header lines and this body; its length is added.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer that announces more or less than it brings.
pub fn lying(status: &str, headers: &str, announced: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {announced}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}
