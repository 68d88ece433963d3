// Package eap is a server of EAP (RFC 3748) behind RADIUS: EAP-TLS (RFC 5216, RFC 9190) and EAP-TTLS with PAP inside
// (RFC 5281, RFC 9427), over TLS 1.2 with extended master secret, and 1.3. TLS itself is crypto/tls, which
// sees a connection: Server takes one EAP packet for each Access-Request, puts fragments together, lets TLS work until
// it wants more, and says what to answer.
//
// A conversation that is half done costs memory, so there are bounds: of conversations in all and of each asker, of
// bytes in one message, of rounds, and of time. Beyond those of an asker its oldest one is given up; beyond that of
// all, new ones are refused.
package eap
