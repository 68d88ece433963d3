// Package refusal carries coded reasons (core/types.Reason) through the Cosmos SDK, so that whoever sent a
// transaction finds the reason in its result.
//
// A refused transaction has the codespace "cairn", a code that follows from the reason's name (Code), and a log
// that ends in the name itself:
//
//	failed to execute message; message index: 0: buy 5 ustone: 2 micro-credits, asked for 3: slippage
//
// Modules register their message services through Registrar, which does this for every handler; Parse reads a
// log back.
package refusal

import (
	"context"
	"hash/crc32"
	"strings"

	gogogrpc "github.com/cosmos/gogoproto/grpc"
	"google.golang.org/grpc"

	"github.com/cairn-network/cairn/core/types"
)

// Codespace is that of every coded refusal.
const Codespace = "cairn"

// Code is the number of a reason in transaction results: the CRC-32 (IEEE) of its name, with the lowest four
// bits set so that it is never one of the SDK's small numbers.
func Code(r types.Reason) uint32 { return crc32.ChecksumIEEE([]byte(r)) | 0xf }

// Error is an error that carries a reason, in the form in which the SDK looks for a code.
type Error struct {
	err    error
	reason types.Reason
}

// Wrap returns err in that form where it carries a reason, and as it is otherwise.
func Wrap(err error) error {
	r := types.ReasonOf(err)
	if r == "" {
		return err
	}
	return &Error{err, r}
}

// Error returns the text, which ends in the reason.
func (e *Error) Error() string {
	text := e.err.Error()
	if strings.HasSuffix(text, string(e.reason)) {
		return text
	}
	return text + ": " + string(e.reason)
}

// Unwrap returns what was wrapped.
func (e *Error) Unwrap() error { return e.err }

// ABCICode is the number in transaction results.
func (e *Error) ABCICode() uint32 { return Code(e.reason) }

// Codespace is "cairn".
func (e *Error) Codespace() string { return Codespace }

// Parse returns the reason at the end of a result's log, or "" if there is none that the protocol knows.
func Parse(log string) types.Reason {
	name := log[strings.LastIndexAny(log, ": ")+1:]
	for _, info := range types.Reasons() {
		if string(info.Reason) == name {
			return info.Reason
		}
	}
	return ""
}

// Registrar returns a registrar that passes services on to r, with Wrap around the errors of their methods.
func Registrar(r grpc.ServiceRegistrar) gogogrpc.Server { return registrar{r} }

type registrar struct{ next grpc.ServiceRegistrar }

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		d.Methods[i] = grpc.MethodDesc{
			MethodName: m.MethodName,
			Handler: func(srv any, ctx context.Context, dec func(any) error, in grpc.UnaryServerInterceptor) (any, error) {
				res, err := m.Handler(srv, ctx, dec, in)
				return res, Wrap(err)
			},
		}
	}
	r.next.RegisterService(&d, impl)
}
