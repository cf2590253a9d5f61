// The peer grpc-go: bench.v1.Echo, written as its generator would write it.
//
// google.protobuf.BytesValue has the same bytes on the wire as EchoMessage, so no generated messages are needed.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type echoServer interface {
	Echo(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
}

type echoing struct{}

func (echoing) Echo(_ context.Context, message *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return message, nil
}

func handleEcho(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	message := new(wrapperspb.BytesValue)
	if err := decode(message); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return server.(echoServer).Echo(ctx, message)
	}
	info := &grpc.UnaryServerInfo{Server: server, FullMethod: "/bench.v1.Echo/Echo"}
	return interceptor(ctx, message, info, func(ctx context.Context, request any) (any, error) {
		return server.(echoServer).Echo(ctx, request.(*wrapperspb.BytesValue))
	})
}

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr())
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.v1.Echo",
		HandlerType: (*echoServer)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: handleEcho}},
	}, echoing{})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
