//! A client of the seed's server, in Python, as one of its readers would have written it.
//!
//! It needs `python3`; without it the test fails and says so.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use updraft_core::release::Notes;
use updraft_server::http::Access;
use updraft_server::rescan::{BoxFuture, Outcome, Rescan};
use updraft_server::serve::{Limits, serve};
use updraft_testkit::{TreeFixture, noise};

use crate::http_scene::{Publisher, Scene};

/// Compares, downloads what differs, deletes what left the list, and says what it did.
const CLIENT: &str = r#"
import hashlib, json, os, pickle, sys, urllib.parse, urllib.request
base, folder = sys.argv[1], sys.argv[2]
def get(path):
    with urllib.request.urlopen(base + urllib.parse.quote(path)) as answer:
        return answer.read()
assert urllib.request.urlopen(base + "/").status == 200
generated = json.loads(get("/generateNewConfig"))
update = json.loads(get("/checkUpdate"))
wanted = pickle.loads(get("/listFile"))
assert type(wanted) is dict and all(type(k) is str and type(v) is str for k, v in wanted.items())
downloaded, deleted = [], []
for path, md5 in wanted.items():
    target = os.path.join(folder, path)
    if os.path.exists(target) and hashlib.md5(open(target, "rb").read()).hexdigest() == md5:
        continue
    os.makedirs(os.path.dirname(target), exist_ok=True)
    content = get("/" + path)
    assert hashlib.md5(content).hexdigest() == md5, path
    open(target, "wb").write(content)
    downloaded.append(path)
for root, _, names in os.walk(folder):
    for name in names:
        path = os.path.relpath(os.path.join(root, name), folder)
        if path not in wanted:
            os.remove(os.path.join(folder, path))
            deleted.append(path)
print(json.dumps({"generated": generated, "version": update["Version"], "notes": update["Msg"],
                  "downloaded": sorted(downloaded), "deleted": sorted(deleted)}))
"#;

/// A folder in memory.
struct Folder {
    files: Mutex<TreeFixture>,
    published: tokio::sync::Mutex<Option<(Publisher, TreeFixture, u32)>>,
}

impl Rescan for Folder {
    fn rescan(&self) -> BoxFuture<'_, Result<Outcome, String>> {
        Box::pin(async {
            let files = self.files.lock().unwrap().clone();
            let mut guard = self.published.lock().await;
            let (publisher, last, number) = guard.as_mut().unwrap();
            if *last == files {
                return Ok(Outcome::Unchanged);
            }
            *number += 1;
            let notes = Notes::Text(format!("release {number}"));
            let release = publisher.publish(&format!("0.0.{number}"), &files, notes).await;
            *last = files;
            Ok(Outcome::Published(release.name()))
        })
    }
}

async fn run(base: &str, folder: &Path) -> Value {
    let mut client = Command::new("python3");
    client.args(["-c", CLIENT, base]).arg(folder).env_remove("http_proxy").env("no_proxy", "*");
    let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap();
    let output = output.expect("this test runs a Python client: python3 must be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_client_of_the_seed_works_unchanged() {
    let first = TreeFixture::of(&[("app.exe", "one"), ("data/a.txt", "a"), ("data/deep/名.bin", "b")])
        .with("big.bin", noise(4, 700_000));
    let folder = Arc::new(Folder { files: Mutex::new(first.clone()), published: tokio::sync::Mutex::default() });
    let rescan = Arc::clone(&folder) as Arc<dyn Rescan>;
    let (scene, publisher) = Scene::folder(&first, Access::default(), Some(rescan)).await;
    *folder.published.lock().await = Some((publisher, first.clone(), 1));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, scene.service.clone(), Limits::default(), async {
        let _ = stopped.await;
    }));
    let device = tempfile::tempdir().unwrap();
    let success = json!({ "Statu": "success" });

    let run_1 = run(&base, device.path()).await;
    assert_eq!(run_1["generated"], success);
    assert_eq!(run_1["version"], "0.0.1");
    assert_eq!(run_1["downloaded"], json!(["app.exe", "big.bin", "data/a.txt", "data/deep/名.bin"]));

    let run_2 = run(&base, device.path()).await;
    assert_eq!((&run_2["downloaded"], &run_2["deleted"]), (&json!([]), &json!([])));

    let next = first.without("data/a.txt").with("app.exe", "two").with("data/new/c.txt", "c");
    *folder.files.lock().unwrap() = next.clone();
    let run_3 = run(&base, device.path()).await;
    assert_eq!((&run_3["version"], &run_3["notes"]), (&json!("0.0.2"), &json!("release 2")));
    assert_eq!(run_3["downloaded"], json!(["app.exe", "data/new/c.txt"]));
    assert_eq!(run_3["deleted"], json!(["data/a.txt"]));
    for path in ["app.exe", "big.bin", "data/new/c.txt"] {
        assert!(std::fs::read(device.path().join(path)).unwrap() == next.content(path), "{path}");
    }

    stop.send(()).unwrap();
    server.await.unwrap();
}
