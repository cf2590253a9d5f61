package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"trpc.group/trpc-go/trpc-go"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/server"
	trpcpb "trpc.group/trpc/trpc-protocol/pb/go/trpc"
)

// What a server does with all that is carried beside the message.

const (
	metaLook       = "look"
	metaSeenMarks  = "app-seen-marks"
	metaSeenDyeing = "app-seen-dyeing"
	metaSeenEnv    = "app-seen-env"
	metaSeenCaller = "app-seen-caller"
	metaSeenCallee = "app-seen-callee"
)

// answerAttachment sends the request's attachment back.
func answerAttachment(ctx context.Context) error {
	a := server.GetAttachment(codec.Message(ctx))
	attached, err := io.ReadAll(a.Request())
	if err != nil {
		return err
	}
	if len(attached) > 0 {
		a.SetResponse(bytes.NewReader(attached))
	}
	return nil
}

// answerLook tells, if it is asked to, what was seen of marks and names.
func answerLook(ctx context.Context) {
	msg := codec.Message(ctx)
	if _, ok := msg.ServerMetaData()[metaLook]; !ok {
		return
	}
	set := func(key, value string) { trpc.SetMetaData(ctx, key, []byte(value)) }
	if head, ok := msg.ServerReqHead().(*trpcpb.RequestProtocol); ok {
		set(metaSeenMarks, fmt.Sprint(head.GetMessageType()))
		set(metaSeenCaller, string(head.GetCaller()))
		set(metaSeenCallee, string(head.GetCallee()))
	}
	if msg.Dyeing() {
		set(metaSeenDyeing, msg.DyeingKey())
	}
	if env := msg.EnvTransfer(); env != "" {
		set(metaSeenEnv, env)
	}
}
