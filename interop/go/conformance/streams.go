package main

import (
	"context"
	"io"

	pb "tern.interop/peer/conformancepb"

	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/server"
	"trpc.group/trpc-go/trpc-go/stream"
)

func streamMethods() *server.ServiceDesc {
	return &server.ServiceDesc{
		ServiceName:  streamService,
		HandlerType:  (*anything)(nil),
		StreamHandle: stream.NewStreamDispatcher(),
		Streams: []server.StreamDesc{
			{StreamName: "/" + streamService + "/Collect", Handler: collect, ClientStreams: true},
			{StreamName: "/" + streamService + "/Spread", Handler: spread, ServerStreams: true},
			{StreamName: "/" + streamService + "/Chat", Handler: chat, ClientStreams: true, ServerStreams: true},
			{StreamName: "/" + rawService + "/RawChat", Handler: rawChat, ClientStreams: true, ServerStreams: true},
		},
	}
}

func collect(_ interface{}, s server.Stream) error {
	sum := &pb.Sum{}
	for {
		req := new(pb.Payload)
		if err := s.RecvMsg(req); err == io.EOF {
			return s.SendMsg(sum)
		} else if err != nil {
			return err
		}
		if err := wait(context.Background(), req.GetDelayMs()); err != nil {
			return err
		}
		sum.Count++
		sum.Bytes += uint64(len(req.GetData()))
	}
}

func spread(_ interface{}, s server.Stream) error {
	req := new(pb.SpreadRequest)
	if err := s.RecvMsg(req); err != nil {
		return err
	}
	payload := &pb.Payload{Data: fill(int(req.GetSize()))}
	for i := uint32(0); i < req.GetCount(); i++ {
		if err := wait(context.Background(), req.GetDelayMs()); err != nil {
			return err
		}
		if err := s.SendMsg(payload); err != nil {
			return err
		}
	}
	return fail(req.GetFailCode(), req.GetFailText(), req.GetIsFramework())
}

func chat(_ interface{}, s server.Stream) error {
	for {
		req := new(pb.Payload)
		if err := s.RecvMsg(req); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if string(req.GetData()) == "stop" {
			return nil
		}
		if err := wait(context.Background(), req.GetDelayMs()); err != nil {
			return err
		}
		if err := s.SendMsg(&pb.Payload{Data: req.GetData()}); err != nil {
			return err
		}
	}
}

func rawChat(_ interface{}, s server.Stream) error {
	for {
		body := new(codec.Body)
		if err := s.RecvMsg(body); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(body); err != nil {
			return err
		}
	}
}

// fill makes the bytes that the kit expects.
func fill(length int) []byte {
	out := make([]byte, 0, length+4)
	state := uint32(1)
	for len(out) < length {
		state = (state*1103515245 + 12345) & 0x7fffffff
		letter := 'a' + byte(state>>16&15)
		out = append(out, letter, letter+1, letter+2, ' ')
	}
	return out[:length]
}
