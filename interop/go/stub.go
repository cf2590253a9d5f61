package main

import (
	"context"

	"tern.interop/peer/interoppb"

	"trpc.group/trpc-go/trpc-go/client"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/server"
)

// The few lines below do what a generated stub would do for interop.proto.

const (
	serviceName = "tern.interop.v1.Interop"
	unaryFunc   = "/tern.interop.v1.Interop/Unary"
)

// interopService is what a server of interop.proto implements.
type interopService interface {
	Unary(ctx context.Context, req *interoppb.UnaryRequest) (*interoppb.UnaryResponse, error)
}

var interopDesc = server.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*interopService)(nil),
	Methods:     []server.Method{{Name: unaryFunc, Func: handleUnary}},
}

func handleUnary(impl interface{}, ctx context.Context, open server.FilterFunc) (interface{}, error) {
	req := new(interoppb.UnaryRequest)
	filters, err := open(req)
	if err != nil {
		return nil, err
	}
	return filters.Filter(ctx, req, func(ctx context.Context, req interface{}) (interface{}, error) {
		return impl.(interopService).Unary(ctx, req.(*interoppb.UnaryRequest))
	})
}

// invoke calls the func of the given service with interop.proto's messages.
func invoke(ctx context.Context, service, method string, req *interoppb.UnaryRequest,
	opts ...client.Option) (*interoppb.UnaryResponse, error) {
	ctx, msg := codec.WithCloneMessage(ctx)
	defer codec.PutBackMessage(msg)
	msg.WithClientRPCName("/" + service + "/" + method)
	msg.WithCalleeServiceName(service)
	msg.WithCalleeMethod(method)
	msg.WithSerializationType(codec.SerializationTypePB)
	rsp := new(interoppb.UnaryResponse)
	if err := client.DefaultClient.Invoke(ctx, req, rsp, opts...); err != nil {
		return nil, err
	}
	return rsp, nil
}
