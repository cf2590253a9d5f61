package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	pb "tern.interop/peer/conformancepb"

	"trpc.group/trpc-go/trpc-go"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/errs"
	"trpc.group/trpc-go/trpc-go/server"
)

const (
	unaryService  = "tern.conformance.v1.Conformance"
	rawService    = "tern.conformance.v1.ConformanceRaw"
	streamService = "tern.conformance.v1.ConformanceStreams"
	greeter       = "trpc.test.helloworld.Greeter"
)

// counters is what Count and Counted share.
var counters sync.Map

type counter struct {
	mu sync.Mutex
	n  uint64
}

func counterOf(key string) *counter {
	c, _ := counters.LoadOrStore(key, &counter{})
	return c.(*counter)
}

// fail makes the error that a request asks for; nil if it asks for none.
func fail(code int32, text string, isFramework bool) error {
	switch {
	case code == 0:
		return nil
	case isFramework:
		return errs.NewFrameError(int(code), text)
	default:
		return errs.New(int(code), text)
	}
}

// wait sleeps, but not past the deadline.
func wait(ctx context.Context, ms uint32) error {
	if ms == 0 {
		return nil
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errs.NewFrameError(errs.RetServerTimeout, "the handler gave up at its deadline")
	}
}

func echo(ctx context.Context, req *pb.Payload) (*pb.Payload, error) {
	if err := wait(ctx, req.GetDelayMs()); err != nil {
		return nil, err
	}
	return &pb.Payload{Data: req.GetData()}, nil
}

func echoEvery(_ context.Context, req *pb.Every) (*pb.Every, error) { return req, nil }

func failing(_ context.Context, req *pb.Failure) (*pb.Payload, error) {
	if err := fail(req.GetCode(), req.GetText(), req.GetIsFramework()); err != nil {
		return nil, err
	}
	return &pb.Payload{}, nil
}

func count(ctx context.Context, req *pb.Mark) (*pb.Sum, error) {
	if err := wait(ctx, req.GetDelayMs()); err != nil {
		return nil, err
	}
	c := counterOf(req.GetKey())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return &pb.Sum{Count: c.n}, nil
}

func counted(_ context.Context, req *pb.Mark) (*pb.Sum, error) {
	c := counterOf(req.GetKey())
	c.mu.Lock()
	defer c.mu.Unlock()
	return &pb.Sum{Count: c.n}, nil
}

func attach(ctx context.Context, req *pb.Payload) (*pb.Payload, error) {
	attachment := server.GetAttachment(codec.Message(ctx))
	content, err := io.ReadAll(attachment.Request())
	if err != nil {
		return nil, err
	}
	attachment.SetResponse(bytes.NewReader(content))
	return &pb.Payload{Data: req.GetData()}, nil
}

func tell(ctx context.Context, req *pb.Payload) (*pb.Payload, error) {
	told := map[string][]byte{}
	for key, value := range codec.Message(ctx).ServerMetaData() {
		if name := strings.TrimPrefix(key, "app-"); name != key {
			told["told-"+name] = value
			if string(req.GetData()) == "twice" {
				told["again-"+name] = value
			}
		}
	}
	for key, value := range told {
		trpc.SetMetaData(ctx, key, value)
	}
	return &pb.Payload{}, nil
}

func raw(_ context.Context, req *codec.Body) (*codec.Body, error) { return req, nil }

func sayHello(_ context.Context, req *pb.Msg) (*pb.Msg, error) {
	return &pb.Msg{Msg: "hello, " + req.GetMsg()}, nil
}

// method does what a generated stub would do.
func method[Q, P any](service, name string, handle func(context.Context, *Q) (*P, error)) server.Method {
	run := func(_ interface{}, ctx context.Context, open server.FilterFunc) (interface{}, error) {
		req := new(Q)
		filters, err := open(req)
		if err != nil {
			return nil, err
		}
		return filters.Filter(ctx, req, func(ctx context.Context, req interface{}) (interface{}, error) {
			return handle(ctx, req.(*Q))
		})
	}
	return server.Method{Name: "/" + service + "/" + name, Func: run}
}

type anything interface{}

func unaryMethods() *server.ServiceDesc {
	return &server.ServiceDesc{
		ServiceName: unaryService,
		HandlerType: (*anything)(nil),
		Methods: []server.Method{
			method(unaryService, "Echo", echo),
			method(unaryService, "EchoEvery", echoEvery),
			method(unaryService, "Fail", failing),
			method(unaryService, "Count", count),
			method(unaryService, "Counted", counted),
			method(unaryService, "Attach", attach),
			method(unaryService, "Tell", tell),
			method(rawService, "Raw", raw),
			method(greeter, "SayHello", sayHello),
		},
	}
}

// serve runs two services until the process is killed: trpc-go handles the
// frames of a service that has streams one after the other.
func serve(addr, streamsAddr, transport string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	streamListener, err := net.Listen("tcp", streamsAddr)
	if err != nil {
		return err
	}
	errors := make(chan error, 2)
	for _, part := range []struct {
		name     string
		listener net.Listener
		descs    []*server.ServiceDesc
	}{
		{unaryService, listener, []*server.ServiceDesc{unaryMethods()}},
		{streamService, streamListener, []*server.ServiceDesc{unaryMethods(), streamMethods()}},
	} {
		cfg := &trpc.Config{}
		cfg.Global.EnableSet = "N"
		cfg.Server.Network = "tcp"
		cfg.Server.Protocol = trpc.ProtocolName
		cfg.Server.Service = []*trpc.ServiceConfig{{
			Name: part.name, Address: part.listener.Addr().String(), Transport: transport,
		}}
		s := trpc.NewServerWithConfig(cfg, server.WithListener(part.listener))
		for _, desc := range part.descs {
			if err := s.Service(part.name).Register(desc, struct{}{}); err != nil {
				return err
			}
		}
		go func() { errors <- s.Serve() }()
	}
	for _, l := range []net.Listener{listener, streamListener} {
		if err := awaitAnswer(l.Addr().String()); err != nil {
			return err
		}
	}
	fmt.Printf("listening %s %s\n", listener.Addr(), streamListener.Addr())
	return <-errors
}

// awaitAnswer returns as soon as a frame without a head has been answered.
func awaitAnswer(addr string) error {
	frame := []byte{0x09, 0x30, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 1, 1, 0}
	for i := 0; i < 500; i++ {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, err = conn.Write(frame)
			if err == nil {
				_, err = io.ReadFull(conn, make([]byte, 16))
			}
			_ = conn.Close()
		}
		if err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the server does not answer")
}
