package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	pb "tern.interop/peer/conformancepb"

	"google.golang.org/protobuf/proto"

	"trpc.group/trpc-go/trpc-go"
	"trpc.group/trpc-go/trpc-go/client"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/errs"
	"trpc.group/trpc-go/trpc-go/pool/multiplexed"
	"trpc.group/trpc-go/trpc-go/stream"
	"trpc.group/trpc-go/trpc-go/transport"
	trpcpb "trpc.group/trpc/trpc-protocol/pb/go/trpc"
)

// call is one thing that the kit asks for.
type call struct {
	Method          string            `json:"method"`
	Stream          string            `json:"stream"`
	Text            string            `json:"text"`
	Size            int               `json:"size"`
	Messages        int               `json:"messages"`
	TimeoutMS       int               `json:"timeout_ms"`
	AfterMS         int               `json:"after_ms"`
	OneWay          bool              `json:"one_way"`
	ContentType     int               `json:"content_type"`
	ContentEncoding int               `json:"content_encoding"`
	Metadata        map[string]string `json:"metadata"`
	MetadataBytes   int               `json:"metadata_bytes"`
	Attachment      string            `json:"attachment"`
}

// outcome is what came of it.
type outcome struct {
	Call       int               `json:"call"`
	OK         bool              `json:"ok"`
	Origin     string            `json:"origin,omitempty"`
	Code       int               `json:"code"`
	Message    string            `json:"message,omitempty"`
	Size       int               `json:"size"`
	Text       string            `json:"text,omitempty"`
	Messages   int               `json:"messages"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	Attachment string            `json:"attachment,omitempty"`
}

func runCalls(addr, text, transportName string, isMultiplexed bool) error {
	var asked struct {
		AtOnce bool   `json:"at_once"`
		Calls  []call `json:"calls"`
	}
	if err := json.Unmarshal([]byte(text), &asked); err != nil {
		return err
	}
	opts := []client.Option{
		client.WithTarget("ip://" + addr),
		client.WithNetwork("tcp"),
		client.WithProtocol(trpc.ProtocolName),
		client.WithCallerServiceName("trpc.conformance.go.Client"),
		client.WithDialTimeout(5 * time.Second),
	}
	if transportName != "" {
		opts = append(opts, client.WithTransport(transport.GetClientTransport(transportName)))
	}
	if isMultiplexed {
		opts = append(opts, client.WithMultiplexed(true))
		if transportName == "go-net" {
			opts = append(opts, client.WithMultiplexedPool(multiplexed.New(multiplexed.WithConnectNumber(1))))
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, c := range asked.Calls {
		run := func(i int, c call) {
			time.Sleep(time.Duration(c.AfterMS) * time.Millisecond)
			out := c.run(opts)
			out.Call = i
			line, err := json.Marshal(out)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fmt.Printf("%v\n", err)
				return
			}
			fmt.Printf("%s\n", line)
		}
		if !asked.AtOnce {
			run(i, c)
			continue
		}
		wg.Add(1)
		go func(i int, c call) {
			defer wg.Done()
			run(i, c)
		}(i, c)
	}
	wg.Wait()
	// What is still to be sent is sent while the kit looks.
	time.Sleep(30 * time.Second)
	return nil
}

func (c call) run(opts []client.Option) outcome {
	ctx, cancel := context.WithCancel(context.Background())
	if timeout := time.Duration(c.TimeoutMS) * time.Millisecond; timeout > 0 && c.Stream != "" {
		// A stream is bounded by its context only.
		ctx, cancel = context.WithTimeout(ctx, timeout)
	} else if timeout > 0 {
		opts = append(append([]client.Option{}, opts...), client.WithTimeout(timeout))
	}
	defer cancel()
	opts = append(append([]client.Option{}, opts...),
		client.WithSerializationType(c.ContentType), client.WithCompressType(c.ContentEncoding))
	for key, value := range c.Metadata {
		content, _ := hex.DecodeString(value)
		opts = append(opts, client.WithMetaData(key, content))
	}
	if c.MetadataBytes > 0 {
		opts = append(opts, client.WithMetaData("app-long", fill(c.MetadataBytes)))
	}
	if c.Stream != "" {
		return c.runStream(ctx, opts)
	}
	return c.runUnary(ctx, opts)
}

func (c call) payload() *pb.Payload {
	if c.Text != "" {
		return &pb.Payload{Data: []byte(c.Text)}
	}
	return &pb.Payload{Data: fill(c.Size)}
}

func (c call) runUnary(ctx context.Context, opts []client.Option) outcome {
	var attachment *client.Attachment
	if c.Attachment != "" {
		attachment = client.NewAttachment(bytes.NewReader([]byte(c.Attachment)))
		opts = append(opts, client.WithAttachment(attachment))
	}
	if c.OneWay {
		opts = append(opts, client.WithSendOnly())
	}
	head := new(trpcpb.ResponseProtocol)
	opts = append(opts, client.WithRspHead(head))
	ctx, msg := codec.WithCloneMessage(ctx)
	defer codec.PutBackMessage(msg)
	msg.WithClientRPCName("/" + unaryService + "/" + c.Method)
	msg.WithCalleeServiceName(unaryService)
	rsp := new(pb.Payload)
	if err := client.DefaultClient.Invoke(ctx, c.payload(), rsp, opts...); err != nil {
		return failed(err)
	}
	out := outcome{OK: true, Size: len(rsp.GetData()), Metadata: map[string]string{}}
	if len(rsp.GetData()) <= 256 && utf8.Valid(rsp.GetData()) {
		out.Text = string(rsp.GetData())
	}
	for key, value := range head.GetTransInfo() {
		out.Metadata[key] = hex.EncodeToString(value)
	}
	if attachment != nil {
		content, _ := io.ReadAll(attachment.Response())
		out.Attachment = string(content)
	}
	return out
}

func (c call) runStream(ctx context.Context, opts []client.Option) outcome {
	desc := &client.ClientStreamDesc{
		StreamName:    c.Stream,
		ClientStreams: c.Stream != "Spread",
		ServerStreams: c.Stream != "Collect",
	}
	ctx, msg := codec.WithCloneMessage(ctx)
	defer codec.PutBackMessage(msg)
	msg.WithCalleeServiceName(streamService)
	s, err := stream.DefaultStreamClient.NewStream(ctx, desc, "/"+streamService+"/"+c.Stream, opts...)
	if err != nil {
		return failed(err)
	}
	if err := c.talk(s); err != nil {
		// What the server says of the stream explains more than a failed write.
		if readErr := s.RecvMsg(new(pb.Payload)); readErr != nil && readErr != io.EOF {
			err = readErr
		}
		return failed(err)
	}
	out := outcome{OK: true}
	for {
		var rsp proto.Message = new(pb.Payload)
		if c.Stream == "Collect" {
			rsp = new(pb.Sum)
		}
		if err := s.RecvMsg(rsp); err == io.EOF {
			return out
		} else if err != nil {
			return failed(err)
		}
		out.Messages++
		if payload, ok := rsp.(*pb.Payload); ok {
			out.Size += len(payload.GetData())
		}
		if c.Stream == "Collect" {
			return out
		}
	}
}

// talk sends all that the client has to say.
func (c call) talk(s client.ClientStream) error {
	if c.Stream == "Spread" {
		request := &pb.SpreadRequest{Count: uint32(c.Messages), Size: uint32(c.Size)}
		if err := s.SendMsg(request); err != nil {
			return err
		}
		return s.CloseSend()
	}
	for i := 0; i < c.Messages; i++ {
		if err := s.SendMsg(c.payload()); err != nil {
			return err
		}
	}
	return s.CloseSend()
}

func failed(err error) outcome {
	out := outcome{Origin: "local", Code: -1, Message: err.Error()}
	var e *errs.Error
	if errors.As(err, &e) {
		out.Code, out.Message = int(e.Code), e.Msg
		switch e.Type {
		case errs.ErrorTypeBusiness:
			out.Origin = "service"
		case errs.ErrorTypeCalleeFramework:
			out.Origin = "remote"
		}
	}
	return out
}
