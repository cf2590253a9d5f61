package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"tern.interop/peer/interoppb"

	"trpc.group/trpc-go/trpc-go"
	"trpc.group/trpc-go/trpc-go/client"
	"trpc.group/trpc-go/trpc-go/errs"
	"trpc.group/trpc-go/trpc-go/transport"
	trpcpb "trpc.group/trpc/trpc-protocol/pb/go/trpc"
)

const (
	callTimeout = 3 * time.Second  // of each call, unless the case says otherwise
	caseTimeout = 60 * time.Second // of a whole case: nothing may hang
)

type clientOptions struct {
	addr                 string
	network              string
	transport            string
	multiplexed          bool
	expectDeadlineAnswer bool
	verbose              bool
	only                 []string
	tls                  tlsFiles
}

// peerClient is the client that the cases use.
type peerClient struct {
	clientOptions
	opts []client.Option
}

func newPeerClient(o clientOptions) *peerClient {
	c := &peerClient{clientOptions: o}
	c.opts = []client.Option{
		client.WithTarget(o.target()),
		client.WithNetwork(o.network),
		client.WithProtocol(trpc.ProtocolName),
		client.WithTimeout(callTimeout),
	}
	if o.tls.ca != "" {
		c.opts = append(c.opts, client.WithTLS(o.tls.cert, o.tls.key, o.tls.ca, o.tls.serverName))
	}
	if o.transport != "" {
		c.opts = append(c.opts, client.WithTransport(transport.GetClientTransport(o.transport)))
	}
	if o.multiplexed {
		c.opts = append(c.opts, client.WithMultiplexed(true))
	} else {
		// The default of 200 ms is for dialling one by one; the concurrent case
		// opens a thousand connections at once.
		c.opts = append(c.opts, client.WithDialTimeout(callTimeout))
	}
	return c
}

// onTnet tells whether calls go over the event-driven transport.
func (c *peerClient) onTnet() bool {
	if c.transport != "" {
		return c.transport == "tnet"
	}
	return tnetIsDefault
}

// call calls the service's method. The response header is nil only if no
// response came, and then its fields read as zero.
func (c *peerClient) call(req *interoppb.UnaryRequest, opts ...client.Option) (
	*interoppb.UnaryResponse, *trpcpb.ResponseProtocol, error) {
	return c.callFunc(serviceName, "Unary", req, opts...)
}

func (c *peerClient) callFunc(service, method string, req *interoppb.UnaryRequest, opts ...client.Option) (
	*interoppb.UnaryResponse, *trpcpb.ResponseProtocol, error) {
	header := new(trpcpb.ResponseProtocol)
	all := append([]client.Option{}, c.opts...)
	all = append(all, client.WithRspHead(header))
	all = append(all, opts...)
	rsp, err := invoke(context.Background(), service, method, req, all...)
	return rsp, header, err
}

// note tells the curious reader something that no case depends on.
func (c *peerClient) note(format string, args ...interface{}) {
	if c.verbose {
		fmt.Fprintf(os.Stderr, "note: "+format+"\n", args...)
	}
}

// runClient runs the cases and prints the results.
func runClient(o clientOptions) error {
	chosen, err := chooseCases(o)
	if err != nil {
		badUsage("%v", err)
	}
	if err := o.tls.asClient(); err != nil {
		return err
	}
	c := newPeerClient(o)
	var runs []namedRun
	for _, tc := range chosen {
		tc := tc
		runs = append(runs, namedRun{tc.name, func() error { return tc.run(c) }})
	}
	return reportRuns(runs)
}

// namedRun is a case that knows what it runs on.
type namedRun struct {
	name string
	run  func() error
}

// reportRuns runs cases one after the other and prints what became of them.
func reportRuns(runs []namedRun) error {
	passed, failed := 0, 0
	for _, r := range runs {
		if err := bounded(r.run); err != nil {
			failed++
			fmt.Printf("FAIL %s: %s\n", r.name, oneLine(err))
			continue
		}
		passed++
		fmt.Printf("ok %s\n", r.name)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
	return nil
}

func chooseCases(o clientOptions) ([]testCase, error) {
	var chosen []testCase
	if len(o.only) == 0 {
		for _, tc := range allCases {
			if !tc.wantsDeadlineAnswer || o.expectDeadlineAnswer {
				chosen = append(chosen, tc)
			}
		}
		return chosen, nil
	}
	for _, name := range o.only {
		tc, ok := findCase(name)
		if !ok {
			return nil, fmt.Errorf("no case is called %q", name)
		}
		if tc.wantsDeadlineAnswer && !o.expectDeadlineAnswer {
			return nil, fmt.Errorf("case %s needs --expect-deadline-answer", name)
		}
		chosen = append(chosen, tc)
	}
	return chosen, nil
}

func findCase(name string) (testCase, bool) {
	for _, tc := range append(datagramCases, allCases...) {
		if tc.name == name {
			return tc, true
		}
	}
	for _, tc := range namedCases {
		if tc.name == name {
			return tc, true
		}
	}
	return testCase{}, false
}

// bounded runs one case; a panic or a case that never ends counts as failed.
func bounded(run func() error) error {
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("panic: %v", p)
			}
		}()
		result <- run()
	}()
	select {
	case err := <-result:
		return err
	case <-time.After(caseTimeout):
		return fmt.Errorf("not finished after %v", caseTimeout)
	}
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// wantError checks an error's type, code and, if text is not empty, message.
func wantError(err error, errType int, code trpcpb.TrpcRetCode, text string) error {
	if err == nil {
		return fmt.Errorf("the call succeeded, error %d was expected", code)
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("not a framework error object: %v", err)
	}
	if e.Type != errType || e.Code != code {
		return fmt.Errorf("%v, expected error type %d code %d", err, errType, code)
	}
	if text != "" && e.Msg != text {
		return fmt.Errorf("error message %q, expected %q", e.Msg, text)
	}
	return nil
}

// wantTimeout checks the error of a call whose own timeout passed. It is 101,
// except that trpc-go 1.0.3 calls it a network error, 141, when it multiplexes
// over tnet: there only the text says that it was the deadline.
func (c *peerClient) wantTimeout(err error) error {
	// On a machine that is busy its timer may fire later than the server's, whose answer is then read first.
	if errs.Code(err) == errs.RetServerFullLinkTimeout {
		return wantError(err, errs.ErrorTypeCalleeFramework, errs.RetServerFullLinkTimeout, "")
	}
	if c.multiplexed && c.onTnet() && errs.Code(err) == errs.RetClientNetErr &&
		strings.Contains(errs.Msg(err), context.DeadlineExceeded.Error()) {
		return wantError(err, errs.ErrorTypeFramework, errs.RetClientNetErr, "")
	}
	return wantError(err, errs.ErrorTypeFramework, errs.RetClientTimeout, "")
}
