package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"tern.interop/peer/interoppb"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"trpc.group/trpc-go/trpc-go/client"
	"trpc.group/trpc-go/trpc-go/codec"
	"trpc.group/trpc-go/trpc-go/server"
)

// The service of formats.proto and the cases for it: messages as JSON and as
// raw bytes.

const formatsService = "tern.interop.v1.Formats"

var formatsDesc = server.ServiceDesc{
	ServiceName: formatsService,
	HandlerType: (*interface{})(nil),
	Methods: []server.Method{
		{Name: "/" + formatsService + "/Echo", Func: echoMessage},
		{Name: "/" + formatsService + "/EchoBytes", Func: echoBytes},
	},
}

func echoMessage(_ interface{}, ctx context.Context, open server.FilterFunc) (interface{}, error) {
	return returned(ctx, new(interoppb.Everything), open)
}

// echoBytes takes raw bytes alone: trpc-go cannot put them into a message.
func echoBytes(_ interface{}, ctx context.Context, open server.FilterFunc) (interface{}, error) {
	return returned(ctx, new(codec.Body), open)
}

func returned(ctx context.Context, req interface{}, open server.FilterFunc) (interface{}, error) {
	filters, err := open(req)
	if err != nil {
		return nil, err
	}
	return filters.Filter(ctx, req, func(_ context.Context, req interface{}) (interface{}, error) {
		return req, nil
	})
}

func init() {
	allCases = append(allCases,
		testCase{name: "json", run: caseJSON},
		testCase{name: "json_empty", run: caseJSONEmpty},
		testCase{name: "json_unknown_field", run: caseJSONUnknownField},
		testCase{name: "json_either_form", run: caseJSONEitherForm},
		testCase{name: "json_defaults", run: caseJSONDefaults},
		testCase{name: "json_broken", run: caseJSONBroken},
		testCase{name: "raw", run: caseRaw},
	)
}

// everything has each kind of field, at its extremes.
func everything() *interoppb.Everything {
	loose, err := structpb.NewStruct(map[string]interface{}{
		"null": nil, "list": []interface{}{1.5, "x", true}, "inner": map[string]interface{}{},
	})
	if err != nil {
		panic(err)
	}
	return &interoppb.Everything{
		Lowest:  math.MinInt64,
		Highest: math.MaxUint64,
		Fixed:   math.MaxInt64,
		Small:   math.MinInt32,
		Blob:    []byte{0, 0xfb, 0xff, 0xbf},
		Yes:     true,
		Colour:  interoppb.Colour_COLOUR_DARK,
		Colours: []interoppb.Colour{0, 1, 99},
		Doubles: []float64{math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1),
			math.SmallestNonzeroFloat64, math.MaxFloat64, 0.1, 1e21, 1e-7},
		Floats:   []float32{math.MaxFloat32, math.SmallestNonzeroFloat32, 0.1},
		ByName:   map[string]*interoppb.Everything{"": {}, "ü\"\\\n\u2028": {Yes: true}},
		ByNumber: map[int64][]byte{math.MinInt64: {1}, 0: nil},
		ByTruth:  map[bool]uint64{true: math.MaxUint64, false: 0},
		Choice:   &interoppb.Everything_Number{Number: 0},
		Maybe:    proto.Int32(0),
		Inner:    &interoppb.Everything{Inner: &interoppb.Everything{TwoWords: "deep \U0001f600"}},
		List:     []*interoppb.Everything{{}, {Small: 7}},
		TwoWords: "two words",
		At:       &timestamppb.Timestamp{Seconds: -62135596800, Nanos: 1},
		Took:     &durationpb.Duration{Seconds: -1, Nanos: -500_000_000},
		Wrapped:  wrapperspb.Int64(math.MinInt64),
		Loose:    loose,
	}
}

// callFormats calls a method of the service with the given bodies.
func callFormats(c *peerClient, method string, req, rsp interface{}, opts ...client.Option) error {
	ctx, msg := codec.WithCloneMessage(context.Background())
	defer codec.PutBackMessage(msg)
	msg.WithClientRPCName("/" + formatsService + "/" + method)
	msg.WithCalleeServiceName(formatsService)
	msg.WithCalleeMethod(method)
	all := append(append([]client.Option{}, c.opts...), opts...)
	return client.DefaultClient.Invoke(ctx, req, rsp, all...)
}

