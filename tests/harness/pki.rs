//! An authority of a site's, and the certificates and proxies it stands behind: made by openssl(1),
//! with keys on P-256.

use crate::site::Site;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where a site's authorities are.
pub const CA_DIR: &str = "/etc/grid-security/certificates";
/// Where its grid-mapfile is.
pub const GRID_MAPFILE: &str = "/etc/grid-security/grid-mapfile";

const FULL: &str = "language:id-ppl-inheritAll";

/// An authority.
#[derive(Debug)]
pub struct Pki {
    base: TempDir,
}

impl Pki {
    /// A new one, with the subject `/DC=org/DC=trial/CN=CA`.
    pub fn new() -> Self {
        let pki = Self { base: tempfile::tempdir().expect("a directory") };
        pki.key("ca");
        pki.file(
            "ca.cnf",
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n",
        );
        pki.openssl("req -new -key ca.key -subj /DC=org/DC=trial/CN=CA -out ca.csr");
        pki.openssl("x509 -req -in ca.csr -signkey ca.key -extfile ca.cnf -days 30 -out ca.pem");
        pki
    }

    /// Puts it into the site's directory of authorities.
    pub fn install(&self, site: &Site) {
        let hash = self.openssl("x509 -in ca.pem -noout -hash");
        site.directory("/etc/grid-security", (0, 0), 0o755);
        site.directory(CA_DIR, (0, 0), 0o755);
        site.file(&format!("{CA_DIR}/{}.0", hash.trim()), self.read("ca.pem"), 0o644);
        let policy = "access_id_CA X509 '/DC=org/DC=trial/CN=CA'\npos_rights globus CA:sign\ncond_subjects globus '\"/DC=org/DC=trial/*\"'\n";
        site.file(&self.policy(), policy, 0o644);
    }

    /// Where its signing_policy is in a site.
    pub fn policy(&self) -> String {
        let hash = self.openssl("x509 -in ca.pem -noout -hash");
        format!("{CA_DIR}/{}.signing_policy", hash.trim())
    }

    /// A proxy of `/DC=org/DC=trial/CN=name`: the proxy, its key, and the user's certificate, as
    /// they stand in a file.
    pub fn proxy(&self, name: &str) -> String {
        self.proxy_of(name, FULL)
    }

    /// The same with this proxyCertInfo.
    pub fn proxy_of(&self, name: &str, info: &str) -> String {
        self.user(name);
        self.key("proxy");
        self.file(
            "proxy.cnf",
            &format!("proxyCertInfo=critical,{info}\nkeyUsage=critical,digitalSignature\n"),
        );
        self.sign_proxy(name);
        [self.read("proxy.pem"), self.read("proxy.key"), self.read(&format!("{name}.pem"))].concat()
    }

    fn sign_proxy(&self, name: &str) {
        let subject = format!("/DC=org/DC=trial/CN={name}/CN=1");
        self.openssl_of(&[
            "req",
            "-new",
            "-key",
            "proxy.key",
            "-subj",
            &subject,
            "-out",
            "proxy.csr",
        ]);
        let (user, key) = (format!("{name}.pem"), format!("{name}.key"));
        let by = ["x509", "-req", "-in", "proxy.csr", "-CA", &user, "-CAkey", &key];
        let how = ["-set_serial", "1", "-extfile", "proxy.cnf", "-days", "1", "-out", "proxy.pem"];
        self.openssl_of(&[&by[..], &how[..]].concat());
    }

    /// The user's own certificate and its key.
    pub fn plain(&self, name: &str) -> String {
        self.user(name);
        [self.read(&format!("{name}.pem")), self.read(&format!("{name}.key"))].concat()
    }

    fn user(&self, name: &str) {
        if self.path(&format!("{name}.pem")).exists() {
            return;
        }
        self.key(name);
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let subject = format!("/DC=org/DC=trial/CN={name}");
        self.openssl_of(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &request]);
        self.file(
            "user.cnf",
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n",
        );
        let by = ["x509", "-req", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca.key"];
        let own = format!("{name}.pem");
        let how = ["-CAcreateserial", "-extfile", "user.cnf", "-days", "2", "-out", &own];
        self.openssl_of(&[&by[..], &how[..]].concat());
    }

    fn key(&self, name: &str) {
        let file = format!("{name}.key");
        let curve = "ec_paramgen_curve:P-256";
        self.openssl_of(&["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", &file]);
    }

    fn openssl(&self, words: &str) -> String {
        self.openssl_of(&words.split(' ').collect::<Vec<_>>())
    }

    fn openssl_of(&self, words: &[&str]) -> String {
        let told = Command::new("openssl")
            .args(words)
            .current_dir(self.base.path())
            .output()
            .expect("openssl is missing: tests/run installs it");
        assert!(told.status.success(), "{words:?}: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).expect("text")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    /// A credential of LCMAPS's cases (tests/vectors/lcmaps).
    pub fn of_lcmaps(name: &str) -> Vec<u8> {
        fs::read(vectors().join(format!("pem/{name}.pem"))).expect("a case")
    }

    /// What a site has in its vomsdir of the server that signed the attributes of LCMAPS's cases.
    pub fn voms_server() -> String {
        let file = vectors().join("vomsdir/testvo/voms.example.org.lsc");
        fs::read_to_string(file).expect("a server")
    }

    /// Puts the authorities of LCMAPS's cases into a site.
    pub fn install_lcmaps(site: &Site, directory: &str) {
        for entry in fs::read_dir(vectors().join(directory)).expect("authorities") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            let text = fs::read(entry.path()).expect("a file");
            site.file(&format!("{CA_DIR}/{name}"), text, 0o644);
        }
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/lcmaps")
}
