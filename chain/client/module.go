package client

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/gogoproto/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/ledger"
)

// Query implements ledger.Querier.
func (c *Client) Query(ctx context.Context, method string, request, answer any) error {
	service, name, _ := strings.Cut(method, "/")
	found, err := proto.HybridResolver.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return fmt.Errorf("client: no service %s: %w", service, err)
	}
	s, ok := found.(protoreflect.ServiceDescriptor)
	if !ok || s.Methods().ByName(protoreflect.Name(name)) == nil {
		return fmt.Errorf("client: no method %s", method)
	}
	m := s.Methods().ByName(protoreflect.Name(name))
	in, err := c.filled(string(m.Input().FullName()), request)
	if err != nil {
		return err
	}
	out, err := made(string(m.Output().FullName()))
	if err != nil {
		return err
	}
	if err := c.ctx.Invoke(ctx, "/"+method, in, out); err != nil {
		return fault(method, err)
	}
	raw, err := c.enc.Codec.MarshalJSON(out)
	if err == nil {
		err = json.Unmarshal(raw, answer)
	}
	if err != nil {
		return fmt.Errorf("client: answer of %s: %w", method, err)
	}
	return nil
}

// moduleMsg turns a message of a category's module into the chain's.
func (c *Client) moduleMsg(from types.Account, msg ledger.ModuleMsg) (sdk.Msg, error) {
	return c.filled(msg.Fields(from))
}

// filled makes a message, with fields that encoding/json writes in protobuf's JSON form.
func (c *Client) filled(name string, fields any) (proto.Message, error) {
	m, err := made(name)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(fields)
	if err == nil {
		err = c.enc.Codec.UnmarshalJSON(raw, m)
	}
	if err != nil {
		return nil, fmt.Errorf("client: fields of %s: %w", name, err)
	}
	return m, nil
}

// made makes an empty message.
func made(name string) (proto.Message, error) {
	t := proto.MessageType(name)
	if t == nil {
		return nil, fmt.Errorf("client: no message %s", name)
	}
	m, ok := reflect.New(t.Elem()).Interface().(proto.Message)
	if !ok {
		return nil, fmt.Errorf("client: %s is no message", name)
	}
	return m, nil
}