// callJSON sends a message as JSON.
func callJSON(c *peerClient, req *interoppb.Everything) (*interoppb.Everything, error) {
	rsp := new(interoppb.Everything)
	err := callFormats(c, "Echo", req, rsp, client.WithSerializationType(codec.SerializationTypeJSON))
	return rsp, err
}

// callText sends a text as JSON, and returns the text of the answer.
func callText(c *peerClient, text string) (map[string]interface{}, error) {
	rsp := new(codec.Body)
	err := callFormats(c, "Echo", &codec.Body{Data: []byte(text)}, rsp,
		client.WithSerializationType(codec.SerializationTypeJSON),
		client.WithCurrentSerializationType(codec.SerializationTypeNoop))
	if err != nil {
		return nil, err
	}
	fields := map[string]interface{}{}
	if err := json.Unmarshal(rsp.Data, &fields); err != nil {
		return nil, fmt.Errorf("%w in %q", err, rsp.Data)
	}
	return fields, nil
}

func caseJSON(c *peerClient) error {
	req := everything()
	rsp, err := callJSON(c, req)
	if err != nil {
		return err
	}
	if !proto.Equal(req, rsp) {
		return fmt.Errorf("%v came back as %v", req, rsp)
	}
	// To Equal, zero has no sign.
	if !math.Signbit(rsp.GetDoubles()[0]) {
		return errors.New("negative zero came back as another zero")
	}
	return nil
}

func caseJSONEmpty(c *peerClient) error {
	rsp, err := callJSON(c, &interoppb.Everything{})
	if err != nil {
		return err
	}
	if !proto.Equal(rsp, &interoppb.Everything{}) {
		return fmt.Errorf("the empty message came back as %v", rsp)
	}
	return nil
}

func caseJSONUnknownField(c *peerClient) error {
	fields, err := callText(c, `{"from_the_future": [{"a": null}], "small": 7}`)
	if err != nil {
		return err
	}
	if _, ok := fields["from_the_future"]; ok || fields["small"] != 7.0 {
		return fmt.Errorf("the answer is %v", fields)
	}
	return nil
}

// caseJSONEitherForm sends what peers in Java write, and more.
func caseJSONEitherForm(c *peerClient) error {
	fields, err := callText(c, `{"twoWords": "x", "colour": "COLOUR_RED", "lowest": -9223372036854775808,
		"highest": "18446744073709551615", "blob": "-_-_", "maybe": null}`)
	if err != nil {
		return err
	}
	want := map[string]interface{}{
		"two_words": "x", "colour": 1.0, "lowest": "-9223372036854775808",
		"highest": "18446744073709551615", "blob": "+/+/",
	}
	for name, value := range want {
		if fields[name] != value {
			return fmt.Errorf("%s is %v, expected %v", name, fields[name], value)
		}
	}
	return nil
}

func caseJSONDefaults(c *peerClient) error {
	fields, err := callText(c, `{}`)
	if err != nil {
		return err
	}
	for _, name := range []string{"lowest", "small", "blob", "yes", "colour", "doubles", "by_name", "two_words"} {
		if _, ok := fields[name]; !ok {
			return fmt.Errorf("%s is not in %v", name, fields)
		}
	}
	for _, name := range []string{"words", "number", "maybe"} {
		if _, ok := fields[name]; ok {
			return fmt.Errorf("%s is in %v", name, fields)
		}
	}
	return nil
}

func caseJSONBroken(c *peerClient) error {
	_, err := callText(c, `{"small": "seven"}`)
	if err == nil {
		return errors.New("a text that is no number was accepted for one")
	}
	if _, err = callText(c, `{"small": 7}`); err != nil {
		return fmt.Errorf("next call: %w", err)
	}
	return nil
}

func caseRaw(c *peerClient) error {
	for _, size := range []int{1, 100_000} {
		body := pattern(size, 21)
		rsp := new(codec.Body)
		err := callFormats(c, "EchoBytes", &codec.Body{Data: body}, rsp,
			client.WithSerializationType(codec.SerializationTypeNoop))
		if err != nil {
			return err
		}
		if !bytes.Equal(rsp.Data, body) {
			return fmt.Errorf("%d bytes came back as %d others", len(body), len(rsp.Data))
		}
	}
	return nil
}
