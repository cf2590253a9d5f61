package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"time"

	"tern.interop/peer/interoppb"

	"trpc.group/trpc-go/trpc-go"
	"trpc.group/trpc-go/trpc-go/client"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/server"
)

// Unix sockets and UDP. tRPC-Go serves both by go-net, whatever else it is told.

// datagramCases are the cases that make sense over UDP only.
var datagramCases = []testCase{
	{name: "datagram_answer_too_large", run: caseAnswerTooLarge},
	{name: "datagram_trailing_bytes", run: caseTrailingBytes},
}

func checkNetwork(name string) {
	switch name {
	case "tcp", "udp", "unix":
	default:
		badUsage("--network must be tcp, udp or unix, not %q", name)
	}
}

// target names the server to the framework's client.
func (o clientOptions) target() string {
	if o.network == "unix" {
		return "unix://" + o.addr
	}
	return "ip://" + o.addr
}

// listen takes the address of a server, and returns what the framework is to
// be told of it. A UDP socket is made by the framework itself, so a free port
// is looked for and left again.
func listen(network, addr string) (string, []server.Option, error) {
	if network == "udp" {
		socket, err := net.ListenPacket(network, addr)
		if err != nil {
			return "", nil, err
		}
		return socket.LocalAddr().String(), nil, socket.Close()
	}
	listener, err := net.Listen(network, addr)
	if err != nil {
		return "", nil, err
	}
	return listener.Addr().String(), []server.Option{server.WithListener(listener)}, nil
}

// datagramConn reads datagrams piece by piece.
type datagramConn struct {
	net.Conn
	rest []byte
}

func (c *datagramConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		datagram := make([]byte, 1<<16)
		n, err := c.Conn.Read(datagram)
		if err != nil {
			return 0, err
		}
		c.rest = datagram[:n]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// caseAnswerTooLarge asks for more than a datagram has room for. The request
// is packed so that it fits; the server is told not to pack its answers.
func caseAnswerTooLarge(c *peerClient) error {
	req := &interoppb.UnaryRequest{Payload: bytes.Repeat([]byte{7}, 200<<10)}
	_, header, err := c.call(req, client.WithCompressType(codec.CompressTypeGzip))
	if err == nil {
		return fmt.Errorf("an answer of 200 KiB came in a datagram")
	}
	if header.GetRet() != 2 {
		return fmt.Errorf("ret %d in place of 2, error %v", header.GetRet(), err)
	}
	return nil
}

// caseTrailingBytes sends a frame with a byte behind it, which is not
// answered, and then one without, which is.
func caseTrailingBytes(c *peerClient) error {
	conn, err := dialRaw(c.network, c.addr)
	if err != nil {
		return err
	}
	defer conn.close()
	bad := &trailingConn{Conn: conn.conn}
	if err := (&rawConn{conn: bad}).send(rawRequest{id: 1, req: &interoppb.UnaryRequest{}}); err != nil {
		return err
	}
	if err := conn.send(rawRequest{id: 2, req: &interoppb.UnaryRequest{}}); err != nil {
		return err
	}
	rsp, err := conn.receive(callTimeout)
	if err != nil {
		return err
	}
	if rsp.header.GetRequestId() != 2 {
		return fmt.Errorf("request %d was answered", rsp.header.GetRequestId())
	}
	return nil
}

// trailingConn writes one byte more than it is told.
type trailingConn struct{ net.Conn }

func (c *trailingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(append(append([]byte{}, p...), 'x'))
	if n > len(p) {
		n = len(p)
	}
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// services is the framework's configuration of one service.
func services(o serverOptions, addr string) *trpc.Config {
	cfg := &trpc.Config{}
	cfg.Global.EnableSet = "N"
	cfg.Server.Network = o.network
	cfg.Server.Protocol = trpc.ProtocolName
	cfg.Server.Service = []*trpc.ServiceConfig{{
		Name:      serviceName,
		Address:   addr,
		Network:   o.network,
		Timeout:   int(o.timeout / time.Millisecond),
		Idletime:  int(o.idle / time.Millisecond),
		Transport: o.transport,
		TLSCert:   o.tls.cert,
		TLSKey:    o.tls.key,
		CACert:    o.tls.ca,
	}}
	return cfg
}
