package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"tern.interop/peer/interoppb"

	"trpc.group/trpc-go/trpc-go"
	"trpc.group/trpc-go/trpc-go/errs"
	"trpc.group/trpc-go/trpc-go/server"
	"trpc.group/trpc-go/trpc-go/stream"
)

// The server of streams.proto. It is a program of its own beside the server of
// interop.proto: tRPC-Go handles all frames of a connection one after the other
// as soon as a service has one streaming method.

const (
	streamsName  = "tern.interop.v1.Streams"
	uploadFunc   = "/tern.interop.v1.Streams/Upload"
	downloadFunc = "/tern.interop.v1.Streams/Download"
	chatFunc     = "/tern.interop.v1.Streams/Chat"

	outOfOrder = 10002 // the application error for a piece that is not the next
)

var streamsDesc = server.ServiceDesc{
	ServiceName:  streamsName,
	HandlerType:  (*interface{})(nil),
	StreamHandle: stream.NewStreamDispatcher(),
	Streams: []server.StreamDesc{
		{StreamName: uploadFunc, ClientStreams: true, Handler: handleUpload},
		{StreamName: downloadFunc, ServerStreams: true, Handler: handleDownload},
		{StreamName: chatFunc, ClientStreams: true, ServerStreams: true, Handler: handleChat},
	},
}

func handleUpload(_ interface{}, s server.Stream) error {
	summary := new(interoppb.Summary)
	err := eachPiece(s, func(p *interoppb.Piece) error {
		summary.Pieces++
		summary.Bytes += uint64(len(p.GetPayload()))
		return nil
	})
	if err != nil {
		return err
	}
	return s.SendMsg(summary)
}

func handleDownload(_ interface{}, s server.Stream) error {
	order := new(interoppb.Order)
	if err := s.RecvMsg(order); err != nil {
		return err
	}
	for number := uint32(0); number < order.GetPieces(); number++ {
		if err := s.SendMsg(piece(number, int(order.GetBytes()))); err != nil {
			return err
		}
	}
	if code := order.GetFailCode(); code != 0 {
		return errs.New(int(code), order.GetFailMessage())
	}
	return nil
}

func handleChat(_ interface{}, s server.Stream) error {
	return eachPiece(s, func(p *interoppb.Piece) error { return s.SendMsg(p) })
}

// eachPiece reads pieces until the client has said all, and hands on those that
// come in order and do not ask for a failure.
func eachPiece(s server.Stream, use func(*interoppb.Piece) error) error {
	for number := uint32(0); ; number++ {
		p := new(interoppb.Piece)
		switch err := s.RecvMsg(p); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if p.GetNumber() != number {
			return errs.New(outOfOrder, fmt.Sprintf("piece %d came as number %d", p.GetNumber(), number))
		}
		if code := p.GetFailCode(); code != 0 {
			return errs.New(int(code), p.GetFailMessage())
		}
		time.Sleep(time.Duration(p.GetDelayMs()) * time.Millisecond)
		if err := use(p); err != nil {
			return err
		}
	}
}

// piece makes one of a download.
func piece(number uint32, size int) *interoppb.Piece {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(number)
	}
	return &interoppb.Piece{Number: number, Payload: payload}
}

type streamServerOptions struct {
	addr   string
	window uint
}

// runStreamServer serves until SIGTERM or SIGINT.
func runStreamServer(o streamServerOptions) error {
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	cfg := &trpc.Config{}
	cfg.Global.EnableSet = "N"
	cfg.Server.Network = "tcp"
	cfg.Server.Protocol = trpc.ProtocolName
	cfg.Server.Service = []*trpc.ServiceConfig{{
		Name:    streamsName,
		Address: listener.Addr().String(),
	}}
	s := trpc.NewServerWithConfig(cfg,
		server.WithListener(listener), server.WithMaxWindowSize(uint32(o.window)))
	if err := s.Service(streamsName).Register(&streamsDesc, nil); err != nil {
		return err
	}
	// The listener exists, so whoever connects now is served in a moment.
	fmt.Printf("listening %s\n", listener.Addr())
	return s.Serve()
}

func streamServerCommand(args []string) error {
	flags := newFlags("stream-server")
	var o streamServerOptions
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "listening address; port 0 takes a free port")
	flags.UintVar(&o.window, "window", 0, "window in bytes; what is less than 65535 is raised to it")
	verbose := flags.Bool("verbose", false, "show the framework's log on standard error")
	_ = flags.Parse(args)
	setUpLogging(*verbose)
	return runStreamServer(o)
}
