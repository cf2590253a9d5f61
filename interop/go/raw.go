package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"tern.interop/peer/interoppb"

	"google.golang.org/protobuf/proto"
	trpcpb "trpc.group/trpc/trpc-protocol/pb/go/trpc"
)

// A client without trpc-go's client in it: it writes frames by hand and keeps
// listening after a deadline, which the framework's own client never does.

const frameHeaderLen = 16

type rawConn struct {
	conn net.Conn
}

type rawRequest struct {
	id      uint32
	timeout time.Duration
	req     *interoppb.UnaryRequest
}

type rawResponse struct {
	fixed  [frameHeaderLen]byte
	header *trpcpb.ResponseProtocol
	body   []byte
}

// dialRaw connects, over TCP as the settings for TLS say.
func dialRaw(network, addr string) (*rawConn, error) {
	dial := func() (net.Conn, error) { return net.DialTimeout(network, addr, dialTimeout) }
	if network == "tcp" {
		dial = func() (net.Conn, error) { return dialTCP(addr) }
	}
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	if network == "udp" {
		conn = &datagramConn{Conn: conn}
	}
	return &rawConn{conn: conn}, nil
}

func (c *rawConn) close() { _ = c.conn.Close() }

// send writes one unary call of the service's method.
func (c *rawConn) send(r rawRequest) error {
	body, err := proto.Marshal(r.req)
	if err != nil {
		return err
	}
	header, err := proto.Marshal(&trpcpb.RequestProtocol{
		RequestId: r.id,
		Timeout:   uint32(r.timeout / time.Millisecond),
		Caller:    []byte("trpc.interop.raw.Client"),
		Callee:    []byte(serviceName),
		Func:      []byte(unaryFunc),
	})
	if err != nil {
		return err
	}
	frame := make([]byte, frameHeaderLen, frameHeaderLen+len(header)+len(body))
	binary.BigEndian.PutUint16(frame[0:], uint16(trpcpb.TrpcMagic_TRPC_MAGIC_VALUE))
	binary.BigEndian.PutUint32(frame[4:], uint32(cap(frame)))
	binary.BigEndian.PutUint16(frame[8:], uint16(len(header)))
	binary.BigEndian.PutUint32(frame[10:], r.id)
	frame[14] = 1
	frame = append(frame, header...)
	frame = append(frame, body...)
	_, err = c.conn.Write(frame)
	return err
}

// receive reads the next unary frame.
func (c *rawConn) receive(patience time.Duration) (*rawResponse, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	r := &rawResponse{header: new(trpcpb.ResponseProtocol)}
	if _, err := io.ReadFull(c.conn, r.fixed[:]); err != nil {
		return nil, err
	}
	if magic := binary.BigEndian.Uint16(r.fixed[0:]); magic != uint16(trpcpb.TrpcMagic_TRPC_MAGIC_VALUE) {
		return nil, fmt.Errorf("magic is %#04x", magic)
	}
	if r.fixed[2] != 0 || r.fixed[3] != 0 {
		return nil, fmt.Errorf("not a unary frame: type %d, stream type %d", r.fixed[2], r.fixed[3])
	}
	total := int(binary.BigEndian.Uint32(r.fixed[4:]))
	headerLen := int(binary.BigEndian.Uint16(r.fixed[8:]))
	if total < frameHeaderLen+headerLen || total > 10<<20 {
		return nil, fmt.Errorf("total length %d with header length %d", total, headerLen)
	}
	rest := make([]byte, total-frameHeaderLen)
	if _, err := io.ReadFull(c.conn, rest); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(rest[:headerLen], r.header); err != nil {
		return nil, err
	}
	r.body = rest[headerLen:]
	return r, nil
}
