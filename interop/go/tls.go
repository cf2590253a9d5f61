package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"os"
	"time"
)

// tlsFiles are the four settings that trpc-go has for TLS. Without a
// certificate a server is plain; without a CA file a client is.
type tlsFiles struct {
	cert, key, ca, serverName string
}

func (t *tlsFiles) flags(flags *flag.FlagSet) {
	flags.StringVar(&t.cert, "tls-cert", "", "file with the own certificate")
	flags.StringVar(&t.key, "tls-key", "", "file with its key")
	flags.StringVar(&t.ca, "ca-cert", "", "file with the roots that the other end is checked by")
	flags.StringVar(&t.serverName, "tls-server-name", "", "the name that the server has to prove")
}

// dialTimeout bounds each attempt of dialRaw.
const dialTimeout = 2 * time.Second

// dialTCP is how calls without trpc-go's client connect over TCP.
var dialTCP = func(addr string) (net.Conn, error) {
	return net.DialTimeout("tcp", addr, dialTimeout)
}

// dialWith makes them speak TLS.
func dialWith(config *tls.Config) {
	dialTCP = func(addr string) (net.Conn, error) {
		dialer := &net.Dialer{Timeout: dialTimeout}
		return tls.DialWithDialer(dialer, "tcp", addr, config)
	}
}

// asServer prepares the call by which a server sees that it serves. It is a
// call of its own, so who answers is not in question.
func (t *tlsFiles) asServer() error {
	if t.cert == "" {
		return nil
	}
	own, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return err
	}
	dialWith(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}})
	return nil
}

// asClient prepares the calls of a client without trpc-go's client in it.
func (t *tlsFiles) asClient() error {
	if t.ca == "" {
		return nil
	}
	roots, err := os.ReadFile(t.ca)
	if err != nil {
		return err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: t.serverName}
	if !config.RootCAs.AppendCertsFromPEM(roots) {
		return fmt.Errorf("no certificate in %s", t.ca)
	}
	if t.cert != "" {
		own, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{own}
	}
	dialWith(config)
	return nil
}
