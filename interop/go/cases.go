package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"time"

	"tern.interop/peer/interoppb"

	"trpc.group/trpc-go/trpc-go/client"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/errs"
	trpcpb "trpc.group/trpc/trpc-protocol/pb/go/trpc"
)

type testCase struct {
	name string
	run  func(*peerClient) error
	// wantsDeadlineAnswer marks cases that a tRPC-Go server cannot pass.
	wantsDeadlineAnswer bool
}

var allCases = []testCase{
	{name: "empty", run: payloadCase(0)},
	{name: "small", run: payloadCase(32)},
	{name: "large", run: payloadCase(1 << 20)},
	{name: "served_by", run: caseServedBy},
	{name: "business_error", run: businessErrorCase(10001, "balance too low")},
	{name: "business_error_negative", run: businessErrorCase(-7, "below zero")},
	{name: "unknown_method", run: unknownFuncCase(serviceName, "Nope")},
	{name: "unknown_service", run: unknownFuncCase("tern.interop.v1.Nope", "Unary")},
	{name: "client_timeout", run: caseClientTimeout},
	{name: "deadline_on_the_wire", run: caseDeadlineOnTheWire},
	{name: "server_timeout_reported", run: caseServerTimeoutReported, wantsDeadlineAnswer: true},
	{name: "metadata", run: caseMetadata},
	{name: "gzip", run: packedCase(codec.CompressTypeGzip, 64<<10)},
	{name: "gzip_small", run: packedCase(codec.CompressTypeGzip, 10)},
	{name: "gzip_empty", run: packedCase(codec.CompressTypeGzip, 0)},
	{name: "zlib", run: packedCase(codec.CompressTypeZlib, 64<<10)},
	{name: "snappy_2", run: packedCase(codec.CompressTypeSnappy, 64<<10)},
	{name: "snappy_stream", run: packedCase(codec.CompressTypeStreamSnappy, 200<<10)},
	{name: "snappy_block", run: packedCase(codec.CompressTypeBlockSnappy, 200<<10)},
	{name: "concurrent", run: caseConcurrent},
	{name: "idle_reuse", run: caseIdleReuse},
	{name: "oneway", run: caseOneway},
}

// pattern makes n bytes without a short period, different for each seed.
func pattern(n int, seed uint32) []byte {
	out := make([]byte, n)
	state := seed*2654435761 + 1
	for i := range out {
		state = state*1664525 + 1013904223
		out[i] = byte(state >> 24)
	}
	return out
}

// echo sends the payload and wants it back.
func echo(c *peerClient, payload []byte, opts ...client.Option) error {
	rsp, _, err := c.call(&interoppb.UnaryRequest{Payload: payload}, opts...)
	if err != nil {
		return err
	}
	return samePayload(rsp, payload)
}

func samePayload(rsp *interoppb.UnaryResponse, want []byte) error {
	got := rsp.GetPayload()
	if len(got) != len(want) {
		return fmt.Errorf("%d payload bytes came back, %d were sent", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			return fmt.Errorf("payload byte %d is %#02x, %#02x was sent", i, got[i], want[i])
		}
	}
	return nil
}

func payloadCase(size int) func(*peerClient) error {
	return func(c *peerClient) error { return echo(c, pattern(size, uint32(size))) }
}

func caseServedBy(c *peerClient) error {
	rsp, _, err := c.call(&interoppb.UnaryRequest{})
	if err != nil {
		return err
	}
	if rsp.GetServedBy() == "" {
		return errors.New("served_by is empty")
	}
	c.note("served by %q", rsp.GetServedBy())
	return nil
}

func businessErrorCase(code int32, text string) func(*peerClient) error {
	return func(c *peerClient) error {
		_, header, err := c.call(&interoppb.UnaryRequest{FailCode: code, FailMessage: text})
		if err := wantError(err, errs.ErrorTypeBusiness, trpcpb.TrpcRetCode(code), text); err != nil {
			return err
		}
		if header.GetRet() != 0 || header.GetFuncRet() != code {
			return fmt.Errorf("ret %d func_ret %d in the header", header.GetRet(), header.GetFuncRet())
		}
		return echo(c, pattern(8, 1))
	}
}

