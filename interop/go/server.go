package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tern.interop/peer/interoppb"

	"trpc.group/trpc-go/trpc-go"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/errs"
)

const (
	metaPrefix     = "app-"
	metaEchoPrefix = "app-echo-"
	metaLeftMS     = "app-left-ms"
)

type serverOptions struct {
	addr           string
	network        string
	transport      string
	timeout        time.Duration
	ignoreDeadline bool
	idle           time.Duration
	tls            tlsFiles
}

// interopServer is the service's implementation.
type interopServer struct {
	ignoreDeadline bool
}

func (s *interopServer) Unary(ctx context.Context, req *interoppb.UnaryRequest) (*interoppb.UnaryResponse, error) {
	answerMetadata(ctx)
	answerLook(ctx)
	if err := answerAttachment(ctx); err != nil {
		return nil, err
	}
	if err := s.wait(ctx, time.Duration(req.GetDelayMs())*time.Millisecond); err != nil {
		return nil, err
	}
	if code := req.GetFailCode(); code != 0 {
		return nil, errs.New(int(code), req.GetFailMessage())
	}
	return &interoppb.UnaryResponse{Payload: req.GetPayload(), ServedBy: "trpc-go"}, nil
}

// answerMetadata sets the metadata of the response. The framework itself sends
// the request's pairs back too.
func answerMetadata(ctx context.Context) {
	echo := map[string][]byte{}
	for key, value := range codec.Message(ctx).ServerMetaData() {
		if strings.HasPrefix(key, metaPrefix) {
			echo[metaEchoPrefix+strings.TrimPrefix(key, metaPrefix)] = value
		}
	}
	for key, value := range echo {
		trpc.SetMetaData(ctx, key, value)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline).Milliseconds()
		trpc.SetMetaData(ctx, metaLeftMS, []byte(strconv.FormatInt(left, 10)))
	}
}

// wait sleeps, but not past the deadline: then it returns the timeout error
// that the framework turns into ret 21 if the deadline was the service's own,
// and into silence if it was the caller's.
func (s *interopServer) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if s.ignoreDeadline {
		time.Sleep(d)
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errs.NewFrameError(errs.RetServerTimeout, "the handler gave up at its deadline")
	}
}

// runServer serves until SIGTERM or SIGINT.
func runServer(o serverOptions) error {
	// The listener is made here, so that port 0 works and the port is known.
	addr, options, err := listen(o.network, o.addr)
	if err != nil {
		return err
	}
	if err := o.tls.asServer(); err != nil {
		return err
	}
	s := trpc.NewServerWithConfig(services(o, addr), options...)
	service := s.Service(serviceName)
	if err := service.Register(&interopDesc, &interopServer{ignoreDeadline: o.ignoreDeadline}); err != nil {
		return err
	}
	if err := service.Register(&formatsDesc, &struct{}{}); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	if err := awaitAnswer(o.network, addr, 10*time.Second); err != nil {
		return err
	}
	fmt.Printf("listening %s\n", addr)
	return <-done
}

// awaitAnswer returns as soon as the server has answered a call.
func awaitAnswer(network, addr string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := func() error {
			conn, err := dialRaw(network, addr)
			if err != nil {
				return err
			}
			defer conn.close()
			if err := conn.send(rawRequest{id: 1, req: &interoppb.UnaryRequest{}}); err != nil {
				return err
			}
			// A datagram may be lost, or come before its socket is there.
			_, err = conn.receive(patience / 10)
			return err
		}()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
