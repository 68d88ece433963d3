package line

import (
	"encoding/binary"
	"net/netip"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
	"github.com/cairn-network/cairn/service/wireless/pob"
)

// Conn is a socket of UDP.
type Conn = role.Socket

// Kinds of packets.
const (
	hello byte = 1 + iota
	nonce
	consent
	ready
	data
	part
	ack
)

const (
	helloSize   = 1200
	nonceSize   = head + cookieSize
	consentSize = head + 16 + cookieSize + 64
	head        = 1 + tokenSize // of every packet
	tokenSize   = 16
	cookieSize  = 32
	dataHead    = head + 4 + pob.TagSize
	partSize    = 1200 // bytes of a reply in one packet
	partHead    = head + 4
	maxParts    = (pob.MaxReply + partSize - 1) / partSize
	maxPacket   = 2048
)

type token [tokenSize]byte

// packet begins one.
func packet(kind byte, t token, size int) []byte {
	return append(append(make([]byte, 0, size), kind), t[:]...)
}

// DomainConsent is the domain in which a device signs consent.
const DomainConsent = "wireless/consent"

// consented is what a device signs to have a challenger send to it.
func consented(test pob.ID, challenger types.Key, t token, cookie []byte) []byte {
	b := append(test[:], challenger[:]...)
	return append(append(b, t[:]...), cookie...)
}

func makePart(t token, reply []byte, index, count int) []byte {
	b := packet(part, t, partHead+partSize)
	b = binary.BigEndian.AppendUint16(b, uint16(index))
	b = binary.BigEndian.AppendUint16(b, uint16(count))
	return append(b, reply[index*partSize:min((index+1)*partSize, len(reply))]...)
}

// unmap is an address as it is compared.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