func unknownFuncCase(service, method string) func(*peerClient) error {
	return func(c *peerClient) error {
		_, _, err := c.callFunc(service, method, &interoppb.UnaryRequest{Payload: pattern(8, 2)})
		if err := wantError(err, errs.ErrorTypeCalleeFramework, errs.RetServerNoFunc, ""); err != nil {
			return err
		}
		return echo(c, pattern(8, 3))
	}
}

func caseClientTimeout(c *peerClient) error {
	start := time.Now()
	_, _, err := c.call(&interoppb.UnaryRequest{Payload: pattern(16, 4), DelayMs: 1000},
		client.WithTimeout(100*time.Millisecond))
	took := time.Since(start)
	if err := c.wantTimeout(err); err != nil {
		return err
	}
	c.note("code %d after %v", errs.Code(err), took)
	if took < 99*time.Millisecond || took > 600*time.Millisecond {
		return fmt.Errorf("the call took %v", took)
	}
	if err := echo(c, pattern(16, 5)); err != nil {
		return fmt.Errorf("next call: %w", err)
	}
	// By now a server that answers late has done so.
	time.Sleep(time.Until(start.Add(1100 * time.Millisecond)))
	if err := echo(c, pattern(16, 6)); err != nil {
		return fmt.Errorf("call after the late answer: %w", err)
	}
	return nil
}

func caseDeadlineOnTheWire(c *peerClient) error {
	const timeout = 700
	_, header, err := c.call(&interoppb.UnaryRequest{}, client.WithTimeout(timeout*time.Millisecond))
	if err != nil {
		return err
	}
	text, ok := header.GetTransInfo()[metaLeftMS]
	if !ok {
		return fmt.Errorf("no %s in the response", metaLeftMS)
	}
	left, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("%s is %q", metaLeftMS, text)
	}
	if left <= 0 || left > timeout {
		return fmt.Errorf("%s is %d, expected 1 to %d", metaLeftMS, left, timeout)
	}
	c.note("%d ms of %d were left", left, timeout)
	return nil
}

func caseServerTimeoutReported(c *peerClient) error {
	conn, err := dialRaw(c.network, c.addr)
	if err != nil {
		return err
	}
	defer conn.close()
	const id = 77
	start := time.Now()
	err = conn.send(rawRequest{
		id:      id,
		timeout: 100 * time.Millisecond,
		req:     &interoppb.UnaryRequest{Payload: pattern(16, 7), DelayMs: 600},
	})
	if err != nil {
		return err
	}
	r, err := conn.receive(callTimeout)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	took := time.Since(start)
	if r.header.GetRequestId() != id {
		return fmt.Errorf("request_id %d, expected %d", r.header.GetRequestId(), id)
	}
	if streamID := binary.BigEndian.Uint32(r.fixed[10:]); streamID != id {
		return fmt.Errorf("bytes 10 to 13 hold %d, expected the id %d", streamID, id)
	}
	ret := trpcpb.TrpcRetCode(r.header.GetRet())
	if ret != errs.RetServerFullLinkTimeout && ret != errs.RetServerTimeout {
		return fmt.Errorf("ret %d after %v, expected 24 or 21", ret, took)
	}
	if len(r.body) != 0 {
		return fmt.Errorf("ret %d with a body of %d bytes", ret, len(r.body))
	}
	c.note("ret %d after %v", ret, took)
	return nil
}

