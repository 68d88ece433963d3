package eap

import (
	"context"

	codec "layeh.com/radius"
	"layeh.com/radius/rfc2865"

	"github.com/cairn-network/cairn/service/wireless/radius"
)

// Answer answers an Access-Request that carries EAP. The reply is nil where it is dropped; the step says, of the last
// one, who the user is and why it was refused. Of an Access-Accept the caller adds what it grants.
func (s *Server) Answer(ctx context.Context, by string, r *radius.Request) (*radius.Packet, *Step, error) {
	var state []byte
	if v, ok := r.Lookup(rfc2865.State_Type); ok {
		state = append([]byte{}, v...)
	}
	step, err := s.Take(ctx, by, state, radius.EAP(r.Packet), int(rfc2865.FramedMTU_Get(r.Packet)))
	if err != nil {
		return nil, nil, err
	}
	code := codec.CodeAccessChallenge
	switch {
	case step.State != nil:
	case step.Accepted:
		code = codec.CodeAccessAccept
	default:
		code = codec.CodeAccessReject
	}
	p := r.Response(code)
	radius.AddEAP(p, step.Packet)
	if step.State != nil {
		if err := rfc2865.State_Set(p, step.State); err != nil {
			return nil, nil, err
		}
	}
	if step.Accepted {
		if err := radius.AddKeys(p, step.MSK); err != nil {
			return nil, nil, err
		}
	}
	radius.ReturnState(p, r.Packet)
	return p, step, nil
}
