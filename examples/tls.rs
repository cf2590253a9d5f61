//! TLS with certificates on both sides, and new certificates without a restart.
//!
//! ```text
//! cargo run --release --example tls --features tls
//! ```
//!
//! The certificates are made on the spot, by an authority that lives as long as this program.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tern::tls::{ClientTls, ServerTls};
use tern::{Channel, Context, Fixed, Running, Server, Status};
use tern_examples::greeter::{Greeter, GreeterClient, GreeterServer, HelloReply, HelloRequest};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::new()?;
    let authority = Authority::new("authority of the first year", &folder, "ca.pem")?;
    authority.issue("127.0.0.1", &folder, "server")?;
    authority.issue("billing", &folder, "client")?;

    // All that it takes on a server, and the line that asks clients for certificates.
    let tls = ServerTls::from_pem_files(folder.file("server.pem"), folder.file("server.key"))?
        .require_client_certificates(folder.file("ca.pem"))?;
    let reloader = tls.reloader();
    let server = Server::builder()
        .tls(tls)
        .service(GreeterServer::new(Polite));
    let server = server.bind("127.0.0.1:0")?.start()?;

    // And on a client.
    let tls = ClientTls::with_roots(folder.file("ca.pem"))?
        .identity(folder.file("client.pem"), folder.file("client.key"))?;
    let greeter = client(&server, Some(tls))?;
    say("both have proved who they are", &greeter);

    let nobody = ClientTls::with_roots(folder.file("ca.pem"))?;
    say(
        "a client without a certificate",
        &client(&server, Some(nobody))?,
    );
    say("a client without TLS", &client(&server, None)?);

    let next = Authority::new("authority of the second year", &folder, "ca.pem")?;
    next.issue("127.0.0.1", &folder, "server")?;
    fs::write(folder.file("server.key"), "half a fi")?;
    match reloader.reload() {
        Ok(()) => println!("half a file was taken for a key"),
        Err(error) => println!("reloaded too early: {}", folder.without(&error.to_string())),
    }
    next.issue("127.0.0.1", &folder, "server")?;
    next.issue("billing", &folder, "client")?;
    reloader.reload()?;
    println!("reloaded");
    say("the client from before", &greeter);
    let tls = ClientTls::with_roots(folder.file("ca.pem"))?
        .identity(folder.file("client.pem"), folder.file("client.key"))?;
    say(
        "a client that knows the next authority",
        &client(&server, Some(tls))?,
    );

    server.stop()?;
    Ok(())
}

/// Greets whoever has proved to be somebody.
struct Polite;

impl Greeter for Polite {
    async fn say_hello(&self, cx: &Context, request: HelloRequest) -> Result<HelloReply, Status> {
        let proof = cx.peer_identity().map_or(0, |peer| peer.chain().len());
        let message = format!("hello, {}, with {proof} certificate", request.name);
        Ok(HelloReply { message })
    }
}

fn client(
    server: &Running,
    tls: Option<ClientTls>,
) -> Result<GreeterClient<Channel>, Box<dyn Error>> {
    let channel = Channel::builder("demo.greeter")
        .resolve(Fixed::new([server.address()]))
        .connections_per_endpoint(1);
    let channel = match tls {
        Some(tls) => channel.tls(tls),
        None => channel,
    };
    Ok(GreeterClient::new(channel.build()?))
}

fn say(who: &str, greeter: &GreeterClient<Channel>) {
    let hello = HelloRequest {
        name: "billing".into(),
    };
    match greeter.say_hello(hello).wait() {
        Ok(reply) => println!("{who}: {}", reply.message),
        Err(status) => println!("{who}: {status}"),
    }
}

/// Who vouches for server and clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str, folder: &Folder, file: &str) -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(folder.file(file), params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer })
    }

    /// Writes a certificate and its key.
    fn issue(&self, subject: &str, folder: &Folder, file: &str) -> Result<(), Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new([subject.to_owned()])?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(folder.file(&format!("{file}.pem")), certificate.pem())?;
        fs::write(folder.file(&format!("{file}.key")), key.serialize_pem())?;
        Ok(())
    }
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Box<dyn Error>> {
        let path = std::env::temp_dir().join(format!("tern-example-tls-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// What is said of a file, without where it is.
    fn without(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path().display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // One that is left behind is the system's to clear away.
        let _ = fs::remove_dir_all(&self.0);
    }
}
