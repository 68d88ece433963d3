package radius

import (
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"

	"layeh.com/radius"
	"layeh.com/radius/rfc2869"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/wireless"
)

// Packet is a packet of the codec.
type Packet = radius.Packet

// ErrForm says that bytes are no packet that is taken here.
var ErrForm = errors.New("malformed packet")

const (
	header  = 20 // bytes before the attributes
	authAt  = 4  // where the Authenticator begins
	macSize = md5.Size
)

// Parse reads a request: an Access-Request, an Accounting-Request, a Status-Server, or a Disconnect- or CoA-Request.
// The first and Status-Server need a Message-Authenticator; in the others it is checked if it is there.
func Parse(raw, secret []byte) (*Packet, error) {
	p, raw, err := decode(raw, secret)
	if err != nil {
		return nil, err
	}
	switch p.Code {
	case radius.CodeAccessRequest, radius.CodeStatusServer:
		if err := checkMAC(p, raw, p.Authenticator, true); err != nil {
			return nil, err
		}
	case radius.CodeAccountingRequest, radius.CodeDisconnectRequest, radius.CodeCoARequest:
		if !radius.IsAuthenticRequest(raw, secret) {
			return nil, types.Refuse(wireless.RadiusSecret, "%v with a wrong authenticator", p.Code)
		}
		if err := checkMAC(p, raw, [16]byte{}, false); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%v where a request is expected: %w", p.Code, ErrForm)
	}
	return p, nil
}

// ParseReply reads the reply to a request that Encode encoded. A reply to an Access-Request needs a
// Message-Authenticator.
func ParseReply(raw []byte, request *Packet) (*Packet, error) {
	p, raw, err := decode(raw, request.Secret)
	if err != nil {
		return nil, err
	}
	if p.Identifier != request.Identifier || !answers(p.Code, request.Code) {
		return nil, fmt.Errorf("%v %d is no reply to %v %d: %w", p.Code, p.Identifier, request.Code, request.Identifier, ErrForm)
	}
	at := make([]byte, header)
	copy(at[authAt:], request.Authenticator[:])
	if !radius.IsAuthenticResponse(raw, at, request.Secret) {
		return nil, types.Refuse(wireless.RadiusSecret, "%v with a wrong authenticator", p.Code)
	}
	if request.Code == radius.CodeAccountingRequest {
		return p, nil // implementations differ about its Message-Authenticator, and it grants nothing
	}
	if err := checkMAC(p, raw, request.Authenticator, request.Code == radius.CodeAccessRequest); err != nil {
		return nil, err
	}
	return p, nil
}

// answers reports whether a packet of code can answer a request.
func answers(code, request radius.Code) bool {
	switch request {
	case radius.CodeAccessRequest:
		return code == radius.CodeAccessAccept || code == radius.CodeAccessReject || code == radius.CodeAccessChallenge
	case radius.CodeAccountingRequest:
		return code == radius.CodeAccountingResponse
	case radius.CodeStatusServer:
		return code == radius.CodeAccessAccept || code == radius.CodeAccountingResponse
	case radius.CodeDisconnectRequest:
		return code == radius.CodeDisconnectACK || code == radius.CodeDisconnectNAK
	case radius.CodeCoARequest:
		return code == radius.CodeCoAACK || code == radius.CodeCoANAK
	}
	return false
}

// decode reads the attributes, and returns the bytes without what follows the packet (RFC 2865 §3).
func decode(raw, secret []byte) (*Packet, []byte, error) {
	p, err := radius.Parse(raw, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, ErrForm)
	}
	return p, raw[:int(raw[2])<<8|int(raw[3])], nil
}

// checkMAC checks the Message-Authenticator (RFC 3579 §3.2) of a packet, with an Authenticator in the place of its
// own. A packet has one or none.
func checkMAC(p *Packet, raw []byte, authenticator [16]byte, must bool) error {
	at, n := 0, 0
	for i := header; i < len(raw); i += int(raw[i+1]) {
		if radius.Type(raw[i]) == rfc2869.MessageAuthenticator_Type {
			at, n = i+2, n+1
			if int(raw[i+1]) != 2+macSize {
				return fmt.Errorf("a Message-Authenticator of %d bytes: %w", raw[i+1], ErrForm)
			}
		}
	}
	switch {
	case n > 1:
		return fmt.Errorf("%d Message-Authenticators: %w", n, ErrForm)
	case n == 0 && must:
		return types.Refuse(wireless.RadiusUnsigned, "%v without a Message-Authenticator", p.Code)
	case n == 0:
		return nil
	}
	var zero [macSize]byte
	mac := hmac.New(md5.New, p.Secret)
	mac.Write(raw[:authAt])
	mac.Write(authenticator[:])
	mac.Write(raw[header:at])
	mac.Write(zero[:])
	mac.Write(raw[at+macSize:])
	if !hmac.Equal(mac.Sum(nil), raw[at:at+macSize]) {
		return types.Refuse(wireless.RadiusSecret, "%v with a wrong Message-Authenticator", p.Code)
	}
	return nil
}

// Encode returns a request as it is sent, with a Message-Authenticator first unless it is an Accounting-Request. It
// sets p.Authenticator to what is sent, which ParseReply needs.
func Encode(p *Packet) ([]byte, error) {
	var authenticator [16]byte
	switch p.Code {
	case radius.CodeAccessRequest, radius.CodeStatusServer:
		authenticator = p.Authenticator
	}
	raw, err := encode(p, authenticator, p.Code != radius.CodeAccountingRequest)
	if err == nil {
		copy(p.Authenticator[:], raw[authAt:])
	}
	return raw, err
}

// EncodeReply returns a reply as it is sent, with a Message-Authenticator first unless it is an Accounting-Response.
// The reply is one of request.Response.
func EncodeReply(reply *Packet) ([]byte, error) {
	return encode(reply, reply.Authenticator, reply.Code != radius.CodeAccountingResponse)
}

func encode(p *Packet, authenticator [16]byte, sign bool) ([]byte, error) {
	if len(p.Secret) == 0 {
		return nil, errors.New("radius: no secret")
	}
	p.Del(rfc2869.MessageAuthenticator_Type)
	if sign {
		p.Attributes = append(radius.Attributes{{Type: rfc2869.MessageAuthenticator_Type, Attribute: make([]byte, macSize)}}, p.Attributes...)
		q := *p
		q.Authenticator = authenticator
		raw, err := q.MarshalBinary()
		if err != nil {
			return nil, err
		}
		mac := hmac.New(md5.New, p.Secret)
		mac.Write(raw)
		mac.Sum(p.Attributes[0].Attribute[:0])
	}
	return p.Encode()
}