func caseMetadata(c *peerClient) error {
	sent := map[string][]byte{
		"app-text":  []byte("plain text, ünïcödé"),
		"app-bin":   {0x00, 0xff, 0x80, 0x0a},
		"app-empty": {},
	}
	var opts []client.Option
	for key, value := range sent {
		opts = append(opts, client.WithMetaData(key, value))
	}
	_, header, err := c.call(&interoppb.UnaryRequest{}, opts...)
	if err != nil {
		return err
	}
	got := header.GetTransInfo()
	for key, value := range sent {
		key = metaEchoPrefix + key[len(metaPrefix):]
		back, ok := got[key]
		if !ok {
			return fmt.Errorf("no %s in the response", key)
		}
		if !bytes.Equal(back, value) {
			return fmt.Errorf("%s is %x, expected %x", key, back, value)
		}
	}
	// What was not sent must not come back, in this call and in the next one.
	if value, ok := got["app-echo-absent"]; ok {
		return fmt.Errorf("app-echo-absent appeared as %x", value)
	}
	_, header, err = c.call(&interoppb.UnaryRequest{})
	if err != nil {
		return err
	}
	for key := range sent {
		key = metaEchoPrefix + key[len(metaPrefix):]
		if value, ok := header.GetTransInfo()[key]; ok {
			return fmt.Errorf("%s appeared as %x in a call without metadata", key, value)
		}
	}
	return nil
}

// packedCase wants an answer that is packed as the request was, if it is large.
// Number 2 means different things to different peers, so plain will do for it.
func packedCase(compressType, size int) func(*peerClient) error {
	return func(c *peerClient) error {
		payload := bytes.Repeat([]byte("compressible "), size/13+1)[:size]
		rsp, header, err := c.call(&interoppb.UnaryRequest{Payload: payload},
			client.WithCompressType(compressType))
		if err != nil {
			return err
		}
		c.note("content_encoding of the answer: %d", header.GetContentEncoding())
		plainWillDo := size < 1024 || compressType == codec.CompressTypeSnappy
		switch got := int(header.GetContentEncoding()); {
		case got == compressType:
		case got == codec.CompressTypeNoop && plainWillDo:
		default:
			return fmt.Errorf("content_encoding %d in answer to a request of %d", got, compressType)
		}
		return samePayload(rsp, payload)
	}
}

func caseConcurrent(c *peerClient) error {
	const calls = 1000
	random := rand.New(rand.NewSource(1))
	delays := make([]uint32, calls)
	sizes := make([]int, calls)
	for i := range delays {
		delays[i] = uint32(random.Intn(21))
		sizes[i] = 16 + random.Intn(1000)
	}
	var (
		wg    sync.WaitGroup
		start = make(chan struct{})
		fails = make(chan error, calls)
	)
	for i := 0; i < calls; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			<-start
			payload := pattern(sizes[i], uint32(1000+i))
			binary.BigEndian.PutUint32(payload, uint32(i))
			rsp, _, err := c.call(&interoppb.UnaryRequest{Payload: payload, DelayMs: delays[i]},
				client.WithTimeout(20*time.Second))
			if err == nil {
				err = samePayload(rsp, payload)
			}
			if err != nil {
				fails <- fmt.Errorf("call %d: %w", i, err)
			}
		}(i)
	}
	begin := time.Now()
	close(start)
	wg.Wait()
	close(fails)
	c.note("%d calls in %v", calls, time.Since(begin))
	if n := len(fails); n > 0 {
		return fmt.Errorf("%d of %d calls failed, the first: %w", n, calls, <-fails)
	}
	return nil
}

func caseIdleReuse(c *peerClient) error {
	if err := echo(c, pattern(16, 8)); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	if err := echo(c, pattern(16, 9)); err != nil {
		return fmt.Errorf("after the pause: %w", err)
	}
	return nil
}

func caseOneway(c *peerClient) error {
	_, _, err := c.call(&interoppb.UnaryRequest{Payload: pattern(16, 10)}, client.WithSendOnly())
	if err != nil {
		return fmt.Errorf("one-way call: %w", err)
	}
	if err := echo(c, pattern(16, 11)); err != nil {
		return fmt.Errorf("next call: %w", err)
	}
	return nil
}
