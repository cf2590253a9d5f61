//! [`look_up`]: from the text of an address to the address.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use rpc_core::Address;

/// The forms that an address can be written in, for errors.
pub const FORMS: &str =
    "write it like 10.0.0.7:8000, udp://10.0.0.7:8000, unix:/run/x.sock or unix:@name";

/// The address that `given` stands for. A name of a host is looked up, which may take as long as its resolver does; of
/// several addresses it is the first.
///
/// # Errors
///
/// Says what is wrong with the text. [`FORMS`] says what it could be.
pub fn look_up(given: &str) -> io::Result<Address> {
    if let Some(name) = given.strip_prefix("unix:@") {
        return abstract_name(name);
    }
    if let Some(path) = given.strip_prefix("unix:") {
        return unix_path(path);
    }
    if let Some(host) = given.strip_prefix("udp://") {
        return host_and_port(host).map(Address::Udp);
    }
    if let Some((scheme, _)) = given.split_once("://") {
        return Err(invalid(&format!("nothing listens by `{scheme}`")));
    }
    host_and_port(given).map(Address::Tcp)
}

fn host_and_port(given: &str) -> io::Result<SocketAddr> {
    let first = given.to_socket_addrs()?.next();
    first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

fn unix_path(path: &str) -> io::Result<Address> {
    check_unix(path, "the path", UNIX_BYTES_MAX)?;
    if Path::new(path).file_name().is_none() {
        return Err(invalid("the path names no file"));
    }
    Ok(Address::unix(path))
}

fn abstract_name(name: &str) -> io::Result<Address> {
    if !cfg!(target_os = "linux") {
        return Err(invalid("only Linux has abstract names"));
    }
    check_unix(name, "the name", UNIX_BYTES_MAX - 1)?;
    Ok(Address::Abstract(name.into()))
}

fn check_unix(text: &str, what: &str, bytes_max: usize) -> io::Result<()> {
    if text.is_empty() {
        return Err(invalid(&format!("{what} is empty")));
    }
    if text.contains('\0') {
        return Err(invalid(&format!("{what} has a zero in it")));
    }
    if text.len() > bytes_max {
        let length = text.len();
        return Err(invalid(&format!(
            "{what} has {length} bytes, and sockets take {bytes_max} at most"
        )));
    }
    Ok(())
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// What fits the address of a Unix socket, beside the zero that ends it. An abstract name begins with another.
const UNIX_BYTES_MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_as_it_is_shown() {
        for form in [
            "127.0.0.1:8000",
            "[::1]:8000",
            "udp://127.0.0.1:8000",
            "udp://[::1]:8000",
            "unix:/run/x.sock",
            "unix:x",
        ] {
            assert_eq!(look_up(form).unwrap().to_string(), form);
        }
        #[cfg(target_os = "linux")]
        assert_eq!(look_up("unix:@name").unwrap().to_string(), "unix:@name");
    }

    #[test]
    fn a_text_that_is_no_address_says_why() {
        let long = format!("unix:/{}", "x".repeat(UNIX_BYTES_MAX));
        let long_name = format!("unix:@{}", "x".repeat(UNIX_BYTES_MAX));
        let cases = [
            ("8000", ""),
            ("udp://8000", ""),
            ("unix:", "empty"),
            ("unix:/", "no file"),
            ("unix:/run/..", "no file"),
            ("unix:/a\0b", "zero"),
            (&long, "107"),
            ("http://10.0.0.7:8000", "`http`"),
        ];
        for (given, why) in cases {
            let text = look_up(given).unwrap_err().to_string();
            let why = if cfg!(target_os = "linux") { why } else { "" };
            assert!(text.contains(why), "{given:?}: {text}");
        }
        assert!(look_up(&long_name).is_err());
        assert!(look_up("unix:@").is_err());
    }
}
