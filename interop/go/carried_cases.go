package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"tern.interop/peer/interoppb"

	"trpc.group/trpc-go/trpc-go/client"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/errs"
	trpcpb "trpc.group/trpc/trpc-protocol/pb/go/trpc"
)

// Cases of what is carried beside the message.

func init() {
	allCases = append(allCases,
		testCase{name: "attachment", run: attachmentCase(100, 5_000)},
		testCase{name: "attachment_alone", run: attachmentCase(0, 5_000)},
		testCase{name: "attachment_empty", run: attachmentCase(100, 0)},
		testCase{name: "attachment_large", run: attachmentCase(100, 1<<20)},
		testCase{name: "attachment_longest", run: attachmentCase(100, 10<<20-1024)},
		testCase{name: "attachment_failing", run: caseAttachmentFailing},
		testCase{name: "oneway_failing", run: caseOnewayFailing},
		testCase{name: "oneway_attachment", run: caseOnewayAttachment},
		testCase{name: "metadata_long", run: caseMetadataLong},
		testCase{name: "metadata_too_long", run: caseMetadataTooLong},
		testCase{name: "metadata_answer_too_long", run: caseMetadataAnswerTooLong},
		testCase{name: "dyeing", run: caseDyeing},
	)
}

// namedCases run only when they are named: they want something of the server's owner.
var namedCases = []testCase{
	{name: "slow", run: caseSlow},
	{name: "in_flight", run: caseInFlight},
}

func attachmentCase(payload, length int) func(*peerClient) error {
	return func(c *peerClient) error {
		return echoAttached(c, pattern(payload, 21), pattern(length, 22), client.WithTimeout(20*time.Second))
	}
}

// echoAttached wants both back, each in its place.
func echoAttached(c *peerClient, payload, attached []byte, opts ...client.Option) error {
	a := client.NewAttachment(bytes.NewReader(attached))
	rsp, header, err := c.call(&interoppb.UnaryRequest{Payload: payload}, append(opts, client.WithAttachment(a))...)
	if err != nil {
		return err
	}
	if err := samePayload(rsp, payload); err != nil {
		return err
	}
	back, err := io.ReadAll(a.Response())
	if err != nil {
		return err
	}
	if !bytes.Equal(back, attached) {
		return fmt.Errorf("%d attached bytes came back, not the %d that were sent", len(back), len(attached))
	}
	if int(header.GetAttachmentSize()) != len(attached) {
		return fmt.Errorf("attachment_size %d of %d", header.GetAttachmentSize(), len(attached))
	}
	return nil
}

func caseAttachmentFailing(c *peerClient) error {
	a := client.NewAttachment(bytes.NewReader(pattern(5_000, 23)))
	_, header, err := c.call(&interoppb.UnaryRequest{FailCode: 7, FailMessage: "as told"}, client.WithAttachment(a))
	if err := wantError(err, errs.ErrorTypeBusiness, 7, "as told"); err != nil {
		return err
	}
	if header.GetAttachmentSize() != 0 {
		return fmt.Errorf("attachment_size %d of a failure", header.GetAttachmentSize())
	}
	return echoAttached(c, pattern(10, 24), pattern(10, 25))
}

// caseOnewayFailing wants no answer to a one-way call, which the next call on its connection would take for its own.
func caseOnewayFailing(c *peerClient) error {
	for i := 0; i < 3; i++ {
		_, _, err := c.call(&interoppb.UnaryRequest{FailCode: 7, FailMessage: "nobody hears this"}, client.WithSendOnly())
		if err != nil {
			return fmt.Errorf("one-way call: %w", err)
		}
		_, _, err = c.callFunc(serviceName, "Nope", &interoppb.UnaryRequest{}, client.WithSendOnly())
		if err != nil {
			return fmt.Errorf("one-way call of an unknown method: %w", err)
		}
		if err := echo(c, pattern(16, uint32(26+i))); err != nil {
			return fmt.Errorf("next call: %w", err)
		}
	}
	return nil
}

