package radius

import (
	"fmt"
	"slices"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/vendors/microsoft"
)

// vendors whose attributes go back to an access point.
const (
	vendorMicrosoft = 311
	vendorWISPr     = 14122

	mppeSend, mppeRecv = 16, 17
	wisprUp, wisprDown = 7, 8
)

// onward are the attributes of a request that go on to the gateway as they are. User-Password and CHAP-Challenge are
// made anew; Proxy-State stays here and is put into the reply.
var onward = set(
	1,                    // User-Name
	3,                    // CHAP-Password
	4, 5, 32, 61, 87, 95, // NAS-IP-Address, -Port, -Identifier, -Port-Type, -Port-Id, -IPv6-Address
	6, 12, 24, 25, // Service-Type, Framed-MTU, State, Class
	8, 168, // Framed-IP-Address, Framed-IPv6-Address
	30, 31, 77, // Called-Station-Id, Calling-Station-Id, Connect-Info
	40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 55, // accounting
	79, 89, // EAP-Message, Chargeable-User-Identity
	174, 175, 176, 177, 178, 179, 180, 181, 182, 183, 184, 185, 186, 187, 188, 189, // wireless networks (RFC 7268)
)

// back are the attributes of a reply that go back to the access point as they are. None of them says into which
// network a user comes, what an access point filters, or who is its administrator.
var back = set(
	18, 24, 25, // Reply-Message, State, Class
	27, 28, 29, 85, // Session-Timeout, Idle-Timeout, Termination-Action, Acct-Interim-Interval
	79, 89, // EAP-Message, Chargeable-User-Identity
)

func set(types ...radius.Type) (s [256]bool) {
	for _, t := range types {
		s[t] = true
	}
	return s
}

// Onward makes a request for the next hop out of one that came.
func Onward(request *Packet, secret []byte) (*Packet, error) {
	p := radius.New(request.Code, secret)
	if request.Code == radius.CodeAccessRequest {
		if sealed, ok := request.Lookup(rfc2865.UserPassword_Type); ok {
			open, err := radius.UserPassword(sealed, request.Secret, request.Authenticator[:])
			if err != nil {
				return nil, fmt.Errorf("User-Password: %w: %w", err, ErrForm)
			}
			again, err := radius.NewUserPassword(open, secret, p.Authenticator[:])
			if err != nil {
				return nil, err
			}
			p.Add(rfc2865.UserPassword_Type, again)
		}
		if challenge, ok := request.Lookup(rfc2865.CHAPChallenge_Type); ok {
			p.Add(rfc2865.CHAPChallenge_Type, challenge)
		} else if _, ok := request.Lookup(rfc2865.CHAPPassword_Type); ok {
			p.Add(rfc2865.CHAPChallenge_Type, slices.Clone(request.Authenticator[:])) // RFC 2865 §5.40
		}
	}
	for _, a := range request.Attributes {
		if a.Type >= 0 && a.Type < 256 && onward[a.Type] {
			p.Add(a.Type, a.Attribute)
		}
	}
	return p, nil
}

// Back makes the reply to a request out of the one that the next hop gave to asked, which Onward made of it.
func Back(reply, asked, request *Packet) (*Packet, error) {
	p := request.Response(reply.Code)
	for _, a := range reply.Attributes {
		switch {
		case a.Type >= 0 && a.Type < 256 && back[a.Type]:
			p.Add(a.Type, a.Attribute)
		case isVendor(a, vendorWISPr):
			if kind, v := vendorOne(a); (kind == wisprUp || kind == wisprDown) && len(v) == 4 {
				p.Add(a.Type, a.Attribute)
			}
		case isVendor(a, vendorMicrosoft):
			kind, v := vendorOne(a)
			if kind != mppeSend && kind != mppeRecv {
				continue
			}
			key, _, err := radius.TunnelPassword(v, reply.Secret, asked.Authenticator[:])
			if err != nil {
				return nil, fmt.Errorf("a key of MPPE: %w: %w", err, ErrForm)
			}
			if err := addKey(p, kind, key); err != nil {
				return nil, err
			}
		}
	}
	ReturnState(p, request)
	return p, nil
}

// ReturnState gives back what proxies on the way put into a request (RFC 2865 §5.33).
func ReturnState(reply, request *Packet) {
	for _, a := range request.Attributes {
		if a.Type == rfc2865.ProxyState_Type {
			reply.Add(a.Type, a.Attribute)
		}
	}
}

// AddKeys puts the keys that EAP made (64 bytes of MSK) into an Access-Accept (RFC 2548 §2.4, RFC 5216 §2.3).
func AddKeys(accept *Packet, msk []byte) error {
	if len(msk) < 64 {
		return fmt.Errorf("radius: a master session key of %d bytes", len(msk))
	}
	if err := addKey(accept, mppeRecv, msk[:32]); err != nil {
		return err
	}
	return addKey(accept, mppeSend, msk[32:64])
}

func addKey(p *Packet, kind byte, key []byte) error {
	if kind == mppeSend {
		return microsoft.MSMPPESendKey_Add(p, key)
	}
	return microsoft.MSMPPERecvKey_Add(p, key)
}

// vendorOne returns the attribute of a vendor's that stands alone in a Vendor-Specific one.
func vendorOne(a *radius.AVP) (kind byte, value radius.Attribute) {
	b := a.Attribute[4:]
	if len(b) < 2 || int(b[1]) != len(b) {
		return 0, nil
	}
	return b[0], b[2:]
}

// EAP returns the EAP packet of a RADIUS packet, nil for none: its pieces joined (RFC 3579 §3.1).
func EAP(p *Packet) (raw []byte) {
	for _, a := range p.Attributes {
		if a.Type == rfc2869.EAPMessage_Type {
			raw = append(raw, a.Attribute...)
		}
	}
	return raw
}

// AddEAP puts an EAP packet into a RADIUS packet.
func AddEAP(p *Packet, raw []byte) {
	for len(raw) > 0 {
		n := min(len(raw), 253)
		p.Add(rfc2869.EAPMessage_Type, raw[:n])
		raw = raw[n:]
	}
}
