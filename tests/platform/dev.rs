//! `lumora dev`: what it prints is done, line by line, as a person would paste it.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{client::Client, eventually, process::Process};

/// A `curl` line: what it asks for.
#[derive(Debug, Clone, Default)]
struct Curl {
    url: String,
    headers: BTreeMap<String, String>,
    data: Option<String>,
}

/// Splits a line into words as a shell does: quotes, and a backslash at a line's end.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for character in line.replace("\\\n", " ").chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    assert!(!quoted, "a quote is open in {line}");
    words.extend(word);
    words
}

fn read(line: &str) -> Curl {
    let mut words = words(line).into_iter().skip(1);
    let mut curl = Curl::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-H" => {
                let header = words.next().unwrap();
                let (name, value) = header.split_once(':').unwrap();
                curl.headers.insert(name.to_owned(), value.trim().to_owned());
            }
            "-d" => curl.data = words.next(),
            flag if flag.starts_with('-') => assert_eq!(flag, "-sS"),
            _ => curl.url = word,
        }
    }
    curl
}

/// Every `curl` line in a text, with its continuations.
fn curls(text: &str) -> Vec<Curl> {
    let mut found = Vec::new();
    let mut line = String::new();
    for part in text.lines() {
        if line.is_empty() && !part.trim_start().starts_with("curl ") {
            continue;
        }
        line.push_str(part);
        line.push('\n');
        if !part.ends_with('\\') {
            found.push(read(&std::mem::take(&mut line)));
        }
    }
    found
}

impl Curl {
    async fn run(&self) -> Value {
        let method = if self.data.is_some() { "POST" } else { "GET" };
        let edit = |mut request: reqwest::RequestBuilder| {
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            match &self.data {
                Some(data) => request.body(data.clone()),
                None => request,
            }
        };
        let answer = Client::new("", None).request(method, &self.url, edit).await;
        assert!(answer.status < 300, "{self:?}: {answer:?}");
        answer.json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_lines_work_when_pasted() {
    let dev = Process::start(&["dev", "--listen", "127.0.0.1:0"], &[]);
    let told = dev.output.wait_for("the end of the greeting", |text| {
        text.contains("Ctrl-C").then(|| text.to_owned())
    });
    let [send, message, logs, stats] = &curls(&told)[..] else { panic!("{told}") };
    let sent = send.run().await;
    let id = sent["messageId"].as_str().unwrap();
    let message = Curl { url: message.url.replace("MESSAGE_ID", id), ..message.clone() };
    assert!(message.url.contains(id), "{message:?}");
    let read = eventually("it is delivered", async || {
        let read = message.run().await;
        (read["message"]["status"] == "delivered").then_some(read)
    })
    .await;
    let response = &read["recipients"][0]["lastResponse"];
    assert_eq!(response["code"], 250, "{response}");
    assert_eq!(logs.run().await["data"].as_array().unwrap().len(), 2);
    assert_eq!(stats.run().await["totals"]["delivered"], 1);
    let docs = told.lines().find_map(|line| line.trim().strip_prefix("Swagger UI")).unwrap();
    assert_eq!(Client::new("", None).get(docs.trim()).await.status, 200);
    // What arrived is shown.
    dev.output.wait_for("the message", |text| text.contains("Subject: Hello").then_some(()));

    // The document's own example is sent as it stands, as in Swagger UI.
    let document = docs.trim().replace("/docs", "/openapi.json");
    let document = Client::new("", None).get(&document).await.json();
    let example = &document["components"]["schemas"]["SendEmail"]["example"];
    let pasted = Curl { data: Some(example.to_string()), ..send.clone() }.run().await;
    let pasted = pasted["messageId"].as_str().unwrap();
    let message = Curl { url: message.url.replace(id, pasted), ..message };
    eventually("the example is delivered", async || {
        (message.run().await["message"]["status"] == "delivered").then_some(())
    })
    .await;

    dev.signal(Signal::INT);
    let (output, errors) = (dev.output.clone(), dev.errors.clone());
    let status = dev.wait().await;
    assert_eq!(status.code(), Some(0), "{}{}", output.text(), errors.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_directory_it_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let arguments =
        ["dev", "--listen", "127.0.0.1:0", "--data-dir", directory.path().to_str().unwrap()];
    let mut ids = Vec::new();
    for round in 1..=2 {
        let dev = Process::start(&arguments, &[]);
        let told = dev.output.wait_for("the end of the greeting", |text| {
            text.contains("Ctrl-C").then(|| text.to_owned())
        });
        let [send, message, _, stats] = &curls(&told)[..] else { panic!("{told}") };
        ids.push(send.run().await["messageId"].as_str().unwrap().to_owned());
        for id in &ids {
            let url = message.url.replace("MESSAGE_ID", id);
            let message = Curl { url, ..message.clone() };
            eventually("it is delivered", async || {
                let status = message.run().await["message"]["status"].clone();
                (status == "delivered").then_some(())
            })
            .await;
        }
        assert_eq!(stats.run().await["totals"]["delivered"], round);
        dev.signal(Signal::INT);
        assert!(dev.wait().await.success());
    }
}