func caseOnewayAttachment(c *peerClient) error {
	a := client.NewAttachment(bytes.NewReader(pattern(100_000, 30)))
	_, _, err := c.call(&interoppb.UnaryRequest{}, client.WithAttachment(a), client.WithSendOnly())
	if err != nil {
		return fmt.Errorf("one-way call: %w", err)
	}
	return echoAttached(c, pattern(10, 31), pattern(10, 32))
}

func caseMetadataLong(c *peerClient) error {
	value := pattern(60_000, 33)
	_, header, err := c.call(&interoppb.UnaryRequest{}, client.WithMetaData("app-long", value))
	if err != nil {
		return err
	}
	if !bytes.Equal(header.GetTransInfo()[metaEchoPrefix+"long"], value) {
		return fmt.Errorf("the long value did not come back")
	}
	return nil
}

// caseMetadataTooLong is about this client: it does not send such a head.
func caseMetadataTooLong(c *peerClient) error {
	_, _, err := c.call(&interoppb.UnaryRequest{}, client.WithMetaData("app-long", pattern(70_000, 34)))
	if err := wantError(err, errs.ErrorTypeFramework, errs.RetClientEncodeFail, ""); err != nil {
		return err
	}
	return echo(c, pattern(16, 35))
}

// caseMetadataAnswerTooLong sends keys that are longer on their way back, and so many that they do not fit there.
func caseMetadataAnswerTooLong(c *peerClient) error {
	var opts []client.Option
	for i := 0; i < 4_000; i++ {
		opts = append(opts, client.WithMetaData(fmt.Sprintf("app-%04d", i), []byte("xx")))
	}
	_, header, err := c.call(&interoppb.UnaryRequest{}, opts...)
	if err := wantError(err, errs.ErrorTypeCalleeFramework, errs.RetServerEncodeFail, ""); err != nil {
		return err
	}
	if n := len(header.GetTransInfo()); n > 0 {
		return fmt.Errorf("%d pairs in an answer without room for them", n)
	}
	return echo(c, pattern(16, 36))
}

// caseDyeing wants the marks of test traffic to arrive, and the mask to come back.
func caseDyeing(c *peerClient) error {
	header := new(trpcpb.ResponseProtocol)
	opts := append([]client.Option{}, c.opts...)
	opts = append(opts, client.WithRspHead(header), client.WithMetaData(metaLook, nil),
		client.WithCallerServiceName("trpc.interop.go.Client"))
	ctx, msg := codec.WithCloneMessage(context.Background())
	defer codec.PutBackMessage(msg)
	msg.WithDyeing(true)
	msg.WithDyeingKey("blue")
	msg.WithEnvTransfer("test,stable")
	if _, err := invoke(ctx, serviceName, "Unary", &interoppb.UnaryRequest{}, opts...); err != nil {
		return err
	}
	want := map[string]string{
		metaSeenMarks:  "1",
		metaSeenDyeing: "blue",
		metaSeenEnv:    "test,stable",
		metaSeenCaller: "trpc.interop.go.Client",
		metaSeenCallee: serviceName,
	}
	for key, value := range want {
		if got := string(header.GetTransInfo()[key]); got != value {
			return fmt.Errorf("%s is %q, expected %q", key, got, value)
		}
	}
	if header.GetMessageType() != 1 {
		return fmt.Errorf("message_type %d in the answer, 1 was sent", header.GetMessageType())
	}
	return nil
}

// caseSlow makes one call that takes long, for servers that tire of idle connections.
func caseSlow(c *peerClient) error {
	_, _, err := c.call(&interoppb.UnaryRequest{DelayMs: 700})
	return err
}

// caseInFlight makes calls that are under way when the server is told to end.
func caseInFlight(c *peerClient) error {
	const calls = 50
	var (
		wg    sync.WaitGroup
		fails = make(chan error, calls)
	)
	for i := 0; i < calls; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			payload := pattern(100, uint32(100+i))
			rsp, _, err := c.call(&interoppb.UnaryRequest{Payload: payload, DelayMs: 500},
				client.WithTimeout(20*time.Second))
			if err == nil {
				err = samePayload(rsp, payload)
			}
			if err != nil {
				fails <- err
			}
		}(i)
	}
	wg.Wait()
	if n := len(fails); n > 0 {
		return fmt.Errorf("%d of %d calls failed, the first: %w", n, calls, <-fails)
	}
	return nil
}
